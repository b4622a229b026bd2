"""Who has the calls when the gateway starts: weights that are kept, who is named, whom the database calls active."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo.database import Database

from local import bluegreen
from local.ports import free_port
from ops.gateway import __main__ as command
from ops.gateway import generate, runtime
from ops.gateway.environment import load
from tests.gateway import require_haproxy, wait_for
from tests.local import programs

SECRETS = {"WEB_SECURE": "one-secret-for-both-colours"}
NOWHERE = {"MONGODB_URI": "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200"}


@pytest.fixture
def place() -> Iterator[Path]:
    """The file of an environment with nobody behind it, its folder as empty as after a start of the machine."""
    with tempfile.TemporaryDirectory(prefix="run") as name:
        there = bluegreen.here(Path(name) / "gateway", free_port())
        file = Path(name) / "trial.yml"
        file.write_text(yaml.safe_dump(yaml.safe_load(there.model_dump_json(exclude={"name"}))))
        yield file


def run(place: Path, *words: str, **variables: str) -> "subprocess.Popen[str]":
    """`./doit gateway run`."""
    return subprocess.Popen(
        [sys.executable, "-m", "ops.gateway", "run", str(place), *words],
        env={**programs.environment(), **SECRETS, **variables},
        cwd=generate.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running(place: Path, *words: str, **variables: str) -> Iterator[runtime.Runtime]:
    """The gateway's socket once it runs; ended afterwards."""
    require_haproxy()
    line = runtime.runtime_of(load(str(place)))
    process = run(place, *words, **variables)

    def is_up() -> bool:
        try:
            return bool(line.shares())
        except runtime.GatewayUnreachable:
            assert process.poll() is None, process.communicate()[1]
            return False

    try:
        wait_for(is_up, "the gateway")
        yield line
    finally:
        process.terminate()
        process.communicate(timeout=15)


def shares(place: Path, *words: str, **variables: str) -> dict[Any, int]:
    """The shares that a gateway starts with; they are kept in its folder."""
    with running(place, *words, **variables) as line:
        line.save(load(str(place)).gateway.folder)
        return dict(line.shares())


@pytest.mark.parametrize("active", ["blue", "green"])
def test_after_a_start_of_its_machine_the_active_colour_has_the_calls(
    place: Path, system: Database[dict[str, Any]], database_uri: str, active: str
) -> None:
    """The folder is in memory and has forgotten the weights; the database has not. Kept ones need no database."""
    system.controls.update_one({"_id": "colour"}, {"$set": {"active": active}})
    here = {"MONGODB_URI": database_uri, "MONGODB_DATABASE": system.name}
    other = {"blue": "green", "green": "blue"}[active]
    assert shares(place, **here) == {active: 100, other: 0}
    assert shares(place, **NOWHERE) == {active: 100, other: 0}


def test_without_the_database_it_starts_for_nobody_but_who_is_named(place: Path) -> None:
    """A guess would give all calls to an old version, or to nothing at all."""
    refused = run(place, **NOWHERE)
    _, error = refused.communicate(timeout=50)
    assert refused.returncode == 1
    assert error.startswith("gateway: who has the calls? the database does not answer: ")
    assert error.endswith("; name the colour: --active blue, or green\n")
    assert shares(place, "--active", "green", **NOWHERE) == {"blue": 0, "green": 100}


def test_a_reload_with_more_namespaces_keeps_the_shares(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever has all calls has them in all its namespaces then, and the other colour still none."""
    monkeypatch.setenv("WEB_SECURE", SECRETS["WEB_SECURE"])
    with running(place, "--active", "blue") as line:
        line.give({"blue": 0, "green": 100})
        there = yaml.safe_load(place.read_text())
        for colour, spaces in there["colours"].items():
            spaces.append({"label": f"{colour}-2", "url": f"http://127.0.0.1:{free_port()}/v1"})
        place.write_text(yaml.safe_dump(there))
        assert command.main(["reload", str(place)]) == 0, capsys.readouterr().err
        wait_for(lambda: len(line.readings()) == 2 and line.readings()["green"].servers == 2, "the second namespace")
        assert line.shares() == {"blue": 0, "green": 100}
