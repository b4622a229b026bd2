"""Submitted transactions find their end: what MetaKeep's status says, and where a node is set, what the chain says.

Nothing else moves money: an inbound webhook only makes us ask earlier.
"""

import random
from datetime import timedelta
from typing import Any, Literal

from pymongo.errors import DuplicateKeyError

from getsmart import chain, clock, config, log
from getsmart.machine.conclude import confirm, end_without_effect
from getsmart.machine.wanted import expected
from getsmart.metakeep import client, protocol
from getsmart.metakeep.protocol import ProviderStatus
from getsmart.models import TransactionRow
from getsmart.stores import transactions

PATIENCE = timedelta(minutes=15)
CALL_SECONDS = 8.0
_UNKNOWN_PAUSE_SECONDS = 60.0


def refresh(row: TransactionRow, inbound_event: tuple[str, str] | None = None) -> TransactionRow:
    """Ask MetaKeep how a submitted or unknown row stands and move it accordingly; returns the row as it stands now.

    Raises ProviderUnavailable when MetaKeep or the node did not answer; the row is then unchanged.
    """
    status = protocol.read_status(
        client.call(protocol.get_status(row["metakeep_transaction_id"]), seconds=CALL_SECONDS)
    )
    match status.state:
        case "completed":
            return _completed(row, status, inbound_event)
        case "failed" | "cancelled" if (verdict := on_no_effect(row, status)) != "agreed":
            return by_chain(row) or (
                wait(row) if verdict == "open" else _doubt(row, "the chain says that it succeeded")
            )
        case "failed":
            reason = (status.failure_reason or "execution reverted")[:200]
            log.event("transaction.reverted", transaction_id=row["_id"], reason=log.redact(reason))
            failure = {"code": "execution_reverted", "message": "The transaction was mined and reverted."}
            return end_without_effect(row, "failed", failure) or _current(row)
        case "cancelled":
            failure = {"code": "never_mined", "message": "The transaction was never mined."}
            return end_without_effect(row, "cancelled", failure) or _current(row)
        case _:
            return by_chain(row) or wait(row)


def on_no_effect(row: TransactionRow, status: ProviderStatus) -> Literal["agreed", "open", "contradicted"]:
    """Whether the chain bears MetaKeep out that a row had no effect: what was reverted may be mined anew, and succeed.

    `failed` needs a receipt that says so, as deep as a confirmation's; `cancelled` none at all. Without a node, or
    where no hash is known, MetaKeep alone is believed. Raises ChainUnavailable.
    """
    hashes = sorted({one for one in (status.tx_hash, row.get("tx_hash")) if one})
    if not hashes or not chain.is_configured():
        return "agreed"
    head = _head()
    found = [receipt for receipt in map(chain.receipt, hashes) if receipt is not None]
    if any(receipt.is_success for receipt in found):
        return "contradicted"
    if not found:
        return "agreed" if status.state == "cancelled" else "open"
    return "agreed" if all(is_deep(receipt, head) for receipt in found) else "open"


def _head() -> int:
    """The newest block, asked for before a receipt is.

    Read the other way round, a block that was reorganised in between would seem deeper than it ever was.
    """
    return chain.head() if config.read(config.ChainSettings).confirmation_depth else 0


def is_deep(receipt: chain.Receipt, head: int) -> bool:
    """Whether a receipt lies as deep as what is booked."""
    depth = config.read(config.ChainSettings).confirmation_depth
    return not depth or head - receipt.block_number >= depth


def by_chain(row: TransactionRow) -> TransactionRow | None:
    """What the chain alone says of an unknown row whose hash is known: confirmed where it shows this very Transfer.

    None where it says nothing; that the chain has no such transaction, or a reverted one, ends no row. Raises
    ChainUnavailable.
    """
    if row["status"] != "unknown" or "tx_hash" not in row or not chain.is_configured():
        return None
    witnessed = witness(row, row["tx_hash"])
    return _confirm(row, {"tx_hash": row["tx_hash"], **witnessed}, None) if isinstance(witnessed, dict) else None


