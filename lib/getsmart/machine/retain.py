"""Old events are forgotten: after their time, never before all their subscribers were told."""

from datetime import timedelta

from getsmart import clock, config
from getsmart.stores import controls, deliveries, events
from getsmart.stores.events import NumberedEvent

_CHUNK = 500
_EVERY = timedelta(minutes=10)


def purge() -> int:
    """Forget a chunk of what is older than it is kept, every ten minutes; how many events that were.

    What is pending or dead stays, and so does each client's newest event, from which its numbers go on.
    """
    seen = controls.read_all().get(controls.TICK, {})
    last = seen.get("purged_at")
    if last is not None and clock.now() - last < _EVERY:
        return 0
    before = clock.now() - timedelta(days=config.read(config.RetentionSettings).event_days)
    gone, since = 0, None
    while found := events.find_old(before, _CHUNK, since):
        gone += _forget(found)
        # Only what stays moves the window on; more than a chunk of one moment would stop it, which no client makes.
        if len(found) < _CHUNK or gone or since == found[-1]["created_at"]:
            break
        since = found[-1]["created_at"]
    controls.observe({"purged_at": clock.now()})
    return gone


def _forget(found: list[NumberedEvent]) -> int:
    ids = [event["event_id"] for event in found]
    kept = {row["event_id"] for row in deliveries.find_of_events(ids) if row["status"] != "delivered"}
    newest = {client_id: events.last_sequence(client_id) for client_id in {event["client_id"] for event in found}}
    ended = [
        event["event_id"]
        for event in found
        if event["event_id"] not in kept and event["sequence"] < newest[event["client_id"]]
    ]
    deliveries.remove_of_events(ended)
    events.remove(ended)
    return len(ended)
