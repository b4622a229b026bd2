"""GET /wallets/export - all personal data of a wallet that the client sees: wallet, balance, its own transactions."""

from getsmart.fields import WalletId
from getsmart.front import Request
from getsmart.paging import PageQuery, page_of
from getsmart.replies import Reply, success
from getsmart.services import privacy
from getsmart.web import endpoint


class ExportQuery(PageQuery):
    """Whose data; the transactions come in pages."""

    wallet_id: WalletId


@endpoint("GET", scope="wallets:read", takes=ExportQuery)
def main(request: Request[ExportQuery]) -> Reply:
    """200 with wallet, balance and a page of transactions; 404 unknown, or not linked to this client."""
    query = request.input
    page = page_of(request.route, request.caller.client_id, query)
    return success(200, privacy.export(request.caller, query.wallet_id, page), "export")
