"""Amounts of GETS: `int` base units inside, a decimal string of whole GETS on the wire. Nothing else converts."""

import re

DECIMALS = 18
UNIT: int = 10**DECIMALS
MAX_SUPPLY = 1_000_000_000_000 * UNIT
GENESIS_SUPPLY = 20_000_000 * UNIT
BADGE_REWARD = 1_000 * UNIT

# 13 digits before the point hold the maximum supply, and with 18 decimals still fit Decimal128's 34 digits.
_WIRE_FORM = re.compile(r"(0|[1-9][0-9]{0,12})(?:\.([0-9]{1,18}))?", re.ASCII)


def parse_units(text: str) -> int:
    """Base units of a decimal string such as "1000" or "0.5".

    Raises ValueError with a sentence for the caller unless it is ASCII digits with at most 18 decimals, without
    sign, exponent, leading zeros or surrounding space, and more than zero.
    """
    match = _WIRE_FORM.fullmatch(text)
    if match is None:
        raise ValueError(
            'must be a decimal string of whole GETS such as "1000" or "0.5", with at most 13 digits and 18 decimals'
        )
    whole, fraction = match.group(1), match.group(2) or ""
    units = int(whole) * UNIT + int(fraction.ljust(DECIMALS, "0"))
    if units == 0:
        raise ValueError("must be more than zero")
    return units


def format_units(units: int) -> str:
    """The shortest decimal string of whole GETS: 10**21 -> "1000", 5 * 10**17 -> "0.5"; negatives keep their sign."""
    sign = "-" if units < 0 else ""
    whole, fraction = divmod(abs(units), UNIT)
    decimals = f".{fraction:018d}".rstrip("0") if fraction else ""
    return f"{sign}{whole}{decimals}"
