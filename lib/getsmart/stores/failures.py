"""What went wrong, kept for two weeks, since the platform keeps no record of a web call. Bounded, and best effort.

Every line takes one of the places that a minute has, so that no storm of errors makes more of them; a process writes a
few a minute, waits a quarter of a second at most, and then rests. What finds no place was logged all the same.
"""

import os
import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import pymongo
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.write_concern import WriteConcern

from getsmart import clock
from getsmart.errors import GetSmartError
from getsmart.mongo import Document, database

PLACES = 100  # of a minute, for all processes together
PROCESS_PLACES = 20  # ... and for one of them
_TRIES = 3
SECONDS = 0.25  # that a write may take
_REST_SECONDS = 10.0


class _Gate:
    """How much this process may still write: refilled evenly, shut after a failure."""

    def __init__(self) -> None:
        self.left, self.at, self.shut_until, self.left_out = float(PROCESS_PLACES), clock.monotonic(), 0.0, 0
        self.minute, self.untried = "", list[int]()

    def admit(self, wanted: int) -> int:
        now = clock.monotonic()
        self.left = min(PROCESS_PLACES, self.left + (now - self.at) * PROCESS_PLACES / 60)
        self.at = now
        admitted = 0 if now < self.shut_until else min(wanted, int(self.left))
        self.left -= admitted
        self.left_out += wanted - admitted
        return admitted

    def shut(self, lost: int) -> None:
        self.left_out += lost
        self.shut_until = clock.monotonic() + _REST_SECONDS

    def places(self, most: int) -> list[str]:
        """Up to so many of this minute's places, in an order of chance, none of them twice: the rest may be taken."""
        minute = f"{clock.now():%Y%m%dT%H%M}"
        if minute != self.minute:
            self.minute, self.untried = minute, random.sample(range(PLACES), PLACES)
        taken, self.untried = self.untried[:most], self.untried[most:]
        return [f"{minute}.{place:02d}" for place in taken]


@cache
def _gate(_process_id: int) -> _Gate:
    return _Gate()


def forget() -> None:
    """Open the gate again; for tests."""
    _gate.cache_clear()


def keep(lines: Sequence[Mapping[str, Any]]) -> None:
    """Keep log lines of failures as far as there is room. Never raises: the call that failed has its answer."""
    gate = _gate(os.getpid())
    admitted = gate.admit(len(lines))
    if not admitted:
        return
    rows = [_row(line) for line in lines[:admitted]]
    if gate.left_out:
        rows[0]["left_out"] = gate.left_out
    try:
        with pymongo.timeout(SECONDS):
            lost = _place(rows, gate)
    except (PyMongoError, GetSmartError):
        gate.shut(admitted)
        return
    gate.left_out = 0
    if lost:
        gate.shut(lost)


def _row(line: Mapping[str, Any]) -> Document:
    """The line with its moment as one, and a code whatever kind of line it is."""
    return {"code": line["event"], **line, "at": datetime.fromisoformat(line["at"])}


def _place(rows: Sequence[Document], gate: _Gate) -> int:
    """Insert them at free places of the minute; how many found none."""
    failures = database().get_collection("failures", write_concern=WriteConcern(1))
    left = list(rows)
    for _ in range(_TRIES):
        places = gate.places(len(left))
        if not places:  # none is needed any more, or none is left
            break
        placed = [{**row, "_id": place} for row, place in zip(left, places, strict=False)]
        left = left[len(placed) :]
        try:
            failures.insert_many(placed, ordered=False)
        except BulkWriteError as error:
            left += [placed[one["index"]] for one in error.details["writeErrors"]]
    return len(left)


def find(query: Mapping[str, Any], since: datetime, most: int) -> list[Document]:
    """The newest up to `most` that were kept since then and have these values, oldest first."""
    rows = database().failures.find({**query, "at": {"$gte": since}}).sort([("at", -1), ("_id", -1)]).limit(most)
    return list(rows)[::-1]


def count_by_code(since: datetime) -> dict[str, int]:
    """How many were kept since then, by code."""
    groups = database().failures.aggregate([
        {"$match": {"at": {"$gte": since}}},
        {"$group": {"_id": "$code", "count": {"$sum": 1}}},
    ])  # fmt: skip
    return {str(group["_id"]): int(group["count"]) for group in groups}
