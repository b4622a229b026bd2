"""Records for tests of the stores, which need no provider."""

from datetime import timedelta
from typing import Any, cast

from getsmart import clock
from getsmart.ids import new_id
from getsmart.models import TransactionRow
from getsmart.mongo import to_decimal
from getsmart.stores import transactions
from tests.support import unique

WALLET = "wlt_00000000000000000000000001"


def make_row(**changes: Any) -> TransactionRow:
    """A queued mint of 10 base units as `machine.claim` writes it, with changes."""
    at = clock.now()
    row: dict[str, Any] = {
        "_id": new_id("txn"),
        "version": 1,
        "client_id": "app",
        "route": "/v1/tokens/mint",
        "idempotency_key": unique("key"),
        "body_digest": "0" * 64,
        "kind": "mint",
        "status": "queued",
        "amount": to_decimal(10),
        "origin": {"account": "issuance"},
        "target": {"account": WALLET, "wallet_id": WALLET, "address": "0x" + "a" * 40},
        "hold": {"name": "supply", "state": "held"},
        "request": {"path": "/p", "body": '{"to":"x@example.com"}', "idempotency_key": "k", "signer": "s"},
        "audit": {},
        "timeline": [{"status": "queued", "at": at}],
        "created_at": at,
        "updated_at": at,
        "lease_until": at + timedelta(seconds=15),
        "due_at": at + timedelta(seconds=15),
        "attempts": 0,
        "is_in_flight": False,
        "is_ambiguous": False,
        "incoming_wallet_id": WALLET,
        **changes,
    }
    made = cast(TransactionRow, row)
    made["outbox"] = [transactions.event_of(made)]
    return made


def kept(**changes: Any) -> TransactionRow:
    """The same, inserted."""
    row = make_row(**changes)
    transactions.insert(row)
    return row
