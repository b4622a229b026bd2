"""What the sums that are kept say of I2 and I3: the supply is never exceeded, the books balance."""

from collections.abc import Mapping
from typing import NamedTuple

from getsmart.amounts import MAX_SUPPLY
from getsmart.models import ISSUANCE, SUPPLY, SYSTEM_ACCOUNTS, TREASURY
from getsmart.mongo import Document, to_units
from getsmart.stores import ledger


class Verdict(NamedTuple):
    """Whether an invariant holds, and the figures that say so, in base units."""

    holds: bool
    observed: str


def supply(singles: Mapping[str, Document]) -> Verdict:
    """I2: minted plus reserved never exceeds the cap, nothing free is negative. Raises KeyError without genesis."""
    free, minted = to_units(singles[SUPPLY]["available"]), -to_units(singles[ledger.BOOKS][ISSUANCE])
    reserved = MAX_SUPPLY - free - minted
    holds = free >= 0 and minted >= 0 and reserved >= 0 and to_units(singles[TREASURY]["available"]) >= 0
    return Verdict(holds, f"free {free}, minted {minted}, reserved {reserved}")


def books(singles: Mapping[str, Document]) -> Verdict:
    """I3: the system accounts and the sum of all wallets balance to zero. Raises KeyError without genesis."""
    kept = singles[ledger.BOOKS]
    total = sum(to_units(kept[name]) for name in (*SYSTEM_ACCOUNTS, ledger.WALLETS))
    return Verdict(total == 0, f"sum {total} over {kept['transactions']}")