def wait(row: TransactionRow) -> TransactionRow:
    """Look again later; 15 minutes after submission without a final answer the row is unknown."""
    at = clock.now()
    age = at - row.get("submitted_at", row["created_at"])
    pause = timedelta(seconds=_pause_seconds(age.total_seconds(), row["status"]))
    if row["status"] == "submitted" and age > PATIENCE:
        log.event("transaction.unknown", level="error", transaction_id=row["_id"])
        return transactions.move(row, "unknown", {"due_at": at + pause}) or _current(row)
    return transactions.note(row, {"due_at": at + pause}) or _current(row)


def _pause_seconds(age_seconds: float, status: str) -> float:
    """MetaKeep's own poller waits 5 s; ours begins at 2 s, and slows down for what has been unknown for long."""
    base = (
        _UNKNOWN_PAUSE_SECONDS if status == "unknown" else 2.0 if age_seconds < 10 else 5.0 if age_seconds < 60 else 8.0
    )
    return base * random.uniform(1.0, 1.25)  # noqa: S311 (jitter)


def _completed(row: TransactionRow, status: ProviderStatus, inbound_event: tuple[str, str] | None) -> TransactionRow:
    if expected(row) not in status.transfers or status.tx_hash is None:
        return _doubt(row, "the status reply has no such Transfer")
    evidence: dict[str, Any] = {
        "tx_hash": status.tx_hash,
        "explorer_url": status.explorer_url,
        "settlement": {"tx_hash": status.tx_hash, "log_index": None},
    }
    if chain.is_configured():
        witnessed = witness(row, status.tx_hash)
        if isinstance(witnessed, str):
            return _doubt(row, witnessed)
        if witnessed is None:
            return wait(row)
        evidence |= witnessed
    return _confirm(row, evidence, inbound_event)


def _confirm(row: TransactionRow, evidence: dict[str, Any], inbound_event: tuple[str, str] | None) -> TransactionRow:
    try:
        return confirm(row, evidence, inbound_event) or _current(row)
    except DuplicateKeyError as error:
        pattern = (error.details or {}).get("keyPattern") or {}
        if any(str(name).startswith("settlement") for name in pattern):
            return _doubt(row, "this Transfer has settled another transaction")
        return _current(row)  # a twin of the delivery was faster


def witness(row: TransactionRow, tx_hash: str) -> dict[str, Any] | str | None:
    """What the chain itself says: evidence, a sentence of doubt, or None while it lies too shallow."""
    head = _head()
    receipt = chain.receipt(tx_hash)
    if receipt is None:
        return None
    if not receipt.is_success:
        return "MetaKeep says completed, the chain says reverted"
    wanted = expected(row)
    found = [
        log
        for log in receipt.transfers
        if (log.contract, log.sender, log.recipient, log.amount)
        == (wanted.contract, wanted.sender, wanted.recipient, wanted.amount)
    ]
    if len(found) != 1:
        return f"the receipt has {len(found)} such Transfers"
    if not is_deep(receipt, head):
        return None
    settlement = {"tx_hash": tx_hash, "log_index": found[0].log_index}
    place = {"block_number": receipt.block_number, "block_hash": receipt.block_hash}
    return {**place, "settlement": settlement}


def _doubt(row: TransactionRow, why: str) -> TransactionRow:
    """Evidence that contradicts the order: nobody is booked, a person has to look."""
    log.event("transaction.doubtful", level="error", transaction_id=row["_id"], why=why)
    if row["status"] == "unknown":
        return wait(row)
    pause = timedelta(seconds=_UNKNOWN_PAUSE_SECONDS)
    return transactions.move(row, "unknown", {"due_at": clock.now() + pause}) or _current(row)


def _current(row: TransactionRow) -> TransactionRow:
    return transactions.find(row["_id"], None) or row
