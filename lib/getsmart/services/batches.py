"""How an airdrop stands: reads only."""

from typing import Any

from getsmart import objects
from getsmart.errors import NotFound
from getsmart.models import Caller
from getsmart.paging import Page, read_whole
from getsmart.stores import batches, transactions


def batch(caller: Caller, batch_id: str, page: Page | None) -> dict[str, Any]:
    """The batch object; with a page also `rows`, in order. Raises NotFound, InvalidRequest for a wrong cursor."""
    row = batches.find(batch_id, caller.view)
    if row is None:
        raise NotFound(f"batch {batch_id}")
    counts = transactions.count_by_status(batch_id)
    if row["status"] != "accepting":
        counts["queued"] = counts.get("queued", 0) + row["total"] - row["unfolded"]
    seen = objects.batch(row, counts)
    return seen if page is None else {**seen, "rows": _rows(batch_id, page)}


def _rows(batch_id: str, page: Page) -> dict[str, Any]:
    start = _start(page.after)
    made = transactions.find_batch_rows(batch_id, start, page.limit + 1)
    rows = batches.find_rows(batch_id, start, page.limit + 1)
    return page.close(rows, lambda row: objects.batch_row(row, made.get(row["row"])), lambda row: str(row["row"]))


def _start(place: str | None) -> int:
    if place is None:
        return 0
    return read_whole(place) + 1
