"""Who has the calls when a gateway starts: what was kept and what the database says may differ."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from getsmart.stores import controls
from ops.gateway import runtime, start
from ops.gateway.environment import Colour, Environment
from tests.gateway import gate

BLUE, GREEN = ({"blue": 100, "green": 0}, {"blue": 0, "green": 100})


@pytest.fixture(scope="module")
def there() -> Iterator[Environment]:
    """The environment of a gateway that has kept its weights: all calls to blue."""
    with gate(spaces=1) as running:
        running.line.save(running.there.gateway.folder)
        yield running.there


@pytest.fixture
def folder(there: Environment, tmp_path: Path, system: Any) -> Path:
    """A copy of what it has kept, an hour old."""
    file = tmp_path / runtime.STATE
    file.write_text((there.gateway.folder / runtime.STATE).read_text())
    an_hour_ago = time.time() - 3_600
    os.utime(file, (an_hour_ago, an_hour_ago))
    return tmp_path


def active(system: Any, colour: Colour, ago: timedelta, **more: Any) -> None:
    """What the database says since when."""
    facts = {"active": colour, "activated_at": datetime.now(UTC) - ago, "activated_by": "ada@laptop", **more}
    system.controls.replace_one({"_id": controls.COLOUR}, facts, upsert=True)


def test_a_promotion_from_another_machine_outlives_a_restart(
    there: Environment, folder: Path, system: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """It only told the gateway that ran; the weights kept here are older than what the database says."""
    active(system, "green", timedelta(minutes=5))
    assert start.shares(there, folder, None) == GREEN
    assert runtime.kept_shares(folder) is None
    assert "the database counts, all calls to green, made active by ada@laptop" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ago", "more"), [(timedelta(hours=2), {}), (timedelta(minutes=5), {"moving": {"to": "green", "kind": "promote"}})]
)
def test_a_rollback_without_the_database_outlives_a_restart(
    there: Environment, folder: Path, system: Any, capsys: pytest.CaptureFixture[str], ago: timedelta, more: Any
) -> None:
    """Weights that were changed since, or in a move that goes on, are newer than the database's colour."""
    active(system, "green", ago, **more)
    assert start.shares(there, folder, None) == BLUE
    assert runtime.kept_shares(folder) == BLUE
    assert "the weights that were kept count, blue 100 %, green 0 %: they are newer" in capsys.readouterr().out


def test_a_gateway_starts_without_the_database(
    there: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what it has kept."""
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=300")
    assert start.shares(there, folder, None) == BLUE
    assert "the weights that were kept count, blue 100 %, green 0 %: the database does not" in capsys.readouterr().out


def test_where_both_agree_nothing_is_said(
    there: Environment, folder: Path, system: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same after a restart of either."""
    active(system, "blue", timedelta(minutes=5))
    assert start.shares(there, folder, None) == BLUE
    assert capsys.readouterr().out == ""
    system.controls.delete_one({"_id": controls.COLOUR})
    assert start.shares(there, folder, "green") == BLUE
