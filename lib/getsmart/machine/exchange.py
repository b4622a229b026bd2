"""A transaction takes the place of a break: what was booked for want of it is undone as its own entries are written.

After a restore this is the rule rather than the exception: the Transfer was found before its caller asked again.
"""

from collections.abc import Callable
from typing import TypeVar

from pymongo.client_session import ClientSession

from getsmart import clock, log
from getsmart.breaks import RECONCILIATION, BreakRow, Leg, is_kept, sides_of
from getsmart.errors import DatabaseUnavailable
from getsmart.machine.correct import correction, freed_by
from getsmart.machine.wanted import expected
from getsmart.models import EXTERNAL, SYSTEM_ACCOUNTS, TransactionRow
from getsmart.mongo import transact
from getsmart.stores import breaks, ledger, reserves

Result = TypeVar("Result")


def find_booked(tx_hash: str, log_index: int | None) -> BreakRow | None:
    """The break that has this Transfer in the books, or still has to book it, or None; one at most."""
    if log_index is None:
        return None
    found = breaks.find_of_log(tx_hash, log_index)
    return next((row for row in found if (row["standing"] or "due" in row) and not is_kept(row)), None)


def run(row: BreakRow, work: Callable[[ClientSession], Result]) -> Result:
    """Run the transaction that undoes what the break booked, and give back after it what that had set aside.

    Marked first and added after, like every return of a reserve: a crash leaks, and the repair finds it.
    """
    begun = reserves.begin()
    freed = [name for name in (freed_by(leg) for leg in _undone(row)) if name]
    for name in freed:
        reserves.watch(name)
    done = transact(work)
    if done is not None:
        for name in freed:
            reserves.give_back(name, int(row["amount"]), begun)
    return done


def post(row: TransactionRow, instead_of: BreakRow, *, session: ClientSession) -> None:
    """Book a confirmed transaction in the place of a break, which is closed.

    A wallet gets back what the break took before the transaction takes it, and loses what the break gave after the
    transaction gave it: its balance never dips in between. Raises DatabaseUnavailable when somebody else changed the
    break, so that all of it is tried again.
    """
    resolution = {"who": RECONCILIATION, "why": f"it is {row['_id']}'s", "at": clock.now()}
    onward = way_on(row, instead_of)
    undone = [leg for leg in _undone(instead_of) if leg.back() not in onward]
    changes = {
        "standing": [list(leg) for leg in onward],
        "bookings": instead_of["bookings"] + len(undone),
        "status": "resolved",
        "transaction_id": row["_id"],
        "resolution": resolution,
    }
    gone: tuple[str, ...] = ("due",)
    if row["target"]["account"] == EXTERNAL and not onward:
        changes["due"], gone = "stand", ()  # its address may be a wallet's by now: machine/onward.py
    if breaks.change(instead_of, changes, gone, session=session) is None:
        raise DatabaseUnavailable(f"{instead_of['_id']} changed in this moment")
    numbered = list(enumerate(undone, instead_of["bookings"]))
    first = [(number, leg) for number, leg in numbered if leg.target not in SYSTEM_ACCOUNTS]
    for number, leg in first:
        ledger.correct(correction(instead_of, number, leg), session=session)
    ledger.post(row, session=session)
    for number, leg in numbered:
        if (number, leg) not in first:
            ledger.correct(correction(instead_of, number, leg), session=session, is_held=False)
    log.event("break.resolved", break_id=instead_of["_id"], type=instead_of["type"], transaction_id=row["_id"])


def way_on(row: TransactionRow, instead_of: BreakRow) -> list[Leg]:
    """What a break has booked and the transaction does not: its outside address has become a wallet of ours."""
    is_its = row["target"]["account"] == EXTERNAL and instead_of.get("found") == sides_of(expected(row))
    return [leg for leg in (Leg(*one) for one in instead_of["standing"]) if is_its and leg.origin == EXTERNAL]


def _undone(row: BreakRow) -> list[Leg]:
    return [Leg(*leg).back() for leg in reversed(row["standing"])]
