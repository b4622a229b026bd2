"""What our own transactions paid to outside addresses that are wallets of ours by now: booked on into them.

The transaction stands as it was ordered, to `external`. The break about its Transfer books the rest, and is closed, as
there is nothing to find out. The transaction says so (`passed_on_to`), in the update that books it.
"""

from collections.abc import Sequence
from typing import Any

from pymongo.client_session import ClientSession

from getsmart import clock, log
from getsmart.breaks import RECONCILIATION, BreakRow, Leg
from getsmart.machine import correct, discrepancies
from getsmart.machine.wanted import expected
from getsmart.models import EXTERNAL, TransactionRow
from getsmart.stores import breaks, onchain, transactions, wallets


def pass_on(rows: Sequence[TransactionRow]) -> bool:
    """Book on what of these is a wallet's by now; False where somebody else was at one of them: once more, then."""
    outside = [row for row in rows if _is_outside(row)]
    ours = _wallets_of(outside)
    done = [_pass_on(row["_id"]) for row in outside if expected(row).recipient in ours]
    return all(done)


def explain(raised: BreakRow, cause: TransactionRow) -> BreakRow | None:
    """Close a break whose Transfer is a transaction's: it books no more than what that one does not.

    None as for `correct.fall`.
    """
    is_owed = raised["type"] == "missing_in_ledger" and _is_outside(cause)
    wallet_id = _wallets_of([cause]).get(expected(cause).recipient) if is_owed else None

    def mark(session: ClientSession) -> bool:
        return wallet_id is None or onchain.annotate(cause, {"passed_on_to": wallet_id}, session=session)

    onward = [] if wallet_id is None else [Leg(EXTERNAL, wallet_id)]
    done = correct.fall(raised, f"it is {cause['_id']}'s", leaving=onward, also=mark)
    if done is not None and wallet_id is not None:
        log.event("transaction.passed_on", transaction_id=cause["_id"], wallet_id=wallet_id)
    return done


def _wallets_of(rows: Sequence[TransactionRow]) -> dict[str, str]:
    """The wallets that the addresses of these have become, by address."""
    paid = sorted({expected(row).recipient for row in rows})
    return wallets.find_ids_by_address(paid) if paid else {}


def _is_outside(row: TransactionRow) -> bool:
    """Whether what it moved is on the chain, and in the books still with the world outside."""
    is_there = row["status"] == "confirmed" and "reorged_at" not in row
    is_known = row.get("settlement", {}).get("log_index") is not None
    return is_there and is_known and row["target"]["account"] == EXTERNAL and "passed_on_to" not in row


def _pass_on(transaction_id: str) -> bool:
    current = transactions.find(transaction_id, None)  # its place may have been corrected just now
    if current is None or not _is_outside(current):
        return True
    raised = _break_of(current)
    return raised is not None and explain(raised, current) is not None


def _break_of(row: TransactionRow) -> BreakRow | None:
    """The break about a transaction's Transfer; a new one is closed, and due until it is booked."""
    wanted = expected(row)
    place: dict[str, Any] = {name: row[name] for name in ("block_number", "block_hash") if name in row}
    facts = {**row["settlement"], **place, "found": discrepancies.sides_of(wanted), "due": "stand"}
    closed = {"who": RECONCILIATION, "why": f"it is {row['_id']}'s", "at": clock.now()}
    subject = discrepancies.subject_of("missing_in_ledger", **row["settlement"])
    known = breaks.find_subject(subject)
    if known is not None:
        return known
    more = {**facts, "status": "resolved", "resolution": closed}
    raised = discrepancies.new_break("missing_in_ledger", subject, str(wanted.amount), more)
    return raised if breaks.insert(raised) else breaks.find_subject(subject)
