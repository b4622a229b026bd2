"""GET /wallets/list - the wallets that the client is linked to, newest first."""

from typing import cast

from getsmart.fields import EmailPrefix, Label, Moment
from getsmart.front import Request
from getsmart.models import WalletFilter
from getsmart.paging import PageQuery, page_of
from getsmart.replies import Reply, success
from getsmart.services import views
from getsmart.web import endpoint


class ListQuery(PageQuery):
    """Which wallets: by the beginning of their owner's address, by the client's own label, by when they were made."""

    email_prefix: EmailPrefix | None = None
    label: Label | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None


@endpoint("GET", scope="wallets:read", takes=ListQuery)
def main(request: Request[ListQuery]) -> Reply:
    """200 with a page of wallets; 400 for a cursor of another list."""
    query = request.input
    page = page_of(request.route, request.caller.client_id, query)
    return success(200, views.wallet_list(request.caller, cast(WalletFilter, query.filters()), page), "wallets")
