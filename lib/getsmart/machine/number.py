"""The sequencer: committed events get their numbers, each client's without a gap."""

from getsmart.ids import new_id
from getsmart.models import Event
from getsmart.stores import controls, events

LEASE = "sequencer"
_LEASE_SECONDS = 20.0


def number_events(limit: int) -> int:
    """Number up to `limit` rows' events under a lease; returns how many were numbered, 0 when another one works.

    Killed anywhere it is repeatable: an event that has its number keeps it, and leaves its outbox the next time. Two
    sequencers at once cannot give one number twice: the unique index on (client, sequence) stops the slower one.
    """
    holder = new_id("req")
    if not controls.take_lease(LEASE, holder, _LEASE_SECONDS):
        return 0
    numbered = 0
    last: dict[str, int] = {}
    for source, row_id, outbox in events.find_outboxes(limit):
        for event in outbox:
            numbered += _number(event, last)
        events.clear_outbox(source, row_id, [event["event_id"] for event in outbox])
    controls.drop_lease(LEASE, holder)
    return numbered


def _number(event: Event, last: dict[str, int]) -> int:
    client_id = event["client_id"]
    if client_id not in last:
        last[client_id] = events.last_sequence(client_id)
    if not events.number(event, last[client_id] + 1):
        return 0
    last[client_id] += 1
    return 1
