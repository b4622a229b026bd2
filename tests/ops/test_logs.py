"""`./doit logs`: what failed, found by request id, function, code and time, as a table or as JSON."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from getsmart import clock, config, mongo
from getsmart.stores import failures
from ops import logs
from tests.edge import Raw
from tests.support import Client

Show = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def show(system: Raw, capsys: pytest.CaptureFixture[str]) -> Show:
    """What `./doit logs --json` prints with these words."""

    def printed(*words: str) -> list[dict[str, Any]]:
        capsys.readouterr()
        assert logs.main(["--json", *words]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return printed


def line(**fields: Any) -> dict[str, Any]:
    """A log line of a failure."""
    return {"at": clock.to_wire(clock.now()), "level": "error", "event": "request", "code": "internal", **fields}


def test_a_failed_call_is_found_by_its_request_id(app: Client, system: Raw, show: Show) -> None:
    """From the id that the caller was answered, to the whole line."""
    system.controls.delete_many({})
    answer = app.get("ops/metrics")
    (found,) = show("--request-id", answer.headers["X-Request-Id"])
    assert (found["code"], found["status"], found["function"]) == ("internal", 500, "ops/metrics")
    assert found["error"] == "the database has no genesis; migrations are missing"
    assert found["at"].endswith("Z")
    assert show("--request-id", "another") == []
    assert show("--trace-id", found["trace_id"]) == [found]


def test_lines_are_chosen_by_function_code_and_time(show: Show, system: Raw) -> None:
    """The oldest first; without a span those of the last hour, and one call wherever it lies."""
    old = clock.to_wire(clock.now().replace(year=2020))
    a_moment_ago = clock.to_wire(clock.now() - timedelta(seconds=1))
    failures.keep([line(request_id="a", function="tokens/mint", at=a_moment_ago)])
    failures.keep([line(request_id="b", code="recovering")])
    two_days_ago = clock.to_wire(clock.now() - timedelta(days=2))
    failures.keep([line(request_id="c", at=two_days_ago, transaction_id="txn_1")])
    assert [one["request_id"] for one in show()] == ["a", "b"]
    assert [one["request_id"] for one in show("--since", "3d")] == ["c", "a", "b"]
    assert [one["request_id"] for one in show("--since", old, "--limit", "1")] == ["b"]
    assert [one["request_id"] for one in show("--function", "tokens/mint")] == ["a"]
    assert [one["request_id"] for one in show("--code", "recovering")] == ["b"]
    assert [one["request_id"] for one in show("--request-id", "c")] == ["c"]
    assert [one["request_id"] for one in show("--transaction-id", "txn_1")] == ["c"]
    assert show("--transaction-id", "txn_2") == []


def test_a_table_for_people(system: Raw, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the word that there is nothing."""
    monkeypatch.setenv("COLUMNS", "200")
    assert logs.main([]) == 0
    assert capsys.readouterr().out == "nothing failed\n"
    failures.keep([line(request_id="req_x", function="tokens/mint", status=500, error="[redacted] broke")])
    assert logs.main([]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["at", "code", "status", "function", "colour", "request_id", "error"]
    assert row.split()[1:] == ["internal", "500", "tokens/mint", "req_x", "[redacted]", "broke"]


def test_following_shows_each_line_once_until_ctrl_c(system: Raw, repository: Path) -> None:
    """What was there, and what comes."""
    failures.keep([line(request_id="before")])
    command = [sys.executable, "-m", "ops.logs", "--follow", "--json", "--interval", "0.1"]
    environment = {**os.environ, "PYTHONPATH": f"{repository}{os.pathsep}{repository / 'lib'}"}
    with subprocess.Popen(command, cwd=repository, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["request_id"] == "before"
            failures.keep([line(request_id="after")])
            assert json.loads(process.stdout.readline())["request_id"] == "after"
            time.sleep(0.5)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
        assert process.wait(10) == 0


@pytest.mark.parametrize("span", ["soon", "5w", "-1h"])
def test_a_span_that_is_none_is_refused(span: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the usage."""
    with pytest.raises(SystemExit, match="2"):
        logs.main([f"--since={span}"])
    assert "neither a span nor a moment" in capsys.readouterr().err


def test_a_missing_database_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, and the variable's name."""
    monkeypatch.delenv("MONGODB_URI", raising=False)
    config.forget()
    mongo.forget()
    assert logs.main([]) == 1
    assert capsys.readouterr().err == "logs: Misconfigured: environment: MONGODB_URI (missing)\n"
    config.forget()
