"""Every query on deliveries: one for each event and endpoint, whatever is repeated; and on replays."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from pymongo.errors import BulkWriteError

from getsmart.hooks import MOST_ATTEMPTS, Attempt, DeliveryFilter, DeliveryRow, ReplayRow
from getsmart.mongo import again, database
from getsmart.paging import newest_first

_DUPLICATE = 11_000
_CHUNK = 1_000


def insert_many(rows: Sequence[DeliveryRow]) -> None:
    """Keep what is to be told; what is there already stays as it is."""
    for start in range(0, len(rows), _CHUNK):
        try:
            database().deliveries.insert_many([{**row} for row in rows[start : start + _CHUNK]], ordered=False)
        except BulkWriteError as error:
            if any(problem["code"] != _DUPLICATE for problem in error.details["writeErrors"]):
                raise


def find(delivery_id: str, client_id: str | None) -> DeliveryRow | None:
    """The delivery with this id, if it is this client's; None as client (an admin) sees all."""
    query = {"_id": delivery_id, **_of(client_id)}
    return cast(DeliveryRow | None, database().deliveries.find_one(query))


def _of(client_id: str | None) -> dict[str, Any]:
    return {} if client_id is None else {"client_id": client_id}


def find_page(client_id: str | None, only: DeliveryFilter, after: str | None, limit: int) -> list[DeliveryRow]:
    """Up to `limit` deliveries, newest first."""
    named = {name: value for name, value in only.items() if name not in ("created_after", "created_before")}
    span = newest_first("dlv", after, only.get("created_after"), only.get("created_before"))
    found = database().deliveries.find({**_of(client_id), **named, **span})
    return cast(list[DeliveryRow], list(found.sort([("_id", -1)]).limit(limit)))


def find_pending(endpoint_id: str, limit: int) -> list[DeliveryRow]:
    """What an endpoint is to be told next, in sequence."""
    query = {"endpoint_id": endpoint_id, "status": "pending"}
    return cast(list[DeliveryRow], list(database().deliveries.find(query).sort([("sequence", 1)]).limit(limit)))


def note(delivery_id: str, attempt: Attempt, *, is_success: bool) -> None:
    """Keep an attempt; with its success the delivery is over."""
    pushed = {"attempts": {"$each": [attempt], "$slice": -MOST_ATTEMPTS}}
    update: dict[str, Any] = {"$push": pushed}
    if is_success:
        update["$set"] = {"status": "delivered"}
    database().deliveries.update_one({"_id": delivery_id}, update)


def end(delivery_id: str) -> None:
    """Dead-letter one that is pending."""
    database().deliveries.update_one({"_id": delivery_id, "status": "pending"}, {"$set": {"status": "dead"}})


def bury(endpoint_id: str) -> int:
    """Dead-letter whatever is pending for an endpoint."""
    query = {"endpoint_id": endpoint_id, "status": "pending"}
    return database().deliveries.update_many(query, {"$set": {"status": "dead"}}).modified_count


def find_of_events(event_ids: Sequence[str]) -> list[DeliveryRow]:
    """The deliveries of these events, to whomever."""
    query = {"event_id": {"$in": list(event_ids)}}
    unread = {"attempts": 0}
    return cast(list[DeliveryRow], list(database().deliveries.find(query, unread)))


def find_dead(client_id: str, endpoint_ids: Sequence[str], after: str | None, limit: int) -> list[DeliveryRow]:
    """Dead deliveries to these endpoints behind that id, the oldest first."""
    query: dict[str, Any] = {"client_id": client_id, "status": "dead", "endpoint_id": {"$in": list(endpoint_ids)}}
    if after is not None:
        query["_id"] = {"$gt": after}
    return cast(list[DeliveryRow], list(database().deliveries.find(query).sort([("_id", 1)]).limit(limit)))


def count_dead(client_id: str, endpoint_ids: Sequence[str], most: int) -> int:
    """How many deliveries to these endpoints are dead, counted up to `most`."""
    query = {"client_id": client_id, "status": "dead", "endpoint_id": {"$in": list(endpoint_ids)}}
    return database().deliveries.count_documents(query, limit=most)


def queue_again(keys: Sequence[tuple[str, str]], replay_id: str) -> int:
    """Put deliveries, by (endpoint, event), in line again for a replay; those it has put there before stay."""
    queued = 0
    for endpoint_id in {endpoint_id for endpoint_id, _ in keys}:
        events = [event_id for endpoint, event_id in keys if endpoint == endpoint_id]
        query = {"endpoint_id": endpoint_id, "event_id": {"$in": events}, "replay_id": {"$ne": replay_id}}
        update = {"$set": {"status": "pending", "replay_id": replay_id}}
        queued += database().deliveries.update_many(query, update).modified_count
    return queued


def find_oldest_pending(endpoint_ids: Sequence[str]) -> datetime | None:
    """When the oldest delivery that one of these endpoints still waits for was made."""
    found: list[datetime] = []
    for endpoint_id in endpoint_ids:
        query = {"endpoint_id": endpoint_id, "status": "pending"}
        row = database().deliveries.find_one(query, {"created_at": 1}, sort=[("sequence", 1)])
        found += [row["created_at"]] if row else []
    return min(found, default=None)


def count_dead_all(most: int) -> int:
    """How many deliveries are dead, counted up to `most`."""
    return database().deliveries.count_documents({"status": "dead"}, limit=most)


def remove_of_events(event_ids: Sequence[str]) -> None:
    """Forget what was told of these events."""
    database().deliveries.delete_many({"event_id": {"$in": list(event_ids)}, "status": "delivered"})


def insert_replay(row: ReplayRow) -> None:
    """Keep a new replay."""
    again(lambda: database().replays.update_one({"_id": row["_id"]}, {"$setOnInsert": {**row}}, upsert=True))


def find_replay(replay_id: str, client_id: str | None) -> ReplayRow | None:
    """The replay with this id, if it is this client's."""
    return cast(ReplayRow | None, database().replays.find_one({"_id": replay_id, **_of(client_id)}))


def withdraw_replay(replay_id: str) -> None:
    """Forget a replay; what it has put in line already is told."""
    database().replays.delete_one({"_id": replay_id})


def find_open_replays(limit: int) -> list[ReplayRow]:
    """Replays that are not worked off, those first that have waited longest for a turn."""
    found = database().replays.find({"status": "queued"}).sort([("turn_at", 1), ("created_at", 1)]).limit(limit)
    return cast(list[ReplayRow], list(found))


def count_open_replays(client_id: str, most: int) -> int:
    """How many replays of many deliveries a client has under way, counted up to `most`."""
    many = {"selection.delivery_id": {"$exists": False}, "selection.event_id": {"$exists": False}}
    return database().replays.count_documents({"status": "queued", "client_id": client_id, **many}, limit=most)


def advance_replay(row: ReplayRow, changes: Mapping[str, Any]) -> None:
    """Note how far a replay is; nothing happens when somebody else was faster."""
    database().replays.update_one({"_id": row["_id"], "place": row["place"]}, {"$set": dict(changes)})


def count_of_replay(replay_id: str) -> dict[str, int]:
    """How many deliveries of a replay there are in each state."""
    stages: list[dict[str, Any]] = [
        {"$match": {"replay_id": replay_id}},
        {"$group": {"_id": "$status", "count": {"$sum": 1}}},
    ]
    return {row["_id"]: row["count"] for row in database().deliveries.aggregate(stages)}
