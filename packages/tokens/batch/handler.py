"""GET /tokens/batch - how an airdrop stands; with rows=true also its rows."""

from typing import Literal

from getsmart.fields import BatchId
from getsmart.front import Request
from getsmart.paging import PageQuery, page_of
from getsmart.replies import Reply, success
from getsmart.services import batches
from getsmart.web import endpoint


class BatchQuery(PageQuery):
    """Which batch, and whether its rows are asked for; `limit` and `cursor` are for them."""

    batch_id: BatchId
    rows: Literal["true", "false"] = "false"


@endpoint("GET", scope="tokens:read", takes=BatchQuery)
def main(request: Request[BatchQuery]) -> Reply:
    """200 with the batch; 404 unknown, or another client's."""
    query = request.input
    page = page_of(request.route, request.caller.client_id, query) if query.rows == "true" else None
    return success(200, batches.batch(request.caller, query.batch_id, page), "batch")
