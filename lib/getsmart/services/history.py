"""What has happened: the transactions of a client, and the statement of a wallet. Reads only."""

from datetime import UTC, datetime
from typing import Any

from getsmart import objects
from getsmart.errors import NotFound
from getsmart.models import Caller, EntryRow, TransactionFilter, TransactionRow
from getsmart.paging import Page, no_such_place, read_whole
from getsmart.stores import ledger, transactions, wallets


def transaction_list(caller: Caller, only: TransactionFilter, page: Page) -> dict[str, Any]:
    """A page of the client's transactions, newest first.

    Raises NotFound where `only` names a wallet that the client is not linked to.
    """
    query = transactions.page_query(caller.view, only, page.after)
    if "wallet_id" in only:
        found = wallets.find_with_transactions(only["wallet_id"], caller.view, query, page.limit + 1)
        if found is None:
            raise NotFound(f"wallet {only['wallet_id']}")
        rows = found[1]
    else:
        rows = transactions.find_page(query, page.limit + 1)
    return page.close(rows, lambda row: objects.own_transaction(row, caller.client_id), lambda row: row["_id"])


def statement(caller: Caller, wallet_id: str, page: Page) -> dict[str, Any]:
    """A page of the lines of a linked wallet's account, the oldest first, each with the balance after it.

    Transaction, reason and counterparty stand only on lines of the client's own transactions. Raises NotFound.
    """
    found = ledger.find_entries(wallet_id, caller.view, _read_place(page.after), page.limit + 1)
    if found is None:
        raise NotFound(f"wallet {wallet_id}")
    entries, causes = found
    own: dict[str, TransactionRow] = {row["_id"]: row for row in causes}
    return page.close(entries, lambda row: objects.entry(row, own.get(row["transaction_id"])), _place)


def _place(entry: EntryRow) -> str:
    """Time and sequence: both grow along an account, and together they are what its index is made of."""
    return f"{round(entry['at'].timestamp() * 1000)}.{entry['account_sequence']}"


def _read_place(place: str | None) -> tuple[datetime, int] | None:
    if place is None:
        return None
    at_ms, _, sequence = place.partition(".")
    try:
        return datetime.fromtimestamp(read_whole(at_ms) / 1000, UTC), read_whole(sequence)
    except (ValueError, OverflowError, OSError):
        raise no_such_place() from None
