"""What our own transactions paid to outside addresses that are wallets of ours by now: booked on into them.

The transaction stands as it was ordered, to `external`. The break about its Transfer books the rest, and is closed, as
there is nothing to find out. The transaction says so (`passed_on`), in the update that books it.
"""

from collections.abc import Sequence
from typing import Any

from pymongo.client_session import ClientSession

from getsmart import clock, log
from getsmart.breaks import RECONCILIATION, BreakRow, Leg, is_kept, sides_of
from getsmart.machine import correct, discrepancies
from getsmart.machine.wanted import expected
from getsmart.models import EXTERNAL, TransactionRow
from getsmart.stores import breaks, onchain, transactions, wallets


def pass_on(rows: Sequence[TransactionRow]) -> bool:
    """Book on what of these is a wallet's by now; False where somebody else was at one of them: once more, then."""
    # What they say of the chain may have been corrected just now: that is looked at further down.
    outside = [row for row in rows if row["target"]["account"] == EXTERNAL and "passed_on" not in row]
    ours = _wallets_of(outside)
    done = [_pass_on(row["_id"]) for row in outside if expected(row).recipient in ours]
    return all(done)


def explain(raised: BreakRow, cause: TransactionRow) -> BreakRow | None:
    """Close a break whose Transfer is a transaction's: it books no more than what that one does not.

    None as for `correct.fall`.
    """
    why = f"it is {cause['_id']}'s"
    passed_on = cause.get("passed_on")
    if passed_on is not None:
        is_here = passed_on["break_id"] == raised["_id"]
        return correct.fall(raised, why, leaving=[Leg(EXTERNAL, passed_on["wallet_id"])] if is_here else [])
    if raised["type"] != "missing_in_ledger" or raised.get("found") != sides_of(expected(cause)):
        # Of another Transfer, which had this place: what the transaction passes on has a break of its own.
        return correct.fall(raised, why) if pass_on([cause]) else None
    wallet_id = _wallets_of([cause]).get(expected(cause).recipient) if _is_outside(cause) else None
    if wallet_id is None:
        return correct.fall(raised, why)
    passed_on = {"wallet_id": wallet_id, "break_id": raised["_id"]}

    def mark(session: ClientSession) -> bool:
        return onchain.annotate(cause, {"passed_on": passed_on}, session=session)

    done = correct.fall(raised, why, leaving=[Leg(EXTERNAL, wallet_id)], also=mark)
    if done is not None:
        log.event("transaction.passed_on", transaction_id=cause["_id"], **passed_on)
    return done


def _wallets_of(rows: Sequence[TransactionRow]) -> dict[str, str]:
    """The wallets that the addresses of these have become, by address."""
    paid = sorted({expected(row).recipient for row in rows})
    return wallets.find_ids_by_address(paid) if paid else {}


def _is_outside(row: TransactionRow) -> bool:
    """Whether what it moved is on the chain, and in the books still with the world outside."""
    is_there = row["status"] == "confirmed" and "reorged_at" not in row
    is_known = row.get("settlement", {}).get("log_index") is not None
    return is_there and is_known and row["target"]["account"] == EXTERNAL and "passed_on" not in row


def _pass_on(transaction_id: str) -> bool:
    current = transactions.find(transaction_id, None)
    if current is None or not _is_outside(current):
        return True
    raised = _break_of(current)
    return raised is not None and explain(raised, current) is not None


def _break_of(row: TransactionRow) -> BreakRow | None:
    """The break that shall book the way on, due: the Transfer's own, or else one by the transaction, which is closed.

    None where somebody else has changed it.
    """
    wanted = expected(row)
    about = sides_of(wanted)
    raised = [one for one in breaks.find_of_log(**row["settlement"]) if one["type"] == "missing_in_ledger"]
    known = next((one for one in raised if one.get("found") == about and not is_kept(one)), None)
    closed = {"who": RECONCILIATION, "why": f"it is {row['_id']}'s", "at": clock.now()}
    if known is not None:
        due = {"due": "stand", "resolution": closed} if known["status"] == "resolved" else {"due": "stand"}
        return breaks.change(known, due)
    place: dict[str, Any] = {name: row[name] for name in ("block_number", "block_hash") if name in row}
    facts = {**row["settlement"], **place, "found": about, "status": "resolved", "resolution": closed, "due": "stand"}
    subject = f"passed_on:{row['_id']}"
    made = discrepancies.new_break("missing_in_ledger", subject, str(wanted.amount), facts)
    if breaks.insert(made):
        return made
    before = breaks.find_subject(subject)  # of a place where the Transfer is no more
    return None if before is None else breaks.change(before, facts)
