"""ops/tick as the platform's schedule calls it: bound parameters as event, no `http`, never on the web."""

import json
from typing import Any

import pytest

from getsmart import config
from ops.functions import load as load_project
from tests.edge import Raw, assert_plain_main
from tests.support import load


def run() -> dict[str, Any]:
    """Call it as the trigger does."""
    function = load("ops/tick")
    return function.call({}, function.context())


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main("ops/tick")


def test_it_is_not_on_the_web() -> None:
    """Only the schedule reaches it."""
    (tick,) = [function for function in load_project() if function.route == "ops/tick"]
    assert tick.web is False
    assert tick.schedule is not None


def test_a_run_says_what_it_did(system: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts as the result, and the same as one log line."""
    done = run()["body"]
    assert done["passes"] == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (logged,) = [line for line in lines if line["event"] == "tick"]
    assert {name: logged[name] for name in done} == done


def test_another_colour_rests(system: Raw) -> None:
    """Only the colour that the database calls active works."""
    system.controls.update_one({"_id": "colour"}, {"$set": {"active": "green"}})
    assert run() == {"body": {"skipped": "colour blue is not active"}}


def test_a_failing_run_ends_with_a_line(
    system: Raw, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What goes wrong is logged and ends this run; nothing escapes to the platform."""
    monkeypatch.setenv("TICK_SECONDS", "soon")
    config.forget()
    assert run() == {"body": {"failed": "Misconfigured"}}
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["event"], line["level"]) == ("tick.failed", "error")
    assert "TICK_SECONDS (invalid)" in line["error"]
