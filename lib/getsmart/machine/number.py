"""The sequencer: committed events get their numbers, each client's without a gap, and their deliveries."""

from collections.abc import Collection, Mapping, Sequence

from pymongo.errors import ConnectionFailure, PyMongoError

from getsmart import clock, log
from getsmart.errors import DatabaseUnavailable
from getsmart.hooks import DeliveryRow, wants
from getsmart.ids import new_id
from getsmart.models import Event
from getsmart.stores import controls, deliveries, endpoints, events
from getsmart.stores.events import Outbox

LEASE = "sequencer"
_LEASE_SECONDS = 10.0
_SECONDS = 3.0  # after which no further rows are looked for in one round


def number_events(limit: int) -> int:
    """Number up to `limit` rows' events under a lease; returns how many were numbered, 0 when another one works.

    Killed anywhere it is repeatable: an event that has its number keeps it, a delivery is made once, and an event
    leaves its outbox only when both are there. Two sequencers at once cannot give one number twice: the unique index
    on (client, sequence) stops the slower one. A client that fails is logged, and found again by the next round.
    """
    return number_now(limit) if events.has_outbox() else 0


def number_now(limit: int) -> int:
    """`number_events` for one who knows that there are some."""
    holder = new_id("req")
    if not controls.take_lease(LEASE, holder, _LEASE_SECONDS):
        return 0
    try:
        return _number_all(limit)
    finally:
        controls.drop_lease(LEASE, holder)


def _number_all(limit: int) -> int:
    """Number what has waited longest; where that is of clients that fail, what stands behind it as well.

    So none holds up another: not by its failure, and not by more rows than are taken at once.
    """
    end, numbered = clock.monotonic() + _SECONDS, 0
    failing: set[str] = set()
    while True:
        outboxes = events.find_outboxes(limit, failing)
        waiting = _by_client(outboxes, failing)
        done = _number_each(waiting)
        events.clear_outboxes(_of(outboxes, done))
        numbered += sum(done.values())
        if len(done) == len(waiting) or clock.monotonic() >= end:
            return numbered
        failing |= waiting.keys() - done.keys()


def _by_client(outboxes: Sequence[Outbox], failing: Collection[str]) -> dict[str, list[Event]]:
    """The events of each client but those; one row may hold events of several."""
    waiting: dict[str, list[Event]] = {}
    for _, _, outbox in outboxes:
        for event in outbox:
            if event["client_id"] not in failing:
                waiting.setdefault(event["client_id"], []).append(event)
    return waiting


def _of(outboxes: Sequence[Outbox], clients: Collection[str]) -> list[Outbox]:
    """Of these rows the events of these clients."""
    chosen = [(place, row_id, [one for one in its if one["client_id"] in clients]) for place, row_id, its in outboxes]
    return [one for one in chosen if one[2]]


def _number_each(waiting: Mapping[str, Sequence[Event]]) -> dict[str, int]:
    """How many events of each client got their number; a client that fails is logged and left out.

    Raises what concerns them all.
    """
    done: dict[str, int] = {}
    for client_id, its in waiting.items():
        try:
            done[client_id] = _number(client_id, its)
        except Exception as error:
            if _concerns_all(error):
                raise
            log.failure("tick.numbered_failed", error, client_id=client_id)
    return done


def _concerns_all(error: Exception) -> bool:
    """Whether the database is away or the time is up: each client would only wait for the same."""
    is_late = isinstance(error, PyMongoError) and error.timeout
    return is_late or isinstance(error, ConnectionFailure | DatabaseUnavailable)


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
