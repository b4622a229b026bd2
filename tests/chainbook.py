"""What tests of reconciliation share: Transfers that nobody ordered, rows that are as good as settled, the breaks."""

from typing import Any

from getsmart import clock, mongo
from getsmart.amounts import UNIT
from getsmart.machine import reconcile
from getsmart.models import TransactionRow
from getsmart.mongo import to_decimal
from getsmart.stores import ledger, reserves, transactions
from tests.money import Bench, Row
from tests.rows import make_row

ZERO = "0x" + "0" * 40
OUTSIDE = "0x" + "e5" * 20


def on_chain(bench: Bench, *movements: tuple[str, str, int]) -> list[Row]:
    """Mine Transfers (sender, recipient, base units) that no request stands behind; where they are."""
    orders = [{"sender": one[0], "recipient": one[1], "amount": str(one[2])} for one in movements]
    mined: list[Row] = bench.provider.private("transfers", transfers=orders)["transfers"] if orders else []
    assert not any(one["failure"] for one in mined), mined
    return mined


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


def confirmed_row(bench: Bench, mined: Row, units: int = UNIT, **changes: Any) -> TransactionRow:
    """A mint that is booked as settled by what was mined."""
    at = clock.now()
    row = make_row(
        status="confirmed",
        amount=to_decimal(units),
        target={
            "account": bench.wallet["wallet_id"],
            "wallet_id": bench.wallet["wallet_id"],
            "address": bench.wallet["address"],
        },
        hold={"name": "supply", "state": "settled"},
        timeline=[{"status": status, "at": at} for status in ("queued", "submitted", "confirmed")],
        tx_hash=mined["tx_hash"],
        block_number=mined["block_number"],
        block_hash=mined["block_hash"],
        settlement={"tx_hash": mined["tx_hash"], "log_index": 0},
        is_unsummed=True,
        **changes,
    )
    row["request"]["body"] = None
    for name in ("incoming_wallet_id", "due_at"):
        del row[name]  # type: ignore[misc]
    row["outbox"] = []
    assert reserves.take("supply", units)
    mongo.database().transactions.insert_one({**row})
    mongo.transact(lambda session: ledger.post(row, session=session))
    return row


def reconciled() -> reconcile.Done:
    """Read up to the head."""
    done = reconcile.run(60.0)
    assert done.is_at_head
    return done


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
