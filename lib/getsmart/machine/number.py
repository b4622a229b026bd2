"""The sequencer: committed events get their numbers, each client's without a gap, and their deliveries."""

from collections.abc import Sequence

from getsmart import clock
from getsmart.hooks import DeliveryRow, wants
from getsmart.ids import new_id
from getsmart.models import Event
from getsmart.stores import controls, deliveries, endpoints, events

LEASE = "sequencer"
_LEASE_SECONDS = 10.0


def number_events(limit: int) -> int:
    """Number up to `limit` rows' events under a lease; returns how many were numbered, 0 when another one works.

    Killed anywhere it is repeatable: an event that has its number keeps it, a delivery is made once, and an event
    leaves its outbox only when both are there. Two sequencers at once cannot give one number twice: the unique index
    on (client, sequence) stops the slower one.
    """
    return number_now(limit) if events.has_outbox() else 0


def number_now(limit: int) -> int:
    """`number_events` for one who knows that there are some."""
    holder = new_id("req")
    if not controls.take_lease(LEASE, holder, _LEASE_SECONDS):
        return 0
    outboxes = events.find_outboxes(limit)
    by_client: dict[str, list[Event]] = {}
    for _, _, outbox in outboxes:
        for event in outbox:
            by_client.setdefault(event["client_id"], []).append(event)
    numbered = sum(_number(client_id, waiting) for client_id, waiting in by_client.items())
    events.clear_outboxes(outboxes)
    controls.drop_lease(LEASE, holder)
    return numbered


def _number(client_id: str, waiting: Sequence[Event]) -> int:
    """Number those of a client's events that have no number yet, and see to it that all have their deliveries."""
    numbers = events.find_numbers([event["event_id"] for event in waiting])
    new = [event for event in waiting if event["event_id"] not in numbers]
    if new:
        first = events.last_sequence(client_id) + 1
        events.number(new, first)
        numbers |= {event["event_id"]: first + place for place, event in enumerate(new)}
    _fan_out(client_id, waiting, numbers)
    return len(new)


def _fan_out(client_id: str, waiting: Sequence[Event], numbers: dict[str, int]) -> None:
    """See to it that whoever listens by now is told.

    Of what was not told when an endpoint was made as well: who writes an event stamps it by a clock of its own, and may
    be slow, so no comparison of moments says what came after. Something told too early harms nobody.
    """
    subscribed = endpoints.find_subscribed(client_id)
    if not subscribed:
        return
    rows = [
        delivery(event, numbers[event["event_id"]], endpoint["_id"])
        for event in sorted(waiting, key=lambda one: numbers[one["event_id"]])
        for endpoint in subscribed
        if wants(endpoint, event)
    ]
    deliveries.insert_many(rows)
    endpoints.wake(sorted({row["endpoint_id"] for row in rows}), clock.now())


def delivery(event: Event, sequence: int, endpoint_id: str) -> DeliveryRow:
    """What one endpoint is to be told of one event."""
    return {
        "_id": new_id("dlv"),
        "client_id": event["client_id"],
        "endpoint_id": endpoint_id,
        "event_id": event["event_id"],
        "type": event["type"],
        "sequence": sequence,
        "status": "pending",
        "created_at": clock.now(),
        "attempts": [],
    }
