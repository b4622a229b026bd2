"""The few singletons: supply, treasury, books, the active colour, what the tick last saw, and leases."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.errors import DuplicateKeyError

from getsmart import clock
from getsmart.models import RECOVERY
from getsmart.mongo import Document, database

COLOUR, TICK = "colour", "tick"
ANYBODY = "*"
"""Whose move `intend` takes over when nobody is named."""
SCHEMA = 10
"""The newest migration that this code was made for: ./doit migrate new counts it, and a test compares it."""


def read_all() -> dict[str, Document]:
    """Every singleton by its name; one round trip."""
    return {row["_id"]: row for row in database().controls.find({})}


def active_colour() -> str | None:
    """The colour whose tick may work, or None before the first promotion."""
    row = database().controls.find_one({"_id": COLOUR})
    return str(row["active"]) if row else None


def report(colour: str, version: str) -> str | None:
    """Say what a colour runs, and for which schema that was made. Returns the active colour, in the same round trip."""
    seen = {"version": version, "schema_version": SCHEMA, "at": clock.now()}
    row = database().controls.find_one_and_update({"_id": COLOUR}, {"$set": {f"seen.{colour}": seen}})
    return str(row["active"]) if row else None


def colour_row() -> Document:
    """What is known of the colours; {} before a migration.

    `active`, since `activated_at` by `activated_by`; `previous` after a promotion (`colour`, `version`); `moving` in a
    move (`to`, `kind`, `by`, `at`); `seen`, what each said last; `lowest_schema`, what code has to be made for since a
    migration took away what older code needs.
    """
    return database().controls.find_one({"_id": COLOUR}) or {}


def intend(colour: str, kind: str, by: str, schema_version: int | None = None, *, over: str | None = ANYBODY) -> bool:
    """Write down that `by` is about to give all calls to a colour, by a promotion or a rollback.

    False, and nothing is written, when a migration has taken away what code of that schema version needs, or when the
    move that is under way is not the one of `over` (None: when there is one).
    """
    fits: Document = {} if schema_version is None else {"lowest_schema": {"$not": {"$gt": schema_version}}}
    if over != ANYBODY:
        fits["moving.by"] = {"$in": [over]}
    moving = {"to": colour, "kind": kind, "by": by, "at": clock.now()}
    try:
        database().controls.update_one({"_id": COLOUR, **fits}, {"$set": {"moving": moving}}, upsert=True)
    except DuplicateKeyError:
        return False
    return True


def activate(colour: str, previous: Document | None, by: str | None = None, *, is_forced: bool = False) -> bool:
    """Let this colour's tick work, and no other; that ends the move. False when the move is no longer that of `by`.

    `previous` is what may be gone back to, None when that is nothing. Forced, it ends whosever move it is.
    """
    mine: Document = {} if by is None or is_forced else {"moving.by": by}
    facts = {"active": colour, "activated_at": clock.now(), "activated_by": by}
    change: Document = {"$set": facts, "$unset": {"moving": ""}}
    change["$unset" if previous is None else "$set"]["previous"] = previous or ""
    return database().controls.update_one({"_id": COLOUR, **mine}, change).matched_count == 1


def is_recovering() -> bool:
    """Whether no money may move; one read."""
    return stands_still(read_recovery())


def stands_still(recovery: Mapping[str, Any]) -> bool:
    """Whether no money may move: a restore is under way or waits to be reconciled, or a person has stopped it."""
    return any(recovery.get(name) for name in ("is_recovering", "is_being_restored", "stopped"))


def read_recovery() -> Document:
    """What is known of the last restore and of the brake.

    `is_being_restored` until all of it is there; `is_recovering` until it is reconciled; `restored_at`; `lost_since`,
    the moment that the backup shows; whether something from before it `is_overshadowed`; `stopped` {by, why, at} until
    a person takes the brake off.
    """
    return database().controls.find_one({"_id": RECOVERY}) or {}


def stop(by: str, why: str) -> None:
    """Put the brake on: no money moves until `go_on`, whatever reconciliation finds."""
    stopped = {"by": by, "why": why, "at": clock.now()}
    database().controls.update_one({"_id": RECOVERY}, {"$set": {"stopped": stopped}}, upsert=True)


def go_on() -> None:
    """Take the brake off; a restore that is not reconciled goes on holding money back."""
    database().controls.update_one({"_id": RECOVERY}, {"$unset": {"stopped": ""}})


def set_recovering(*, is_recovering: bool, lost_since: datetime | None = None) -> None:
    """Begin or end the time between a restore and its reconciliation, in which no money is moved.

    `lost_since` is the moment that the restored backup shows, where that is known.
    """
    at = clock.now()
    facts: Document = {"is_recovering": is_recovering, "at": at}
    if is_recovering:
        facts |= {"restored_at": at, "lost_since": lost_since, "is_overshadowed": True}
    database().controls.update_one({"_id": RECOVERY}, {"$set": facts}, upsert=True)


def end_recovery(begun_at: datetime, facts: Document) -> bool:
    """End the time that began then; False when it has ended, or another restore was made since."""
    change = {"$set": {"is_recovering": False, "at": clock.now(), **facts}}
    query = {"_id": RECOVERY, "is_recovering": True, "at": begun_at}
    return database().controls.update_one(query, change).modified_count == 1


def end_shadow(restored_at: datetime) -> None:
    """No Transfer of the time before that restore is left that a call repeated now could be about."""
    query = {"_id": RECOVERY, "is_recovering": False, "restored_at": restored_at}
    database().controls.update_one(query, {"$set": {"is_overshadowed": False}})


def observe(facts: dict[str, Any]) -> None:
    """Keep what the tick saw (times of its last run, of the provider's last answer, the chain's head)."""
    database().controls.update_one({"_id": TICK}, {"$set": facts}, upsert=True)


def take_lease(name: str, holder: str, seconds: float) -> bool:
    """Take or renew a lease; False while somebody else holds it. Expiry is by our clock, so keep it generous."""
    at = clock.now()
    grant: Document = {"$set": {"holder": holder, "until": at + timedelta(seconds=seconds)}}
    free_or_mine = [{"holder": holder}, {"until": {"$lte": at}}]
    if database().leases.update_one({"_id": name, "$or": free_or_mine}, grant).matched_count:
        return True
    try:
        database().leases.insert_one({"_id": name, **grant["$set"]})
    except DuplicateKeyError:
        return False
    return True


def drop_lease(name: str, holder: str) -> None:
    """Give a lease up before it ends."""
    database().leases.update_one({"_id": name, "holder": holder}, {"$set": {"until": datetime.fromtimestamp(0, UTC)}})
