"""GET /wallets/statement - every entry of a wallet's account with the balance after it, the oldest first."""

from getsmart.fields import WalletId
from getsmart.front import Request
from getsmart.paging import TableQuery, page_of
from getsmart.replies import Reply, success
from getsmart.services import history
from getsmart.web import endpoint

COLUMNS = (
    *("sequence", "at", "direction", "amount", "balance", "transaction_id", "kind", "reason"),
    *("counterparty.wallet_id", "counterparty.address", "counterparty.account"),
)


class StatementQuery(TableQuery):
    """Whose statement."""

    wallet_id: WalletId


@endpoint("GET", scope="wallets:read", takes=StatementQuery)
def main(request: Request[StatementQuery]) -> Reply:
    """200 with a page of entries, as JSON or CSV; 404 unknown, or not linked to this client."""
    query = request.input
    page = history.statement(request.caller, query.wallet_id, page_of(request.route, request.caller.client_id, query))
    if query.format == "csv":
        from getsmart.tables import csv_reply

        return csv_reply("statement", COLUMNS, page)
    return success(200, page, "statement")
