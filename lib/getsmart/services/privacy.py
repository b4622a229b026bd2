"""What we keep about a person: give it out, or take it away and keep the books (docs/adr/0010)."""

from typing import Any

from getsmart import clock, log, objects
from getsmart.errors import InvalidState, NotFound
from getsmart.ids import new_id
from getsmart.models import Caller, WalletRow
from getsmart.paging import Page
from getsmart.stores import batches, transactions, wallets


def export(caller: Caller, wallet_id: str, page: Page) -> dict[str, Any]:
    """All that the client sees of a wallet: `wallet`, `balance`, and a page of `transactions`. Raises NotFound."""
    query = transactions.page_query(caller.view, {}, page.after)
    found = wallets.find_with_transactions(wallet_id, caller.view, query, page.limit + 1)
    standing = wallets.find_with_account(wallet_id, caller.view)
    if found is None or standing is None:
        raise NotFound(f"wallet {wallet_id}")
    wallet, account, pending_in = standing
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
        row = _erase(caller, wallet_id) or row
    if "erased_at" not in row:
        raise InvalidState(f"wallet {wallet_id} has open transactions")
    return objects.wallet(row, caller.client_id)


def _erase(caller: Caller, wallet_id: str) -> WalletRow | None:
    """Erased only where nothing is under way and the mark still stands: an order that comes meanwhile takes it away.

    What waits in a batch is looked for first, since it becomes open: docs/adr/0080.
    """
    mark = wallets.begin_erasure(wallet_id, new_id("req"))
    if mark is None:
        return None
    if batches.has_waiting(wallet_id) or transactions.has_open(wallet_id):
        wallets.end_erasure(wallet_id, mark)
        return None
    at = clock.now()
    wallets.erase(wallet_id, mark, at, caller.audit("erase", at))
    row = wallets.find(wallet_id, caller.view)
    if row is not None and "erased_at" in row:
        log.event("wallet.erased", wallet_id=wallet_id, client_id=caller.client_id)
    return row
