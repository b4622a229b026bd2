"""What may still be given out: the supply, the treasury, and each wallet's available balance.

A reserve is one guarded update of one document, outside any transaction. It is taken before the row that claims it
is written, so a crash in between leaks it: that is harmless, and the tick repairs it. It is given back after the row
was marked, and never twice: a crash there leaks too, and never doubles. Whoever is late, by its own clocks or because a
repair came first, leaves it to the repair: docs/adr/0040.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from getsmart import clock
from getsmart.models import SUPPLY, TREASURY
from getsmart.mongo import again, database, to_decimal, to_units

ACT_SECONDS = 10.0  # a reserve is claimed, and a returned one added, within this time or not at all: machine/repair.py

MOST_SKEW = timedelta(seconds=30)  # between two clocks of ours

_CONTROLS = (SUPPLY, TREASURY)


class Begun(clock.Begun):
    """When somebody began to act on a reserve."""

    def is_late(self) -> bool:
        """Whether it is too late to go on: a repair may have come first."""
        return self.seconds() >= ACT_SECONDS


def begin() -> Begun:
    """From here on the time runs in which a reserve may be acted on."""
    return Begun(*clock.begin())


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


def give_back(name: str, units: int, begun: Begun) -> None:
    """Return what was set aside, unless it is too late, or a repair has done it since: a frozen call may come after it.

    Not repeated on an unknown outcome: a leak is repaired, a double is theft.
    """
    if begun.is_late():
        return
    unrepaired = {"_id": name, "repaired_at": {"$not": {"$gte": begun.at - MOST_SKEW}}}
    _place(name).update_one(unrepaired, {"$inc": {"available": to_decimal(units), "version": 1}})


def was_repaired_since(name: str, moment: datetime, *, session: ClientSession | None = None) -> bool:
    """Whether a repair may have given away what was set aside at that moment, by our clock."""
    repaired = {"_id": name, "repaired_at": {"$gte": moment - MOST_SKEW}}
    return _place(name).find_one(repaired, {"_id": 1}, session=session) is not None


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
    if available != reserve.available:
        change["$set"]["repaired_at"] = clock.now()
    done = _place(reserve.name).update_one({"_id": reserve.name, "version": reserve.version}, change)
    return done.modified_count == 1
