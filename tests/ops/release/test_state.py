"""What a rollback means and what an operator is told, wherever something was cut short."""

from typing import Any

import pytest

from getsmart.stores import controls
from ops.release import state
from ops.release.state import Standing

BLUE, HALF, GREEN = ({"blue": 100, "green": 0}, {"blue": 50, "green": 50}, {"blue": 0, "green": 100})
PROMOTING = Standing("blue", moving_to="green", moving="promote", by="x")
PROMOTED = Standing("green", previous="blue", previous_version="1")
ROLLING_BACK = Standing("green", previous="blue", moving_to="blue", moving="rollback", by="x")


@pytest.mark.parametrize(
    ("standing", "shares", "target"),
    [
        (Standing(None), BLUE, None),
        (Standing("blue"), BLUE, None),
        (PROMOTING, BLUE, "blue"),
        (PROMOTING, HALF, "blue"),
        (PROMOTING, GREEN, "blue"),
        (PROMOTED, GREEN, "blue"),
        (ROLLING_BACK, GREEN, "blue"),
        (ROLLING_BACK, BLUE, "blue"),
        (PROMOTED, BLUE, "blue"),
        (Standing("green"), BLUE, "blue"),
        (Standing("green"), HALF, None),
    ],
)
def test_where_a_rollback_leads(standing: Standing, shares: Any, target: str | None) -> None:
    """Back where it came from, or on with a rollback that was cut short."""
    assert standing.rollback_target(shares) == target


FIRST = Standing("green", previous="blue")


@pytest.mark.parametrize(
    ("standing", "versions", "shares", "said"),
    [
        (PROMOTED, {"1"}, GREEN, None),
        (PROMOTED, {"2"}, GREEN, "was active with version 1 and runs 2 now"),
        (PROMOTED, {"1", None}, GREEN, "was active with version 1 and runs 1, None now"),
        (PROMOTED, {None}, GREEN, "blue does not answer"),
        (FIRST, {None}, GREEN, "blue does not answer"),
        (FIRST, {"1"}, GREEN, "which version blue was active with is not known"),
        (FIRST, {"1"}, BLUE, None),
        (PROMOTING, {"1"}, HALF, None),
        (PROMOTING, {"1", None}, HALF, None),
        (PROMOTING, {None}, HALF, "blue does not answer"),
        (ROLLING_BACK, {None}, GREEN, "blue does not answer"),
    ],
)
def test_a_rollback_goes_to_nobody_who_does_not_answer(
    standing: Standing, versions: set[str | None], shares: Any, said: str | None
) -> None:
    """Nor to a version that nobody knows; one that has had calls a moment ago is good while part of it answers."""
    why = standing.unfit("blue", versions, shares)
    assert (why is None) if said is None else (why is not None and said in why)


@pytest.mark.parametrize(
    ("standing", "shares", "said"),
    [
        (Standing("blue"), BLUE, None),
        (PROMOTED, GREEN, None),
        (Standing(None), BLUE, None),
        (
            PROMOTING,
            HALF,
            "a promote to green is under way, or was cut short (x): repeat it, or ./doit rollback staging",
        ),
        (PROMOTING, GREEN, "green has all calls and is not active: ./doit promote staging finishes"),
        (ROLLING_BACK, BLUE, "a rollback to blue is under way"),
        (PROMOTED, BLUE, "green is active and has 0 % of the calls: ./doit rollback staging puts"),
    ],
)
def test_what_status_warns_of(standing: Standing, shares: Any, said: str | None) -> None:
    """Calls and tick with two colours, or a move that has not ended; what to type then has the environment's name."""
    warning = standing.warning(shares, "staging")
    assert (warning is None) if said is None else (warning is not None and said in warning)


def test_a_move_is_written_down_and_ended(system: Any) -> None:
    """The intent, then the colour with what was before it; a move that somebody took over ends nothing."""
    controls.intend("green", "promote", "me")
    assert state.read() == Standing("blue", moving_to="green", moving="promote", by="me")
    assert not controls.activate("green", {"colour": "blue", "version": "1"}, "somebody else")
    assert state.read().active == "blue"
    assert controls.activate("green", {"colour": "blue", "version": "1"}, "me")
    assert state.read() == Standing("green", "blue", "1", activated_by="me")
    assert controls.activate("blue", None, "an operator", is_forced=True)
    assert state.read() == Standing("blue", activated_by="an operator")


def test_a_move_begins_only_over_the_one_that_was_seen(system: Any) -> None:
    """A promotion takes one over that was cut short, and none that began since it looked; a rollback takes any over."""
    assert controls.intend("green", "promote", "first", over=None)
    assert not controls.intend("green", "promote", "second", over=None)
    assert state.read().by == "first"
    assert controls.intend("green", "promote", "second", over="first")
    assert not controls.intend("green", "promote", "third", over="first")
    assert controls.intend("blue", "rollback", "an operator")
    assert state.read().by == "an operator"
    system.controls.delete_one({"_id": "colour"})
    assert controls.intend("green", "promote", "at first", over=None)


def test_before_any_migration_nothing_stands(system: Any) -> None:
    """An empty database has no active colour."""
    system.controls.delete_one({"_id": "colour"})
    assert state.read() == Standing(None)
