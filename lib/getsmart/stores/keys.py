"""Every query on API keys, and the rate limit, which is kept beside each key."""

import math
from datetime import datetime
from typing import Any, NamedTuple, cast

from pymongo import ReturnDocument

from getsmart.models import AuditLine, KeyRow
from getsmart.mongo import again, database

# The limiter's state stays out of what is read: it changes with every call.
_KEY_FIELDS = {"usage": 0}
_SECOND_MS = 1_000
_HOUR_MS = 3_600_000
_OVERTAKEN_MS = 60_000  # longer than any command waits


class Usage(NamedTuple):
    """What the limiter decided: whether the call may pass, how many are left now, and when to try again."""

    is_allowed: bool
    limit: int
    remaining: int
    reset_seconds: int


def find(key_id: str) -> KeyRow | None:
    """The key with this id, or None."""
    return cast(KeyRow | None, database().api_keys.find_one({"_id": key_id}, _KEY_FIELDS))


def insert(row: KeyRow) -> None:
    """Keep a new key."""
    database().api_keys.insert_one({**row})


def find_all() -> list[KeyRow]:
    """Every key, oldest first."""
    return cast(list[KeyRow], list(database().api_keys.find({}, _KEY_FIELDS).sort("created_at", 1)))


def find_page(place: dict[str, Any], most: int, client_id: str | None) -> list[KeyRow]:
    """Up to `most` keys, newest first, from that place on; of one client, or of all."""
    query = place if client_id is None else {**place, "client_id": client_id}
    return cast(list[KeyRow], list(database().api_keys.find(query, _KEY_FIELDS).sort("_id", -1).limit(most)))


def count_refused() -> int:
    """Calls that the rate limits have refused so far, over every key."""
    rows = database().api_keys.find({"usage.refused": {"$gt": 0}}, {"usage.refused": 1})
    return sum(row["usage"]["refused"] for row in rows)


def revoke(key_id: str, at: datetime, line: AuditLine) -> bool:
    """End a key for good. False when there is none, or it was revoked before."""
    ended = {"$set": {"revoked_at": at}, "$push": {"audit": line}}
    return database().api_keys.update_one({"_id": key_id, "revoked_at": None}, ended).modified_count == 1


def end(key_id: str, at: datetime, line: AuditLine) -> None:
    """Let a key expire at that moment, unless it would sooner."""
    for sooner in ({"expires_at": None}, {"expires_at": {"$gt": at}}):
        changed = database().api_keys.update_one(
            {"_id": key_id, **sooner}, {"$set": {"expires_at": at}, "$push": {"audit": line}}
        )
        if changed.modified_count:
            return


def touch(key_id: str) -> None:
    """Note the use of a key that has no limits (the limiter notes it otherwise)."""
    again(lambda: database().api_keys.update_one({"_id": key_id}, [{"$set": {"last_used_at": "$$NOW"}}]))


def take(key_id: str, per_second: int | None, per_hour: int | None) -> Usage:
    """Count one call against the key's limits, exactly and in one round trip, by the database's clock.

    A call passes when fewer than `per_second` passed in the last second and fewer than `per_hour` in this hour
    (hours begin with the first call after the last one ended). Refused calls do not count.
    """
    row = database().api_keys.find_one_and_update(
        {"_id": key_id},
        _take_pipeline(per_second, per_hour),
        projection={"usage": 1, "last_used_at": 1},
        return_document=ReturnDocument.AFTER,
    )
    if row is None:  # removed since it was read
        return Usage(is_allowed=False, limit=0, remaining=0, reset_seconds=1)
    return _usage(row["usage"], per_second, per_hour)


def _take_pipeline(per_second: int | None, per_hour: int | None) -> list[dict[str, Any]]:
    """Moments are milliseconds since the epoch: the embedded database can't subtract a stored date from $$NOW.

    $$NOW is when a command arrived, and commands may overtake each other: a key's moments therefore never go back,
    else a late one would be counted into a second that others have been cleared from. Only a database whose clock was
    set back starts over.
    """
    now = {"$toLong": "$$NOW"}
    is_overtaken = {
        "$and": [{"$gt": ["$usage.at_ms", now]}, {"$lt": [{"$subtract": ["$usage.at_ms", now]}, _OVERTAKEN_MS]}]
    }
    at = "$usage.at_ms"
    started = {"$ifNull": ["$usage.hour_started_ms", at]}
    hour_age = {"$subtract": [at, started]}
    is_new_hour = {"$or": [{"$gte": [hour_age, _HOUR_MS]}, {"$lt": [hour_age, 0]}]}
    fits_second = True if per_second is None else {"$lt": [{"$size": "$usage.recent_ms"}, per_second]}
    fits_hour = True if per_hour is None else {"$lt": ["$usage.hour_count", per_hour]}
    recent = {
        "$filter": {
            "input": {"$ifNull": ["$usage.recent_ms", []]},
            "as": "moment",
            "cond": {"$and": [{"$gt": ["$$moment", {"$subtract": [at, _SECOND_MS]}]}, {"$lte": ["$$moment", at]}]},
        }
    }
    return [
        {"$set": {"usage.at_ms": {"$cond": [is_overtaken, at, now]}, "last_used_at": "$$NOW"}},
        {
            "$set": {
                "usage.recent_ms": recent if per_second is not None else [],
                "usage.hour_count": {"$cond": [is_new_hour, 0, {"$ifNull": ["$usage.hour_count", 0]}]},
                "usage.hour_started_ms": {"$cond": [is_new_hour, at, started]},
            }
        },
        {"$set": {"usage.is_allowed": {"$and": [fits_second, fits_hour]}}},
        {
            "$set": {
                "usage.recent_ms": {
                    "$cond": ["$usage.is_allowed", {"$concatArrays": ["$usage.recent_ms", [at]]}, "$usage.recent_ms"]
                },
                "usage.hour_count": {"$add": ["$usage.hour_count", {"$cond": ["$usage.is_allowed", 1, 0]}]},
                "usage.refused": {"$add": [{"$ifNull": ["$usage.refused", 0]}, {"$cond": ["$usage.is_allowed", 0, 1]}]},
            }
        },
    ]


def _usage(usage: dict[str, Any], per_second: int | None, per_hour: int | None) -> Usage:
    in_second, in_hour = len(usage["recent_ms"]), usage["hour_count"]
    hour_left = per_hour - in_hour if per_hour is not None else None
    second_left = per_second - in_second if per_second is not None else None
    if hour_left is not None and hour_left <= 0 and per_hour is not None:
        elapsed_ms = usage["at_ms"] - usage["hour_started_ms"]
        return Usage(usage["is_allowed"], per_hour, 0, max(1, math.ceil((_HOUR_MS - elapsed_ms) / 1000)))
    left = [value for value in (second_left, hour_left) if value is not None]
    return Usage(usage["is_allowed"], per_second or per_hour or 0, max(0, min(left, default=0)), 1)
