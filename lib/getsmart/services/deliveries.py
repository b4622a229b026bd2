"""The log of deliveries, and replays. Neither calls anybody: what is put in line again is the tick's to deliver."""

from typing import Any

from getsmart import clock, objects
from getsmart.errors import InvalidState, LimitExceeded, NotFound
from getsmart.hooks import MOST_REPLAYS, DeliveryFilter, ReplayRow, Selection
from getsmart.ids import new_id
from getsmart.machine import replay
from getsmart.models import Caller
from getsmart.paging import Page
from getsmart.stores import deliveries, endpoints, events

MOST_COUNTED = 100_000


def page(caller: Caller, only: DeliveryFilter, asked: Page) -> dict[str, Any]:
    """A page of deliveries, newest first; with `replay_id` also how that replay stands.

    Raises NotFound for a replay that is not the caller's.
    """
    shown: dict[str, Any] = {}
    if "replay_id" in only:
        row = deliveries.find_replay(only["replay_id"], caller.view)
        if row is None:
            raise NotFound(f"replay {only['replay_id']}")
        shown["replay"] = _shown(row)
    rows = deliveries.find_page(caller.view, only, asked.after, asked.limit + 1)
    ids = sorted({row["endpoint_id"] for row in rows if row["status"] == "pending"})
    known = endpoints.find_many(ids) if ids else {}
    return {
        **asked.close(rows, lambda row: objects.delivery(row, known.get(row["endpoint_id"])), lambda row: row["_id"]),
        **shown,
    }


def begin_replay(caller: Caller, selection: Selection) -> dict[str, Any]:
    """Accept a replay; the tick works it off, and `page` tells how far it is.

    Raises NotFound for what is not the caller's, InvalidState for an endpoint that is disabled, LimitExceeded where as
    many replays of many deliveries are under way as a client may have.
    """
    at = clock.now()
    row: ReplayRow = {
        "_id": new_id("rpl"),
        "client_id": caller.client_id,
        "selection": selection,
        "status": "queued",
        "created_at": at,
        "place": None,
        "total": 0,
        "queued": 0,
        "audit": [caller.audit("replay", at)],
    }
    if "delivery_id" in selection:
        row = _of_delivery(caller, row, selection["delivery_id"])
    elif "event_id" in selection:
        row = _of_event(caller, row, selection["event_id"])
    else:
        return _begin_many(_of_many(caller, row))
    deliveries.insert_replay(row)
    return _begun(row)


def _begin_many(row: ReplayRow) -> dict[str, Any]:
    """Begin one of many deliveries, unless its client has too many.

    Counted before, and again with this one: of calls at once the last sees all, so never do too many stay. Two may
    withdraw where one had room, and what the tick put in line meanwhile is told. Killed in between, one too many stays.
    """
    if _open_of(row) >= MOST_REPLAYS:
        raise _too_many(row)
    row = {**row, "total": replay.count(row, MOST_COUNTED)}
    deliveries.insert_replay(row)
    if _open_of(row) > MOST_REPLAYS:
        deliveries.withdraw_replay(row["_id"])
        raise _too_many(row)
    return _begun(row)


def _open_of(row: ReplayRow) -> int:
    return deliveries.count_open_replays(row["client_id"], MOST_REPLAYS + 1)


def _too_many(row: ReplayRow) -> LimitExceeded:
    message = f"At most {MOST_REPLAYS} replays of many deliveries are under way at once; wait until one is completed."
    return LimitExceeded(f"{row['client_id']}: replays", message=message)


def _begun(row: ReplayRow) -> dict[str, Any]:
    replay.work(row)
    return _shown(deliveries.find_replay(row["_id"], None) or row)


def _of_delivery(caller: Caller, row: ReplayRow, delivery_id: str) -> ReplayRow:
    found = deliveries.find(delivery_id, caller.view)
    if found is None:
        raise NotFound(f"delivery {delivery_id}")
    _listening(caller, found["endpoint_id"])
    return {**row, "client_id": found["client_id"], "total": 1}


def _of_event(caller: Caller, row: ReplayRow, event_id: str) -> ReplayRow:
    event = events.find(event_id, caller.view)
    if event is None:
        raise NotFound(f"event {event_id}")
    return {**row, "client_id": event["client_id"], "total": replay.count_wanting(event)}


def _of_many(caller: Caller, row: ReplayRow) -> ReplayRow:
    if "endpoint_id" in row["selection"]:
        return {**row, "client_id": _listening(caller, row["selection"]["endpoint_id"])}
    return row


def _listening(caller: Caller, endpoint_id: str) -> str:
    """The client of an endpoint that is told of events. Raises NotFound, InvalidState."""
    endpoint = endpoints.find(endpoint_id, caller.view)
    if endpoint is None:
        raise NotFound(f"endpoint {endpoint_id}")
    if endpoint["status"] == "disabled":
        raise InvalidState(f"{endpoint_id} is disabled", message="The endpoint is disabled: enable it first.")
    return endpoint["client_id"]


def _shown(row: ReplayRow) -> dict[str, Any]:
    return objects.replay(row, deliveries.count_of_replay(row["_id"]))
