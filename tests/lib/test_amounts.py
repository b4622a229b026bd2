"""Amounts: the wire's decimal string and the base units inside."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getsmart.amounts import BADGE_REWARD, GENESIS_SUPPLY, MAX_SUPPLY, UNIT, format_units, parse_units
from tests.edge import BAD_AMOUNTS

MOST = 10**13 * UNIT - 1
BAD_TEXTS = [bad for bad in BAD_AMOUNTS if isinstance(bad, str)]
FAIR = settings(derandomize=True, deadline=None, database=None)


@FAIR
@given(st.integers(min_value=1, max_value=MOST))
def test_every_amount_survives_the_wire(units: int) -> None:
    """What is formatted can be parsed again, to the last base unit."""
    assert parse_units(format_units(units)) == units


@FAIR
@given(st.integers(min_value=1, max_value=MOST))
def test_the_wire_form_is_the_shortest(units: int) -> None:
    """No trailing zeros, no trailing point, no leading zeros; a minus only for less than zero."""
    text = format_units(units)
    assert not text.endswith(".")
    assert "." not in text or not text.endswith("0")
    assert text == "0" or not text.startswith("0") or text.startswith("0.")
    assert format_units(-units) == f"-{text}"


@FAIR
@given(st.text(max_size=40))
def test_nothing_else_is_an_amount(text: str) -> None:
    """A text either has the form and is more than zero, or is refused."""
    try:
        units = parse_units(text)
    except ValueError:
        return
    assert 0 < units <= MOST
    assert text.isascii()


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("1000", 1000 * UNIT),
        ("0.5", UNIT // 2),
        ("0.000000000000000001", 1),
        ("1.50", UNIT + UNIT // 2),
        ("1.000000000000000000", UNIT),
        ("9" * 13 + "." + "9" * 18, MOST),
        ("1000000000000", MAX_SUPPLY),
    ],
)
def test_amounts_that_are_some(text: str, units: int) -> None:
    """Decimal strings of whole GETS with at most 13 digits and 18 decimals."""
    assert parse_units(text) == units


@pytest.mark.parametrize("text", BAD_TEXTS, ids=lambda text: repr(text)[:20])
def test_amounts_that_are_none(text: str) -> None:
    """Everything else is refused, without a digit of it repeated."""
    with pytest.raises(ValueError, match=r"^must be ") as caught:
        parse_units(text)
    assert len(str(caught.value)) < 200


def test_zero_is_shown_and_the_products_numbers_stand() -> None:
    """Zero has a form, though no caller can send it; cap, genesis and reward are what the product says."""
    assert format_units(0) == "0"
    shown = [format_units(units) for units in (MAX_SUPPLY, GENESIS_SUPPLY, BADGE_REWARD)]
    assert shown == ["1000000000000", "20000000", "1000"]
