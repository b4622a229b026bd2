"""A key's daily ceilings: counted before a claim, given back when the claim is refused after all."""

from typing import NamedTuple

from getsmart.errors import LimitExceeded
from getsmart.models import SUPPLY, TREASURY, Caller
from getsmart.stores import ceilings


class Counted(NamedTuple):
    """What was counted: for which key, under which ceiling, how much, on which day."""

    key_id: str
    counter: ceilings.Counter
    units: int
    day: int


def count(caller: Caller, reserve: str, units: int) -> Counted | None:
    """Count what is to be taken from a reserve against the ceiling that the key has for it, if it has one.

    Raises LimitExceeded. A crash before the claim leaves it counted for the rest of the day: a ceiling errs downwards.
    """
    counter: ceilings.Counter
    if reserve == SUPPLY and caller.mint_per_day is not None:
        counter, ceiling = "mint", caller.mint_per_day
    elif reserve == TREASURY and caller.treasury_per_day is not None:
        counter, ceiling = "treasury", caller.treasury_per_day
    else:
        return None
    day = ceilings.take(caller.key_id, counter, units, ceiling)
    if day is None:
        raise LimitExceeded(f"{caller.key_id}: {counter}_per_day")
    return Counted(caller.key_id, counter, units, day)


def give_back(counted: Counted | None) -> None:
    """The claim was refused: nothing was minted or paid."""
    if counted is not None:
        ceilings.give_back(counted.key_id, counted.counter, counted.units, counted.day)
