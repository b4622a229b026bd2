"""How much a key has minted or paid from the treasury today: counted exactly, in UTC days of the database's clock."""

import contextlib
from typing import Any, Literal

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from getsmart.mongo import Document, database, to_decimal

Counter = Literal["mint", "treasury"]
_DAY_MS = 24 * 3_600_000


def take(key_id: str, counter: Counter, units: int, ceiling: int) -> int | None:
    """Count `units` against the key's ceiling; the day they were counted on, or None when they do not fit.

    One round trip, two more on a key's first call; of concurrent calls no two can both take the last of it. The day
    never goes back: a command that was overtaken at midnight counts for the new day.
    """
    pipeline = _pipeline(counter, units, ceiling)
    row = _count(key_id, pipeline)
    if row is None:
        # Not an upsert: of two at once, the embedded database answers one with nothing.
        with contextlib.suppress(DuplicateKeyError):
            database().ceilings.insert_one({"_id": key_id, "day": 0})
        row = _count(key_id, pipeline)
    return int(row["day"]) if row is not None and row["is_allowed"] else None


def _count(key_id: str, pipeline: list[dict[str, Any]]) -> Document | None:
    return database().ceilings.find_one_and_update({"_id": key_id}, pipeline, return_document=ReturnDocument.AFTER)


def _pipeline(counter: Counter, units: int, ceiling: int) -> list[dict[str, Any]]:
    zero, amount = to_decimal(0), to_decimal(units)
    today = {"$toLong": {"$floor": {"$divide": [{"$toLong": "$$NOW"}, _DAY_MS]}}}
    is_same_day = {"$eq": ["$day", "$today"]}
    after = {"$add": [f"${counter}", amount]}
    return [
        {"$set": {"today": {"$max": [today, {"$ifNull": ["$day", today]}]}}},
        {
            "$set": {
                name: {"$cond": [is_same_day, {"$ifNull": [f"${name}", zero]}, zero]} for name in ("mint", "treasury")
            }
        },
        {"$set": {"day": "$today", "is_allowed": {"$lte": [after, to_decimal(ceiling)]}}},
        {"$set": {counter: {"$cond": ["$is_allowed", after, f"${counter}"]}}},
    ]


def give_back(key_id: str, counter: Counter, units: int, day: int) -> None:
    """Take back what was counted on that day; nothing once the day is over."""
    database().ceilings.update_one({"_id": key_id, "day": day}, {"$inc": {counter: to_decimal(-units)}})
