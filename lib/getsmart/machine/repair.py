"""Leaked reserves come back: amounts set aside, or due to be given back, by a call that died at that moment.

A reserve without a row may belong to a call that is just about to write it, and a returned hold may be just about to
be added. The fence has two halves. A call acts within ACT_SECONDS of its reserve or mark, or not at all (it leaks
instead); a repair needs QUIET, much longer, without either, and the reserve's version, which any change breaks. A
process that freezes between its look at the clock and its act meets what the repair leaves: the time of it, which stops
a return, and makes a claim set aside anew; and another version of every batch that is being accepted (docs/adr/0040).
"""

from datetime import datetime, timedelta

from pymongo.client_session import ClientSession

from getsmart import clock, log
from getsmart.amounts import MAX_SUPPLY
from getsmart.models import SUPPLY, TREASURY
from getsmart.mongo import transact
from getsmart.stores import batches, ledger, reserves, transactions
from getsmart.stores.reserves import Reserve

# Beyond ACT_SECONDS and the minute that a transaction may stay open; and so long that of a claim which comes after a
# repair its own two dates tell it (machine/send.py), whichever way three clocks differ.
QUIET = timedelta(seconds=100)
_BATCH = 100


def repair_leaks() -> int:
    """Recompute each quiet reserve from the books and the open rows; returns how many were wrong and are mended.

    One that cannot be mended (the database refuses less than nothing) is logged, and stops no other.
    """
    before = clock.now() - QUIET
    return sum(_attempt(reserve, before) for reserve in reserves.find_quiet(before, _BATCH))


def _attempt(reserve: Reserve, before: datetime) -> int:
    try:
        return _repair(reserve, before)
    except Exception as error:  # noqa: BLE001 - whatever failed is still there, and the others are somebody's money too
        log.failure("reserve.repair_failed", error, reserve=reserve.name)
        return 0


def is_set_aside(name: str, units: int) -> bool:
    """Whether a reserve would have that much, were none of it set aside without a row.

    A call that has died did so, until the repair; or one that is about to write its row.
    """
    held, posted = transact(lambda session: _facts(name, session))
    return posted - held >= units


def _repair(reserve: Reserve, before: datetime) -> int:
    if transactions.was_returned_since(reserve.name, before):
        return 0
    held, posted = transact(lambda session: _facts(reserve.name, session))
    if reserve.name == SUPPLY and posted - held != reserve.available:
        batches.interrupt()
        held, posted = transact(lambda session: _facts(reserve.name, session))
    expected = posted - held
    if not reserves.correct(reserve, expected, is_done=held == 0) or expected == reserve.available:
        return 0
    log.event(
        "reserve.repaired", level="warning", reserve=reserve.name, before=str(reserve.available), after=str(expected)
    )
    return 1


def _facts(name: str, session: ClientSession) -> tuple[int, int]:
    """(held by open rows, what the books say there is in all), read in one snapshot."""
    held = transactions.sum_held(name, session=session)
    if name == SUPPLY:
        held += batches.sum_held(session=session)
        return held, MAX_SUPPLY - ledger.minted(session=session)
    if name == TREASURY:
        return held, ledger.treasury(session=session)
    return held, ledger.posted(name, session=session)
