"""What a promotion refuses, and that there is one at a time, however long a step takes."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from getsmart.stores import controls
from ops.release import promote, rollback, smoke, state, status
from ops.release.promote import Refused
from tests.local.programs import eventually


def test_one_at_a_time_however_long_a_step_takes(system: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step on App Platform is a deployment of minutes: the lease is renewed meanwhile, and given up at the end."""
    monkeypatch.setattr(promote, "_LEASE_SECONDS", 3.0)

    def ends_at() -> datetime:
        ends: datetime = system.leases.find_one({"_id": promote.LEASE})["until"]
        return ends

    with promote.alone("first"):
        granted = ends_at()
        assert eventually(lambda: ends_at() > granted + timedelta(seconds=1.5))  # renewed twice, a second apart
        with pytest.raises(Refused, match="another promotion is under way"), promote.alone("second"):
            pass
    with promote.alone("second"):
        pass


def test_a_rollback_that_was_cut_short_comes_first(system: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A promotion does not write over it, and says what finishes it."""
    assert controls.intend("blue", "rollback", "an operator")
    assert promote.main(["local"]) == 1
    said = capsys.readouterr().err
    assert "a rollback to blue is under way, or was cut short: ./doit rollback local finishes it" in said
    assert state.read().by == "an operator"


@pytest.mark.parametrize("command", [promote, rollback, smoke, status])
def test_nobody_guesses_which_environment_is_meant(
    command: Any, system: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a name, and with some database's address in the process, nothing is asked or changed."""
    controls.intend("green", "promote", "somebody")
    before = controls.colour_row()
    assert command.main([]) == 1
    assert "name the environment: local, production, staging" in capsys.readouterr().err
    assert controls.colour_row() == before
