"""Every query on endpoints: what their clients change, and how delivering to each one stands."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from pymongo.errors import DuplicateKeyError

from getsmart.hooks import MOST_ENDPOINTS, Attempt, EndpointRow, Subscription
from getsmart.models import AuditLine, Event
from getsmart.mongo import again, database

LEASE_SECONDS = 30.0  # renewed with each delivery; longer than one call takes
_SUBSCRIBED = ["enabled", "paused"]
_RESTING = {"due_at": "", "lease_holder": "", "lease_until": ""}
_MOST_OUTCOMES = 100
_MOST_LINES = 50


def insert(row: EndpointRow) -> bool:
    """Keep a new endpoint in a free slot of its client; False when there is none."""
    for slot in range(MOST_ENDPOINTS):
        made = {"$setOnInsert": {**row, "slot": slot}}
        try:
            again(lambda made=made: database().endpoints.update_one({"_id": row["_id"]}, made, upsert=True))  # type: ignore[misc]
        except DuplicateKeyError:
            continue
        return True
    return False


def find(endpoint_id: str, client_id: str | None) -> EndpointRow | None:
    """The endpoint with this id, if it is this client's (None: anybody's) and was not removed."""
    query = {"_id": endpoint_id, **({} if client_id is None else {"client_id": client_id})}
    row = cast(EndpointRow | None, database().endpoints.find_one(query))
    return None if row is None or row["status"] == "removed" else row


def find_page(client_id: str | None, place: dict[str, Any], limit: int) -> list[EndpointRow]:
    """Up to `limit` endpoints, newest first, from that place on."""
    query = {**({} if client_id is None else {"client_id": client_id}), **place, "status": {"$ne": "removed"}}
    return cast(list[EndpointRow], list(database().endpoints.find(query).sort([("_id", -1)]).limit(limit)))


def find_many(endpoint_ids: Sequence[str]) -> dict[str, EndpointRow]:
    """The endpoints of these ids, by id, removed ones too."""
    rows = database().endpoints.find({"_id": {"$in": list(endpoint_ids)}})
    return {row["_id"]: cast(EndpointRow, row) for row in rows}


def find_subscribed(client_id: str) -> list[Subscription]:
    """The client's endpoints that are told of events, now or once they are resumed.

    Asked for each event, so by the index that a removed endpoint leaves with its slot: such are kept for ever. It is
    partial: MongoDB takes it only for its own condition, and the embedded server only where it is named.
    """
    query = {"client_id": client_id, "slot": {"$type": "number"}}
    rows = database().endpoints.find(query, {"status": 1, "event_types": 1}, hint="slot")
    return [cast(Subscription, row) for row in rows if row["status"] in _SUBSCRIBED]


def change(
    row: EndpointRow, changes: Mapping[str, Any], gone: Sequence[str], line: AuditLine, event: Event | None = None
) -> bool:
    """Change what a client may change; False when somebody changed it first. A delivery under way stops for it."""
    push: dict[str, Any] = {"audit": {"$each": [line], "$slice": -_MOST_LINES}}
    if event is not None:
        push["outbox"] = event
    update: dict[str, Any] = {"$set": {**changes, "revision": row["revision"] + 1}, "$push": push}
    if gone:
        update["$unset"] = dict.fromkeys(gone, "")
    current = {"_id": row["_id"], "revision": row["revision"]}
    return database().endpoints.update_one(current, update).modified_count == 1


def wake(endpoint_ids: Sequence[str], at: datetime) -> None:
    """Something was added for these: they are due, unless they are failing and wait for their probe.

    One update, so that whoever finds nothing more to do meanwhile sees that there is.
    """
    if not endpoint_ids:
        return
    due_at = {"$cond": [{"$gt": ["$failures", 0]}, "$due_at", {"$min": [{"$ifNull": ["$due_at", at]}, at]}]}
    is_gone = {"$in": ["$status", ["disabled", "removed"]]}
    update = [{"$set": {"wakes": {"$add": ["$wakes", 1]}, "due_at": due_at, "has_waiting": is_gone}}]
    database().endpoints.update_many({"_id": {"$in": list(endpoint_ids)}}, update)


def find_due(at: datetime, limit: int, *, is_doubtful: bool) -> list[str]:
    """The ids of enabled endpoints that may be called now and that nobody calls, the longest due first."""
    query = {"status": "enabled", "is_doubtful": is_doubtful, "due_at": {"$lte": at}}
    rows = database().endpoints.find(query, {"lease_until": 1}).sort([("due_at", 1)]).limit(limit)
    return [row["_id"] for row in rows if "lease_until" not in row or row["lease_until"] <= at]


def find_due_of(client_id: str, at: datetime, quick_ms: int) -> list[str]:
    """The ids of this client's endpoints that may be called now, have not failed, and last answered so quickly."""
    rows = database().endpoints.find({"client_id": client_id, "status": "enabled", "due_at": {"$lte": at}})
    return [
        row["_id"]
        for row in rows
        if not row["failures"] and row.get("last_ms", 0) <= quick_ms and row.get("lease_until", at) <= at
    ]


