"""What may still be given out: the supply, the treasury, and each wallet's available balance.

A reserve is one guarded update of one document, outside any transaction. It is taken before the row that claims it
is written, so a crash in between leaks it: that is harmless, and the tick repairs it. It is given back after the row
was marked, and never twice: a crash there leaks too, and never doubles.
"""

from datetime import datetime
from typing import Any, NamedTuple

from pymongo.collection import Collection

from getsmart.models import SUPPLY, TREASURY
from getsmart.mongo import again, database, to_decimal, to_units

ACT_SECONDS = 10.0  # a reserve is claimed, and a returned one added, within this time or not at all: machine/repair.py

_CONTROLS = (SUPPLY, TREASURY)


class Reserve(NamedTuple):
    """One reserve as it was read: what is available, and the version that any change raises."""

    name: str
    available: int
    version: int


def _place(name: str) -> Collection[dict[str, Any]]:
    return database().controls if name in _CONTROLS else database().accounts


def take(name: str, units: int) -> bool:
    """Set `units` aside from the supply, the treasury or a wallet's account; False when less is left.

    Repeated once when the connection breaks: a first try that landed after all is a leak, not a double spend.
    """
    amount = to_decimal(units)
    change = {"$inc": {"available": to_decimal(-units), "version": 1}, "$currentDate": {"taken_at": True}}
    done = again(lambda: _place(name).update_one({"_id": name, "available": {"$gte": amount}}, change))
    return done.modified_count == 1


def has(name: str, units: int) -> bool:
    """Whether that much could be taken now: spares the work of a claim that would be refused in the end."""
    return _place(name).find_one({"_id": name, "available": {"$gte": to_decimal(units)}}, {"_id": 1}) is not None


def give_back(name: str, units: int) -> None:
    """Return what was set aside. Not repeated on an unknown outcome: a leak is repaired, a double is theft."""
    _place(name).update_one({"_id": name}, {"$inc": {"available": to_decimal(units), "version": 1}})


def watch(name: str) -> None:
    """Have the reserve recomputed once it is quiet: for who is about to give something back and may die before."""
    _place(name).update_one({"_id": name}, {"$inc": {"version": 1}, "$currentDate": {"taken_at": True}})


def find_quiet(before: datetime, limit: int) -> list[Reserve]:
    """Reserves that were taken from, but not since `before`."""
    found: list[Reserve] = []
    for place in (database().controls, database().accounts):
        rows = place.find({"taken_at": {"$lte": before}}).limit(limit)
        found.extend(Reserve(row["_id"], to_units(row["available"]), row["version"]) for row in rows)
    return found


def correct(reserve: Reserve, available: int, *, is_done: bool) -> bool:
    """Set what is available, if nothing changed since it was read; `is_done` ends the watch until the next taking."""
    change: dict[str, Any] = {"$set": {"available": to_decimal(available)}, "$inc": {"version": 1}}
    if is_done:
        change["$unset"] = {"taken_at": ""}
    done = _place(reserve.name).update_one({"_id": reserve.name, "version": reserve.version}, change)
    return done.modified_count == 1
