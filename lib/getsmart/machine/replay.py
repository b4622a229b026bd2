"""Replays: deliveries are put in line again, in chunks, each repeatable; then they are delivered like any other."""

from typing import Any

from getsmart import clock, log
from getsmart.hooks import ReplayRow, wants
from getsmart.machine.number import delivery
from getsmart.stores import deliveries, endpoints, events
from getsmart.stores.events import NumberedEvent

_CHUNK = 200
_MOST_OPEN = 20


def work_all(seconds: float) -> int:
    """Go on with open replays by one chunk each, as many as get there in time; how many deliveries were put in line.

    Who has waited longest for a turn is first, so that the next call goes on where this one ended.
    """
    end, queued = clock.monotonic() + seconds, 0
    for row in deliveries.find_open_replays(_MOST_OPEN):
        if clock.monotonic() >= end:
            break
        try:
            queued += work(row)
        except Exception as error:  # noqa: BLE001 - the others go on; it has had its turn, and the next one will come
            log.failure("tick.replayed_failed", error, replay_id=row["_id"])
            deliveries.advance_replay(row, {"turn_at": clock.now()})
    return queued


def work(row: ReplayRow) -> int:
    """One chunk of a replay. Killed anywhere: the chunk is done again, and queues nothing twice."""
    selection = row["selection"]
    place: int | str | None
    if "delivery_id" in selection:
        keys, place = _of_delivery(selection["delivery_id"])
    elif "event_id" in selection:
        keys, place = _of_event(row, selection["event_id"])
    elif "endpoint_id" in selection and "all_failed" not in selection:
        keys, place = _of_span(row, selection["endpoint_id"])
    else:
        keys, place = _of_dead(row)
    queued = deliveries.queue_again(keys, row["_id"])
    endpoints.wake(sorted({endpoint_id for endpoint_id, _ in keys}), clock.now())
    changes: dict[str, Any] = {"queued": row["queued"] + queued, "turn_at": clock.now()}
    changes |= {"status": "completed"} if place is None else {"place": place}
    deliveries.advance_replay(row, changes)
    return queued


def count(row: ReplayRow, most: int) -> int:
    """How many deliveries a replay of many is about, up to `most`; nearly, as more may die or happen meanwhile."""
    selection = row["selection"]
    if "endpoint_id" not in selection or "all_failed" in selection:
        return deliveries.count_dead(row["client_id"], dead_of(row), most)
    only = span_of(row)
    endpoint = endpoints.find(selection["endpoint_id"], None)
    if endpoint is not None and endpoint["event_types"] is not None:
        only["type"] = {"$in": endpoint["event_types"]}
    return events.count_log(row["client_id"], only, most)


def count_wanting(event: NumberedEvent) -> int:
    """How many endpoints are to know of an event."""
    return sum(wants(one, event) for one in endpoints.find_subscribed(event["client_id"]))


def span_of(row: ReplayRow) -> dict[str, Any]:
    """The part of a filter of events that a replay's span is."""
    bounds = {"$gt": row["selection"].get("created_after"), "$lt": row["selection"].get("created_before")}
    given = {name: moment for name, moment in bounds.items() if moment is not None}
    return {"created_at": given} if given else {}


def _of_delivery(delivery_id: str) -> tuple[list[tuple[str, str]], None]:
    found = deliveries.find(delivery_id, None)
    return ([(found["endpoint_id"], found["event_id"])] if found else []), None


def _of_event(row: ReplayRow, event_id: str) -> tuple[list[tuple[str, str]], None]:
    """To every endpoint that is to know of it, also one that was added since."""
    event = events.find(event_id, row["client_id"])
    return (_make([event], row["client_id"], None) if event else []), None


def _of_span(row: ReplayRow, endpoint_id: str) -> tuple[list[tuple[str, str]], int | None]:
    after = row["place"] if isinstance(row["place"], int) else 0
    found = events.find_log(row["client_id"], after, span_of(row), _CHUNK)
    keys = _make(found, row["client_id"], endpoint_id)
    return keys, found[-1]["sequence"] if len(found) == _CHUNK else None


def _make(found: list[NumberedEvent], client_id: str, endpoint_id: str | None) -> list[tuple[str, str]]:
    """(endpoint, event) of what is to be told, made where it never was to be."""
    subscribed = [one for one in endpoints.find_subscribed(client_id) if endpoint_id in (None, one["_id"])]
    pairs = [(one, event) for event in found for one in subscribed if wants(one, event)]
    deliveries.insert_many([delivery(event, event["sequence"], one["_id"]) for one, event in pairs])
    return [(one["_id"], event["event_id"]) for one, event in pairs]


def _of_dead(row: ReplayRow) -> tuple[list[tuple[str, str]], str | None]:
    after = row["place"] if isinstance(row["place"], str) else None
    listening = dead_of(row)
    found = deliveries.find_dead(row["client_id"], listening, after, _CHUNK)
    keys = [(one["endpoint_id"], one["event_id"]) for one in found]
    return keys, found[-1]["_id"] if len(found) == _CHUNK else None


def dead_of(row: ReplayRow) -> list[str]:
    """The endpoints whose dead deliveries a replay is about: those that are told again, or the one it names."""
    named = row["selection"].get("endpoint_id")
    return [one["_id"] for one in endpoints.find_subscribed(row["client_id"]) if named in (None, one["_id"])]
