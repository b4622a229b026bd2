"""GET /tokens/transactions - the client's transactions, newest first."""

from typing import cast

from getsmart.fields import BadgeText, BatchId, Moment, WalletId
from getsmart.front import Request
from getsmart.models import Kind, Status, TransactionFilter
from getsmart.paging import TableQuery, page_of
from getsmart.replies import Reply, success
from getsmart.services import history
from getsmart.web import endpoint

COLUMNS = (
    *("transaction_id", "kind", "status", "amount"),
    *("from.wallet_id", "from.address", "from.account", "to.wallet_id", "to.address", "to.account"),
    *("tx_hash", "block_number", "explorer_url", "metakeep_transaction_id"),
    *("badge_claim.badge_id", "badge_claim.claimant", "reason", "batch_id", "failure.code", "failure.message"),
    *("created_at", "updated_at"),
)


class TransactionsQuery(TableQuery):
    """Which transactions: all filters that are given must fit."""

    wallet_id: WalletId | None = None
    status: Status | None = None
    kind: Kind | None = None
    batch_id: BatchId | None = None
    badge_id: BadgeText | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None


@endpoint("GET", scope="tokens:read", takes=TransactionsQuery)
def main(request: Request[TransactionsQuery]) -> Reply:
    """200 with a page of transactions, as JSON or CSV; 404 for a wallet that is not linked to this client."""
    query = request.input
    page = history.transaction_list(
        request.caller,
        cast(TransactionFilter, query.filters()),
        page_of(request.route, request.caller.client_id, query),
    )
    if query.format == "csv":
        from getsmart.tables import csv_reply

        return csv_reply("transactions", COLUMNS, page)
    return success(200, page, "transactions")
