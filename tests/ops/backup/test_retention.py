"""Which backups stay."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.backup.retention import Keep, superfluous

NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)


def test_a_quarter_of_a_year_by_five_minutes() -> None:
    """12 of the newest, one of each of 24 hours, 7 days and 8 weeks; the newest of each."""
    moments = [NOW - timedelta(minutes=5 * number) for number in range(90 * 288)]
    gone = superfluous(moments, Keep.parse("12/24/7/8"))
    kept = sorted(set(moments) - set(gone), reverse=True)
    assert kept[:12] == moments[:12]
    hours = {f"{moment:%d %H}" for moment in kept if moment > NOW - timedelta(hours=23)}
    assert len(hours) == 24
    assert {f"{NOW - timedelta(days=day):%m-%d}" for day in range(7)} <= {f"{moment:%m-%d}" for moment in kept}
    assert {f"{NOW - timedelta(weeks=week):%G-%V}" for week in range(8)} == {f"{moment:%G-%V}" for moment in kept}
    assert len(kept) <= 12 + 24 + 7 + 8


@settings(derandomize=True, deadline=None, database=None)
@given(
    st.lists(st.datetimes(timezones=st.just(UTC)), max_size=30),
    st.tuples(st.integers(1, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)),
)
def test_the_newest_always_stays(moments: list[datetime], numbers: tuple[int, int, int, int]) -> None:
    """Whatever is asked for, and forgetting twice forgets no more."""
    keep = Keep(*numbers)
    left = [moment for moment in moments if moment not in superfluous(moments, keep)]
    assert not moments or max(moments) in left
    assert superfluous(left, keep) == []


@pytest.mark.parametrize("text", ["", "1/2/3", "0/1/1/1", "a/b/c/d", "1/2/3/4/5", "-1/0/0/0"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    """Four numbers, the first at least 1."""
    with pytest.raises(ValueError, match="four numbers"):
        Keep.parse(text)
