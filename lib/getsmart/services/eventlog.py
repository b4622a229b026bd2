"""The numbered event log of a client: whatever was missed is read from here. Reads only."""

from datetime import datetime
from typing import Any

from getsmart import objects
from getsmart.models import Caller
from getsmart.paging import Page, read_whole
from getsmart.stores import events


def page(
    caller: Caller,
    asked: Page,
    *,
    after: int,
    event_type: str | None,
    created_after: datetime | None,
    created_before: datetime | None,
) -> dict[str, Any]:
    """A page of the events behind a number, in order; also an admin's are those of its own client."""
    bounds = {"$gt": created_after, "$lt": created_before}
    span = {name: moment for name, moment in bounds.items() if moment is not None}
    only = {**({"type": event_type} if event_type else {}), **({"created_at": span} if span else {})}
    start = max(after, _number(asked.after))
    rows = events.find_log(caller.client_id, start, only, asked.limit + 1)
    return asked.close(rows, objects.event_payload, lambda row: str(row["sequence"]))


def _number(place: str | None) -> int:
    if place is None:
        return 0
    return read_whole(place)
