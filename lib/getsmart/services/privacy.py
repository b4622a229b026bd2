"""What we keep about a person: give it out, or take it away and keep the books (docs/adr/0010)."""

from typing import Any

from getsmart import clock, log, objects
from getsmart.errors import InvalidState, NotFound
from getsmart.models import Caller
from getsmart.mongo import to_units
from getsmart.paging import Page
from getsmart.stores import batches, transactions, wallets


def export(caller: Caller, wallet_id: str, page: Page) -> dict[str, Any]:
    """All that the client sees of a wallet: `wallet`, `balance`, and a page of `transactions`. Raises NotFound."""
    query = transactions.page_query(caller.view, {}, page.after)
    found = wallets.find_with_transactions(wallet_id, caller.view, query, page.limit + 1)
    standing = wallets.find_with_account(wallet_id, caller.view)
    if found is None or standing is None:
        raise NotFound(f"wallet {wallet_id}")
    wallet, account, incoming = standing
    pending_in = sum(to_units(row["amount"]) for row in incoming)
    return {
        "wallet": objects.wallet(wallet, caller.client_id),
        "balance": objects.balance(wallet_id, account, pending_in, clock.to_wire(clock.now())),
        "transactions": page.close(
            found[1], lambda row: objects.own_transaction(row, caller.client_id), lambda row: row["_id"]
        ),
    }


def erase(caller: Caller, wallet_id: str) -> dict[str, Any]:
    """Make a tombstone of a linked wallet; the wallet as it is then, also when it was one before.

    Raises NotFound, and InvalidState while one of its transactions is not final: those still name the person to
    MetaKeep.
    """
    row = wallets.find(wallet_id, caller.view)
    if row is None:
        raise NotFound(f"wallet {wallet_id}")
    if "erased_at" not in row:
        if transactions.has_open(wallet_id) or batches.has_waiting(wallet_id):
            raise InvalidState(f"wallet {wallet_id} has open transactions")
        at = clock.now()
        wallets.erase(wallet_id, at, caller.audit("erase", at))
        log.event("wallet.erased", wallet_id=wallet_id, client_id=caller.client_id)
        row = wallets.find(wallet_id, caller.view) or row
    return objects.wallet(row, caller.client_id)
