"""What tests of reconciliation share: Transfers that nobody ordered, rows that are as good as settled, the breaks."""

from dataclasses import dataclass, field
from typing import Any, cast

import requests

from getsmart import clock, mongo
from getsmart.amounts import UNIT
from getsmart.machine import reconcile
from getsmart.models import TransactionRow
from getsmart.mongo import to_decimal
from getsmart.stores import ledger, reserves, transactions
from tests.money import Bench, Row
from tests.rows import make_row
from tests.support import unique

ZERO = "0x" + "0" * 40
OUTSIDE = "0x" + "e5" * 20
_MOST_ORDERS = 5_000  # in one request


def on_chain(bench: Bench, *movements: tuple[str, str, int]) -> list[Row]:
    """Mine Transfers (sender, recipient, base units) that no request stands behind; where they are."""
    orders = [{"sender": one[0], "recipient": one[1], "amount": str(one[2])} for one in movements]
    mined: list[Row] = []
    for start in range(0, len(orders), _MOST_ORDERS):
        url = f"{bench.provider.base_url}/_sandbox/transfers"
        answer = requests.post(url, json={"transfers": orders[start : start + _MOST_ORDERS]}, timeout=120)
        assert answer.ok, answer.text
        mined += answer.json()["transfers"]
    assert not any(one["failure"] for one in mined), mined
    return mined


def stranger(bench: Bench) -> Row:
    """The row of a wallet that nobody has created yet."""
    created = bench.app.post("wallets/create", {"owner": {"email": f"{unique('later')}@example.com"}}).data
    row: Row = bench.raw.wallets.find_one({"_id": created["wallet_id"]})
    bench.raw.wallets.delete_one({"_id": row["_id"]})
    return row


def minted_row(bench: Bench, units: int = UNIT, wallet: Row | None = None, **changes: Any) -> TransactionRow:
    """A mint into a wallet as the claim writes it, with its amount set aside, kept."""
    to = wallet or bench.wallet
    target = {"account": to["wallet_id"], "wallet_id": to["wallet_id"], "address": to["address"]}
    settled = {"incoming_wallet_id": to["wallet_id"], "amount": to_decimal(units), "target": target}
    row = make_row(**{**settled, **changes})
    assert reserves.take("supply", units)
    mongo.database().transactions.insert_one({**row})
    return row


def unknown_row(bench: Bench, units: int = UNIT, **changes: Any) -> TransactionRow:
    """A mint that was sent, of which nobody knows what became, and that is too old to be sent again."""
    at = clock.now()
    steps = [{"status": status, "at": at} for status in ("queued", "unknown")]
    sent = {"status": "unknown", "timeline": steps, "send_started_at": at, "is_ambiguous": True}
    row = minted_row(bench, units, **{**sent, **changes})
    first: Any = {**row, "status": "queued"}
    row["outbox"] = [transactions.event_of(first), transactions.event_of(row)]
    mongo.database().transactions.update_one({"_id": row["_id"]}, {"$set": {"outbox": row["outbox"]}})
    mongo.database().transactions.update_one({"_id": row["_id"]}, {"$unset": {"due_at": ""}})
    return row


def confirmed_row(bench: Bench, mined: Row, units: int = UNIT) -> TransactionRow:
    """A mint that is booked as settled by what was mined."""
    row = cast(TransactionRow, {**settled_row(bench.wallet, mined, units), "is_unsummed": True})
    steps: Any = [{**row, "status": step["status"]} for step in row["timeline"]]
    row["outbox"] = [transactions.event_of(step) for step in steps]
    assert reserves.take("supply", units)
    mongo.database().transactions.insert_one({**row})
    mongo.transact(lambda session: ledger.post(row, session=session))
    return row


def reconciled() -> reconcile.Done:
    """Read up to the head, in as many turns as it takes; each has to come further."""
    done = reconcile.run(60.0)
    while not done.is_at_head:
        more = reconcile.run(60.0)
        assert more.blocks
        done = reconcile.Done(done.blocks + more.blocks, done.transfers + more.transfers, more.is_at_head)
    return done


def looked(bench: Bench) -> None:
    """The next look at what has come, and as many runs as it takes to book it."""
    bench.time.advance(31)
    for _ in range(6):
        reconcile.run(60.0)


