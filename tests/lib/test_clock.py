"""The clock that can be set."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from getsmart import clock


@pytest.fixture(autouse=True)
def _system_clock() -> Iterator[None]:
    yield
    clock.set_clock(None)


def test_now_is_utc_in_whole_milliseconds() -> None:
    """What the database would cut off is never there."""
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    now = clock.now()
    assert before < now <= datetime.now(UTC)
    assert (now.tzinfo, now.microsecond % 1000) == (UTC, 0)


def test_a_set_clock_rules_until_it_is_put_back() -> None:
    """A simulation's time is the library's time."""
    moment = datetime(2030, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    clock.set_clock(lambda: moment)
    assert clock.now() == moment.replace(microsecond=678_000)
    clock.set_clock(None)
    assert clock.now() < moment


def test_monotonic_never_goes_back() -> None:
    """Deadlines within a process do not follow the wall clock."""
    clock.set_clock(lambda: datetime(1970, 1, 1, tzinfo=UTC))
    first = clock.monotonic()
    assert clock.monotonic() >= first > 0


def test_the_wire_form_is_rfc_3339_in_utc() -> None:
    """Milliseconds, Z, whatever the zone inside."""
    eastern = timezone(timedelta(hours=-5))
    assert clock.to_wire(datetime(2026, 1, 2, 22, 4, 5, 7_999, tzinfo=eastern)) == "2026-01-03T03:04:05.007Z"
