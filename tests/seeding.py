"""A past for a database: confirmed mints in bulk, their entries, accounts, sums, and Transfers on the chain."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo.database import Database

from getsmart import clock
from getsmart.amounts import UNIT
from getsmart.ids import new_id
from getsmart.mongo import to_decimal, to_units
from tests.support import Provider

ZERO = "0x" + "0" * 40
_AT_ONCE = 5_000
_CHUNK = 1_000
Row = dict[str, Any]


def seed(raw: Database[Row], provider: Provider, wallets: Sequence[Row], count: int) -> None:
    """So many mints of one GETS each, into the wallets in turn; verification and reconciliation find nothing wrong."""
    sequences = [0] * len(wallets)
    for start in range(0, count, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, count))
        targets = [wallets[number % len(wallets)] for number in numbers]
        orders = [{"sender": ZERO, "recipient": one["address"], "amount": str(UNIT)} for one in targets]
        mined = provider.private("transfers", transfers=orders)["transfers"]
        rows = [
            _row(number, wallets[number % len(wallets)], *one)
            for number, one in zip(numbers, _moments(mined), strict=True)
        ]
        entries: list[Row] = []
        for number, row in zip(numbers, rows, strict=True):
            sequences[number % len(wallets)] += 1
            entries += _entries(row, sequences[number % len(wallets)])
        for first in range(0, len(rows), _CHUNK):
            raw.transactions.insert_many(rows[first : first + _CHUNK], ordered=False)
        for first in range(0, len(entries), _CHUNK):
            raw.entries.insert_many(entries[first : first + _CHUNK], ordered=False)
    _sum(raw, wallets, sequences, count)


def _moments(mined: Sequence[Row]) -> list[tuple[Row, datetime]]:
    assert not any(one["failure"] for one in mined)
    return [(one, clock.now()) for one in mined]


def _row(number: int, wallet: Row, mined: Row, at: datetime) -> Row:
    steps = [{"status": status, "at": at} for status in ("queued", "submitted", "confirmed")]
    where = {"tx_hash": mined["tx_hash"], "block_number": mined["block_number"], "block_hash": mined["block_hash"]}
    return {
        "_id": new_id("txn"),
        "version": 3,
        "client_id": "past",
        "route": "/v1/tokens/mint",
        "idempotency_key": f"past-{number}",
        "body_digest": "0" * 64,
        "kind": "mint",
        "status": "confirmed",
        "amount": to_decimal(UNIT),
        "origin": {"account": "issuance"},
        "target": {"account": wallet["wallet_id"], "wallet_id": wallet["wallet_id"], "address": wallet["address"]},
        "hold": {"name": "supply", "state": "settled"},
        "request": {"path": "/v2/app/coin/mint", "body": None, "idempotency_key": f"past-{number}", "signer": "s"},
        "audit": {},
        "timeline": steps,
        "created_at": at,
        "updated_at": at,
        "lease_until": at + timedelta(seconds=15),
        "attempts": 1,
        "is_in_flight": False,
        "is_ambiguous": False,
        "metakeep_transaction_id": f"past-{number}",
        **where,
        "settlement": {"tx_hash": mined["tx_hash"], "log_index": 0},
        "outbox": [],
    }


def _entries(row: Row, sequence: int) -> list[Row]:
    line = {"transaction_id": row["_id"], "amount": row["amount"], "at": row["updated_at"]}
    debit = {"_id": f"{row['_id']}:debit", "account": "issuance", "direction": "debit"}
    credit = {"_id": f"{row['_id']}:credit", "account": row["target"]["account"], "direction": "credit"}
    balance = {"account_sequence": sequence, "balance_after": to_decimal(sequence * UNIT)}
    return [{**line, **debit}, {**line, **credit, **balance}]


def _sum(raw: Database[Row], wallets: Sequence[Row], sequences: Sequence[int], count: int) -> None:
    """The accounts, the supply and the books, as if the tick had folded everything in."""
    at = clock.now()
    for wallet, sequence in zip(wallets, sequences, strict=True):
        sums = {"posted": to_decimal(sequence * UNIT), "available": to_decimal(sequence * UNIT)}
        row = {"_id": wallet["wallet_id"], **sums, "sequence": sequence, "moved_at": at, "version": 0}
        raw.accounts.insert_one(row)
    supply, books = (raw.controls.find_one({"_id": name}) for name in ("supply", "books"))
    assert supply is not None
    assert books is not None
    left = to_units(supply["available"]) - count * UNIT
    raw.controls.update_one({"_id": "supply"}, {"$set": {"available": to_decimal(left)}})
    moved = {
        "issuance": to_decimal(to_units(books["issuance"]) - count * UNIT),
        "wallets": to_decimal(to_units(books["wallets"]) + count * UNIT),
        "transactions": books["transactions"] + count,
    }
    raw.controls.update_one({"_id": "books"}, {"$set": moved})
