"""A transaction ends: with its effect in the books, or without one and its reserve given back."""

from typing import TYPE_CHECKING, Any, Literal

from pymongo.client_session import ClientSession

from getsmart import clock
from getsmart.models import AuditLine, TransactionRow, changed_by
from getsmart.mongo import to_units, transact
from getsmart.stores import inbound, ledger, reserves, transactions

if TYPE_CHECKING:
    from getsmart.breaks import BreakRow

_CANCEL_TRIES = 3  # a row that is not sent changes rarely


def end_without_effect(
    row: TransactionRow,
    status: Literal["failed", "cancelled", "expired"],
    failure: dict[str, str] | None,
    line: AuditLine | None = None,
) -> TransactionRow | None:
    """Mark the row first, then give the reserve back: a crash in between leaks it, and never doubles it.

    `line` tells who ended it, where that was a caller. Returns the row, or None when somebody else moved it first.
    """
    changes: dict[str, Any] = {"hold": {**row["hold"], "state": "returned"}, "is_in_flight": False}
    changes |= changed_by(row, line)
    if failure is not None:
        changes["failure"] = failure
    begun = reserves.begin()
    moved = transactions.move(row, status, changes)
    if moved is not None and "is_void" not in row["hold"]:
        reserves.give_back(row["hold"]["name"], to_units(row["amount"]), begun)
    return moved


def cancel_unsent(row: TransactionRow, line: AuditLine | None = None) -> TransactionRow:
    """Cancel a row of which no byte was sent; returns the row as it stands then, cancelled or not.

    A sender marks the row (`send_started_at`) before the first byte leaves, and every mark raises the version that the
    update is guarded by: whoever comes second finds the row changed.
    """
    failure = {"code": "cancelled_by_client", "message": "The transaction was cancelled before it was sent."}
    for _ in range(_CANCEL_TRIES):
        if row["status"] != "queued" or "send_started_at" in row:
            return row
        cancelled = end_without_effect(row, "cancelled", failure, line)
        if cancelled is not None:
            return cancelled
        row = transactions.find(row["_id"], None) or row
    return row


def confirm(
    row: TransactionRow, evidence: dict[str, Any], inbound_event: tuple[str, str] | None
) -> TransactionRow | None:
    """State, ledger entries, wallet accounts, event and the inbound delivery's mark, in one short transaction.

    `evidence` holds tx_hash, block_number, explorer_url and settlement (tx_hash and log index, unique for ever). Where
    reconciliation had booked this Transfer for want of a transaction, that is undone in the same transaction. Returns
    the row, or None when somebody else moved it first. Raises DuplicateKeyError when the settlement or the delivery
    belongs to another.
    """
    from getsmart.machine import exchange  # only here: a call that claims and sends does without

    changes = {**evidence, "hold": {**row["hold"], "state": "settled"}, "is_unsummed": True, "is_in_flight": False}
    settlement = evidence["settlement"]
    if settlement["log_index"] is None:
        changes["is_unwitnessed"] = True

    def settle(session: ClientSession, instead_of: "BreakRow | None" = None) -> TransactionRow | None:
        moved = transactions.move(row, "confirmed", changes, session=session)
        if moved is None:
            return None
        if instead_of is None:
            ledger.post(moved, session=session)
        else:
            exchange.post(moved, instead_of, session=session)
        if inbound_event is not None:
            inbound.mark(*inbound_event, clock.now(), session=session)
        return moved

    booked = exchange.find_booked(settlement["tx_hash"], settlement["log_index"])
    if booked is None:
        return transact(settle)
    for leg in exchange.way_on(row, booked):
        changes["passed_on"] = {"wallet_id": leg.target, "break_id": booked["_id"]}
    return exchange.run(booked, lambda session: settle(session, booked))
