"""Breaks move the books: their movements are booked and undone, each exactly once, beside the transactions.

What a movement takes from is reserved first, outside the database transaction; what it gives back is added after. A
crash in between leaks, never doubles, and the repair mends it: the fence is that of machine/repair.py.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pymongo.client_session import ClientSession

from getsmart import clock, log
from getsmart.breaks import RECONCILIATION, BreakRow, CorrectionRow, Leg
from getsmart.errors import DatabaseUnavailable
from getsmart.models import ISSUANCE, SUPPLY, TREASURY
from getsmart.mongo import to_decimal, transact
from getsmart.stores import breaks, ledger, reserves
from getsmart.stores.onchain import reserve_of
from getsmart.stores.reserves import Begun

_MOST_UNITS = 10**34  # what Decimal128 holds

Write = Callable[[ClientSession], bool]


def _nothing_more(_session: ClientSession) -> bool:
    return True


def stand(row: BreakRow, legs: Sequence[Leg], *, also: Write = _nothing_more) -> BreakRow | None:
    """Book those of the legs that are not in the books yet, together with what `also` writes; the break stays open.

    Returns the break, or None where an account does not hold enough yet or somebody else changed the break: it is
    then still due, and tried again.
    """
    standing = [Leg(*leg) for leg in row["standing"]]
    new = [leg for leg in legs if leg not in standing]
    after = {"standing": [list(leg) for leg in (*standing, *new)]}
    return _move(row, new, after, ("due",), also)


def fall(row: BreakRow, why: str, *, leaving: Sequence[Leg] = (), also: Write = _nothing_more) -> BreakRow | None:
    """Undo what the break booked and close it, together with what `also` writes; None as above.

    Of what it booked, or has to, `leaving` is in the books after that.
    """
    standing = [Leg(*leg) for leg in row["standing"]]
    undone = [leg.back() for leg in reversed(standing) if leg not in leaving]
    new = [leg for leg in leaving if leg not in standing]
    resolution = {"who": RECONCILIATION, "why": why, "at": clock.now()}
    after = {"standing": [list(leg) for leg in leaving], "status": "resolved", "resolution": resolution}
    done = _move(row, [*undone, *new], after, ("due",), also)
    if done is not None:
        log.event("break.resolved", break_id=row["_id"], type=row["type"], why=why)
    return done


def step_aside(row: BreakRow, account: str) -> bool:
    """Undo what the break took from an account, for a transaction that may turn out to be its cause.

    The break stays open and is booked again once no transaction can be. False where it took nothing from there.
    """
    standing = [Leg(*leg) for leg in row["standing"]]
    taken = next((leg for leg in standing if reserve_of(leg.origin) == account != SUPPLY), None)
    if taken is None:
        return False
    after = {"standing": [list(leg) for leg in standing if leg != taken], "due": "stand"}
    return _move(row, [taken.back()], after, (), _nothing_more) is not None


def is_short(row: BreakRow, legs: Sequence[Leg]) -> bool:
    """Whether these movements cannot be booked for now: an account that they take from holds too little."""
    units = int(row["amount"])
    taken = [name for name in (reserve_of(leg.origin) for leg in legs) if name]
    return units >= _MOST_UNITS or not all(reserves.has(name, units) for name in taken)


def correction(row: BreakRow, number: int, leg: Leg) -> CorrectionRow:
    """The record of one movement; its id is unique for ever, as a break counts its movements.

    What undoes a transaction stands in that transaction's name, everything else in the break's.
    """
    is_its_own = row["type"] == "reorged" and "transaction_id" in row
    return {
        "_id": f"{row['_id']}:{number}",
        "break_id": row["_id"],
        "transaction_id": row["transaction_id"] if is_its_own else row["_id"],
        "origin": {"account": leg.origin},
        "target": {"account": leg.target},
        "amount": to_decimal(int(row["amount"])),
        "at": clock.now(),
        "is_unsummed": True,
    }


def _move(
    row: BreakRow, legs: Sequence[Leg], changes: Mapping[str, Any], gone: Sequence[str], also: Write
) -> BreakRow | None:
    """The legs, the break's change and `also` in one transaction, between what is taken and what is given back."""
    units = int(row["amount"])
    if legs and units >= _MOST_UNITS:
        return None
    begun = reserves.begin()
    taken = [name for name in (reserve_of(leg.origin) for leg in legs) if name]
    # A repair of a moment ago would end this, and keep what is taken until the next repair, for ever.
    if any(reserves.was_repaired_since(name, begun.at) for name in taken) or not _take(taken, units, begun):
        return None
    freed = [name for name in (freed_by(leg) for leg in legs) if name]
    for name in freed:
        reserves.watch(name)
    if begun.is_late():
        raise DatabaseUnavailable("setting an amount aside took too long to be booked safely")

    def write(session: ClientSession) -> BreakRow | None:
        new = {**changes, "bookings": row["bookings"] + len(legs)}
        changed = breaks.change(row, new, gone, session=session)
        is_gone = any(reserves.was_repaired_since(name, begun.at, session=session) for name in taken)
        if is_gone or changed is None or not also(session):
            session.abort_transaction()
            return None
        for place, leg in enumerate(legs):
            ledger.correct(correction(row, row["bookings"] + place, leg), session=session)
        return changed

    done = transact(write)
    _give_back(taken if done is None else freed, units, begun)
    return done


def _take(names: Sequence[str], units: int, begun: Begun) -> bool:
    """Set the amount aside from every one of them, or from none."""
    for place, name in enumerate(names):
        if not reserves.take(name, units):
            _give_back(names[:place], units, begun)
            return False
    return True


def freed_by(leg: Leg) -> str | None:
    """What a movement adds to from outside its transaction: the supply or the treasury; a wallet moves inside it."""
    return reserve_of(leg.target) if leg.target in (ISSUANCE, TREASURY) else None


def _give_back(names: Sequence[str], units: int, begun: Begun) -> None:
    for name in names:
        reserves.give_back(name, units, begun)