def take(endpoint_id: str, holder: str, at: datetime) -> EndpointRow | None:
    """Take the lease of a due endpoint, and read it; None while somebody else has it, or it is no longer due."""
    lease = {"lease_holder": holder, "lease_until": at + timedelta(seconds=LEASE_SECONDS)}
    due = {"_id": endpoint_id, "status": "enabled", "due_at": {"$lte": at}}
    for free in ({"lease_until": {"$exists": False}}, {"lease_until": {"$lte": at}}):
        if database().endpoints.update_one({**due, **free}, {"$set": lease}).modified_count:
            return find(endpoint_id, None)
    return None


def note(row: EndpointRow, changes: Mapping[str, Any], attempt: Attempt, *, is_success: bool) -> bool:
    """Keep how a call ended, under the lease; False when the lease, or what the endpoint is, has changed meanwhile."""
    update = _noted(changes, attempt, is_success=is_success)
    return database().endpoints.update_one(_held(row), update).modified_count == 1


def note_and_rest(row: EndpointRow, changes: Mapping[str, Any], attempt: Attempt) -> bool:
    """`note` of a success and `rest` in one; False, and nothing noted, when there is more since the row was read."""
    update = _noted(changes, attempt, is_success=True)
    update["$unset"] |= _RESTING
    return database().endpoints.update_one({**_held(row), "wakes": row["wakes"]}, update).modified_count == 1


def _noted(changes: Mapping[str, Any], attempt: Attempt, *, is_success: bool) -> dict[str, Any]:
    kept = {**changes, "attempted_at": attempt["at"], "last_ms": attempt["duration_ms"]}
    outcome = {"outcomes": {"$each": [int(is_success)], "$slice": -_MOST_OUTCOMES}}
    return {"$set": kept, "$push": outcome, **({"$unset": {"failing_since": ""}} if is_success else {})}


def _held(row: EndpointRow) -> dict[str, Any]:
    held = {"_id": row["_id"], "lease_holder": row["lease_holder"], "revision": row["revision"]}
    return {**held, "status": "enabled"}


def rest(row: EndpointRow) -> bool:
    """Nothing waits: not due until it is woken. False when it was woken since the row was read."""
    update = {"$unset": _RESTING}
    return database().endpoints.update_one({**_held(row), "wakes": row["wakes"]}, update).modified_count == 1


def let_go(row: EndpointRow, at: datetime) -> None:
    """Give the lease up; what is due stays due, behind those that have waited for longer."""
    held = {"_id": row["_id"], "lease_holder": row["lease_holder"]}
    update = {"$unset": {"lease_holder": "", "lease_until": ""}, "$max": {"due_at": at}}
    database().endpoints.update_one(held, update)


def disable(row: EndpointRow, at: datetime, event: Event, attempt: Attempt) -> bool:
    """End it on our side, with the event that tells of it; what waits has then to be buried."""
    ended = {"status": "disabled", "disabled_at": at, "has_waiting": True, "attempted_at": attempt["at"]}
    update = {
        "$set": ended,
        "$unset": _RESTING,
        "$push": {"outbox": event, "outcomes": {"$each": [0], "$slice": -_MOST_OUTCOMES}},
        "$inc": {"revision": 1},
    }
    return database().endpoints.update_one(_held(row), update).modified_count == 1


def find_unburied(limit: int) -> list[EndpointRow]:
    """Endpoints that nobody is told at any more, but for which something may still be pending."""
    return cast(list[EndpointRow], list(database().endpoints.find({"has_waiting": True}).limit(limit)))


def mark_buried(row: EndpointRow) -> None:
    """Nothing is pending for it, unless something was added since the row was read."""
    database().endpoints.update_one({"_id": row["_id"], "wakes": row["wakes"]}, {"$set": {"has_waiting": False}})


def find_active(limit: int) -> list[EndpointRow]:
    """Enabled endpoints for which something is pending, the longest due first."""
    query = {"status": "enabled", "due_at": {"$gte": datetime.fromtimestamp(0, UTC)}}
    return cast(list[EndpointRow], list(database().endpoints.find(query, {"audit": 0, "outbox": 0}).limit(limit)))


def find_called_since(moment: datetime, limit: int) -> list[EndpointRow]:
    """Endpoints that were called since then, and how that went."""
    query = {"attempted_at": {"$gte": moment}}
    return cast(list[EndpointRow], list(database().endpoints.find(query, {"outcomes": 1}).limit(limit)))
