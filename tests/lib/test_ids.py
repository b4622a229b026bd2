"""Identifiers and request ids."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from getsmart import clock
from getsmart.ids import ULID_FORM, lowest_id, new_id, request_id_or_new


@pytest.mark.parametrize("prefix", ["wlt", "txn", "bat", "whe", "evt", "dlv", "key", "req"])
def test_an_id_says_what_it_is(prefix: str) -> None:
    """A prefix and a ULID, never the same twice."""
    made = {new_id(prefix) for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(f"{prefix}_{ULID_FORM}", one) for one in made)


@pytest.mark.parametrize("candidate", ["a", "A-z_0.9", "x" * 64])
def test_a_callers_request_id_is_taken(candidate: str) -> None:
    """1 to 64 of [A-Za-z0-9._-]."""
    assert request_id_or_new(candidate) == candidate


@pytest.mark.parametrize("candidate", ["", "x" * 65, "a b", "a\n", "a@b", "\u00e4", "\uff11", "a/b", '"', "a:b"])
def test_anything_else_is_replaced(candidate: str) -> None:
    """By one of ours, so that nothing strange reaches the log or a header."""
    assert re.fullmatch(f"req_{ULID_FORM}", request_id_or_new(candidate))


def test_ids_are_in_the_order_of_their_moments() -> None:
    """The lowest id of a moment is above every id made before it, and not above one made then or later."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    lowest = lowest_id("txn", moment, 0)
    assert re.fullmatch(f"txn_{ULID_FORM}", lowest)
    for milliseconds in (-3_600_000, -1, 0, 1, 3_600_000):
        clock.set_clock(lambda at=moment + timedelta(milliseconds=milliseconds): at)  # type: ignore[misc]
        try:
            assert (new_id("txn") >= lowest) == (milliseconds >= 0)
        finally:
            clock.set_clock(None)
    assert lowest_id("txn", moment, 5) == lowest_id("txn", moment + timedelta(milliseconds=5), 0)
    assert lowest_id("txn", datetime(1, 1, 1, tzinfo=UTC), 0) == "txn_" + "0" * 26