def posted(bench: Bench, row: Row) -> tuple[str, str]:
    """What the wallet has, and what of it is free."""
    balance = bench.app.get("wallets/balance", f"wallet_id={row['_id']}").data
    return balance["posted"], balance["available"]


def found(bench: Bench, status: str = "open") -> dict[str, list[Row]]:
    """The breaks in this state, by type."""
    kinds: dict[str, list[Row]] = {}
    for row in bench.raw.breaks.find({"status": status}).sort([("_id", 1)]):
        kinds.setdefault(row["type"], []).append(row)
    return kinds


def external(bench: Bench) -> int:
    """What is booked against the world outside, by its entries."""
    entries = bench.raw.entries.find({"account": "external"})
    return sum(mongo.to_units(row["amount"]) * (1 if row["direction"] == "credit" else -1) for row in entries)


@dataclass
class Seeder:
    """Writes confirmed mints into the books by the thousand, as so many confirmations would have left them."""

    bench: Bench
    _accounts: dict[str, tuple[int, int]] = field(default_factory=dict)  # wallet -> (sequence, balance)
    _rows: list[Row] = field(default_factory=list)
    _entries: list[Row] = field(default_factory=list)
    _units: int = 0

    def add(self, wallet: Row, mined: Row, units: int) -> str:
        """One mint that the books say is settled by what was mined; its id."""
        row = settled_row(wallet, mined, units)
        self._rows.append(row)
        sequence, balance = self._accounts.get(wallet["wallet_id"]) or self._known(wallet["wallet_id"])
        sequence, balance = self._accounts[wallet["wallet_id"]] = sequence + 1, balance + units
        shared = {"transaction_id": row["_id"], "amount": row["amount"], "at": row["updated_at"]}
        self._entries.append({"_id": f"{row['_id']}:debit", "account": "issuance", "direction": "debit", **shared})
        place = {"account_sequence": sequence, "balance_after": to_decimal(balance)}
        credit = {"account": wallet["wallet_id"], "direction": "credit", **shared, **place}
        self._entries.append({"_id": f"{row['_id']}:credit", **credit})
        self._units += units
        return str(row["_id"])

    def _known(self, wallet_id: str) -> tuple[int, int]:
        account = self.bench.raw.accounts.find_one({"_id": wallet_id})
        return (account["sequence"], mongo.to_units(account["posted"])) if account else (0, 0)

    def write(self) -> None:
        """Everything that was added, and the sums of it."""
        raw = self.bench.raw
        for name, rows in (("transactions", self._rows), ("entries", self._entries)):
            for start in range(0, len(rows), 1_000):
                raw[name].insert_many(rows[start : start + 1_000])
        for wallet_id, (sequence, balance) in self._accounts.items():
            sums = {"posted": to_decimal(balance), "available": to_decimal(balance), "version": 0}
            raw.accounts.replace_one(
                {"_id": wallet_id}, {"sequence": sequence, **sums, "moved_at": clock.now()}, upsert=True
            )
        given = {"issuance": to_decimal(-self._units), "wallets": to_decimal(self._units)}
        raw.controls.update_one({"_id": "books"}, {"$inc": {**given, "transactions": len(self._rows)}})
        raw.controls.update_one({"_id": "supply"}, {"$inc": {"available": to_decimal(-self._units)}})


def settled_row(wallet: Row, mined: Row, units: int) -> Row:
    """The row of a mint into a wallet that was settled by what was mined."""
    at = clock.now()
    row: Row = {**make_row(status="confirmed", amount=to_decimal(units))}
    row |= {
        "target": {"account": wallet["wallet_id"], "wallet_id": wallet["wallet_id"], "address": wallet["address"]},
        "hold": {"name": "supply", "state": "settled"},
        "timeline": [{"status": status, "at": at} for status in ("queued", "submitted", "confirmed")],
        "settlement": {"tx_hash": mined["tx_hash"], "log_index": 0},
        "outbox": [],
        **{name: mined[name] for name in ("tx_hash", "block_number", "block_hash")},
    }
    row["request"]["body"] = None
    for name in ("incoming_wallet_id", "due_at"):
        del row[name]
    return row
