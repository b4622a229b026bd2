"""A deployment goes to a colour that nobody's calls reach, and not over what a rollback goes back to."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo.database import Database

from ops.gateway.environment import load
from ops.pipeline import target
from ops.pipeline.environments import EnvironmentProblem
from ops.pipeline.target import Idle
from tests.gateway import gate


@pytest.fixture
def database(system: Database[dict[str, Any]]) -> tuple[str, str]:
    """Which one it is."""
    return os.environ["MONGODB_URI"], os.environ["MONGODB_DATABASE"]


def told(system: Database[dict[str, Any]], **facts: Any) -> None:
    """What the row of the colours says."""
    system.controls.replace_one({"_id": "colour"}, facts, upsert=True)


@pytest.mark.parametrize("kind", ["promote", "rollback"])
def test_no_colour_is_idle_while_calls_move(
    system: Database[dict[str, Any]], database: tuple[str, str], kind: str
) -> None:
    """The colour that is not active has calls then, or gets them: nothing is deployed under them."""
    told(system, active="blue", moving={"kind": kind, "to": "green", "by": "ada@laptop promote-1"})
    with pytest.raises(
        EnvironmentProblem, match=r"is under way, or was cut short \(ada@laptop.*rollback staging ends it"
    ):
        target.idle("staging", *database)


def test_a_colour_with_calls_is_not_idle(
    system: Database[dict[str, Any]], database: tuple[str, str], tmp_path: Path
) -> None:
    """What the gateway does with its calls counts, not only whom the database calls active."""
    told(system, active="blue", seen={"blue": {"version": "1"}})
    with gate() as running:
        file = tmp_path / "there.yml"
        file.write_text(yaml.safe_dump(running.there.model_dump(mode="json")))
        assert target.idle(str(file), *database) == Idle("green", "1")
        running.line.give({"blue": 60, "green": 40})
        with pytest.raises(EnvironmentProblem, match=r"green is not active and has 40 % of the calls: ./doit rollback"):
            target.idle(str(file), *database)


def test_where_the_gateway_cannot_be_asked_it_is_said(
    system: Database[dict[str, Any]], database: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Before the first deployment there is none; then the database decides."""
    there = load("local")
    gateway = there.gateway.model_copy(update={"folder": tmp_path})
    file = tmp_path / "there.yml"
    file.write_text(yaml.safe_dump(there.model_copy(update={"gateway": gateway}).model_dump(mode="json")))
    system.controls.delete_one({"_id": "colour"})
    assert target.idle(str(file), *database) == Idle("green", None)
    assert "whether green has calls only the database says" in capsys.readouterr().err


def test_what_serves_already_is_not_deployed_over_what_a_rollback_goes_back_to() -> None:
    """A job that is run again would leave the same version in both colours."""
    with pytest.raises(EnvironmentProblem, match=r"blue serves with version 0123456789ab already.*--again"):
        target.refuse_again(Idle("green", "0123456789ab"), "0123456789ab")
    for serving in (None, "another", "0123456789ab-changed"):
        target.refuse_again(Idle("green", serving), "0123456789ab-changed" if serving else "0123456789ab")
