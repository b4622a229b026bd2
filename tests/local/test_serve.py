"""One command runs the whole system; whatever ends it leaves nothing running and loses no data."""

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from local import database, serve, stack
from tests.local import programs
from tests.local.programs import alive, descendants, eventually

START_SECONDS = 120.0
pytestmark = pytest.mark.timeout(400)


@dataclass
class Run:
    """A running system."""

    process: subprocess.Popen[str]
    facts: dict[str, Any]
    family: list[int]

    def call(self, path: str, **body: Any) -> requests.Response:
        """Call the API with the test key: GET, or POST with a body."""
        headers = {"Authorization": f"Bearer {self.facts['api_key']}"}
        method = "POST" if body else "GET"
        url = f"{self.facts['gateway']}/v1/{path}"
        return requests.request(method, url, json=body or None, headers=headers, timeout=35)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal; exit status, stdout, stderr. Nothing of the family is left."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str, str]:
        """Wait for the end and see that nothing is left."""
        out, err = self.process.communicate(timeout=90)
        assert eventually(lambda: not any(map(alive, self.family)), seconds=15.0)
        return self.process.returncode, out, err


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory."""
    return tmp_path / "data"


def begin(data: Path, *words: str) -> Run:
    """Start serve on free ports and wait until it is ready."""
    process = programs.start("local.serve", "--port", "0", "--data", str(data), *words)
    ready = data / "serve.json"

    def is_ready() -> bool:
        assert process.poll() is None, process.communicate()
        return ready.exists() and json.loads(ready.read_text())["pid"] == process.pid

    try:
        assert eventually(is_ready, START_SECONDS)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return Run(process, json.loads(ready.read_text()), descendants(process.pid))


@pytest.fixture
def run(data: Path) -> Iterator[Run]:
    """A running system; killed after the test if it still runs."""
    running = begin(data)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.wait()


def test_a_run_tells_where_everything_is_and_ends_with_ctrl_c(run: Run, data: Path) -> None:
    """serve.json is complete and private, every address answers, Ctrl-C ends all processes and removes it."""
    assert sorted(run.facts) == sorted(stack.Facts.__dataclass_fields__)
    assert (data / "serve.json").stat().st_mode & 0o777 == 0o600
    assert (data / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert run.call("ops/health").json()["data"]["status"] in {"pass", "warn"}
    assert run.call("tokens/info").status_code == 200
    assert requests.get(f"{run.facts['sandbox']}/_sandbox/info", timeout=10).json()["rpc_url"] == run.facts["rpc"]
    assert database.ExternalDatabase(run.facts["database"]).start() == run.facts["database"]
    assert len(run.family) >= 8  # database, sandbox, scheduler, gateway, each with its leash
    status, out, err = run.end(signal.SIGINT)
    assert (status, err) == (0, "")
    assert f"curl -s {run.facts['gateway']}/v1/wallets/create -H 'Authorization: Bearer {run.facts['api_key']}'" in out
    assert not (data / "serve.json").exists()
    logs = "".join(file.read_text() for file in data.glob("*.log"))
    assert run.facts["api_key"] not in logs


def test_data_and_key_are_kept_and_fresh_forgets_them(run: Run, data: Path) -> None:
    """A second start knows the wallets and prints the same key; --fresh begins anew and touches no other file."""
    (data / "mine.txt").write_text("keep")
    owner = {"owner": {"email": "learner@example.com"}}
    created = run.call("wallets/create", **owner)
    assert (created.status_code, run.end()[0]) == (201, 0)
    second = begin(data)
    assert second.facts["api_key"] == run.facts["api_key"]
    again = second.call("wallets/create", **owner)
    assert (again.status_code, second.end()[0]) == (200, 0)
    assert again.json()["data"]["wallet_id"] == created.json()["data"]["wallet_id"]
    third = begin(data, "--fresh")
    assert third.facts["api_key"] != run.facts["api_key"]
    assert (third.call("wallets/create", **owner).status_code, third.end()[0]) == (201, 0)
    assert (data / "mine.txt").read_text() == "keep"


def test_a_second_run_on_the_same_data_is_refused(run: Run, data: Path) -> None:
    """One clear line and exit 1; the first goes on, its serve.json too."""
    second = programs.start("local.serve", "--port", "0", "--data", str(data), "--fresh")
    out, err = second.communicate(timeout=120)
    assert (second.returncode, out, err) == (1, "", f"serve: another serve runs with the data in {data}\n")
    assert json.loads((data / "serve.json").read_text()) == run.facts
    assert run.call("tokens/info").status_code == 200


def test_after_kill_9_nothing_runs_and_a_new_start_has_the_data(run: Run, data: Path) -> None:
    """All children are gone within seconds; the stale serve.json is overwritten."""
    owner = {"owner": {"email": "learner@example.com"}}
    assert run.call("wallets/create", **owner).status_code == 201
    assert run.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert (data / "serve.json").exists()
    second = begin(data)
    assert second.call("wallets/create", **owner).status_code == 200
    assert second.end()[0] == 0


def kill(run: Run, words: str) -> None:
    """Kill the part whose command line has the words."""
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in run.family}
    os.kill(next(pid for pid, line in lines.items() if words in line and "leash.py" not in line), signal.SIGKILL)


def test_when_the_gateway_dies_everything_ends_and_says_so(run: Run, data: Path) -> None:
    """One clear line with the part's name and its last log lines, exit 1, nothing left, serve.json removed."""
    run.call("tokens/info")
    kill(run, "-m serving --isolated")
    status, _, err = run.wait()
    assert status == 1
    assert err.splitlines()[0] == "serve: gateway ended by itself (exit status 137)"
    assert '"function":"tokens/info"' in err.splitlines()[1]
    assert not (data / "serve.json").exists()


def test_when_the_database_dies_callers_are_told_before_everything_ends(run: Run) -> None:
    """For some seconds health is 503 and names the database; then exit 1."""
    kill(run, "secantusd-py")
    reply = run.call("ops/health")
    assert reply.status_code == 503
    assert "database" in reply.text
    status, _, err = run.wait()
    assert (status, err.splitlines()[0]) == (1, "serve: database ended by itself (exit status 137)")


def test_ctrl_c_while_it_starts_leaves_nothing(data: Path) -> None:
    """Exit 0, no process, no serve.json."""
    process = programs.start("local.serve", "--port", "0", "--data", str(data))
    assert eventually((data / "sandbox.log").exists, START_SECONDS)
    starting = Run(process, {}, descendants(process.pid))
    assert starting.end(signal.SIGINT)[0] == 0
    assert starting.family
    assert not (data / "serve.json").exists()


def test_a_taken_port_is_one_clear_line(data: Path) -> None:
    """Exit 1, nothing started."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        process = programs.start("local.serve", "--port", str(port), "--data", str(data))
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err == f"serve: port {port} for the gateway is in use; --port 0 takes free ports for everything\n"
    assert not list(data.glob("*.log"))


def test_a_port_that_becomes_free_in_time_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A predecessor that was just killed gets a moment to let go."""
    monkeypatch.setattr(stack, "_PORT_SECONDS", 30.0)
    ports = stack.Ports.free()
    predecessor = socket.create_server(("127.0.0.1", ports.rpc))
    letting_go = threading.Timer(0.2, predecessor.close)
    letting_go.start()
    ports.require_free()
    letting_go.join()
    assert predecessor.fileno() == -1


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` fills in what the environment does not say."""
    (tmp_path / ".env").write_text("GETS_ONE=file\nGETS_TWO=file\nGETS_NOTHING\n")
    monkeypatch.setenv("GETS_ONE", "environment")
    found = serve.settings(tmp_path)
    assert (found["GETS_ONE"], found["GETS_TWO"]) == ("environment", "file")
    assert "GETS_NOTHING" not in found


def test_interrupts_come_once_and_handlers_return() -> None:
    """The first signal interrupts, the next ones are ignored, afterwards all is as before."""
    before = signal.getsignal(signal.SIGTERM)

    def end_twice() -> None:
        with serve.interruptible(), ExitStack() as stops:
            stops.callback(os.kill, os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(serve.Interrupted):
        end_twice()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("words", "processes"), [((), 1), (("--in-process",), 0)])
def test_functions_run_isolated_unless_told_otherwise(data: Path, words: tuple[str, ...], processes: int) -> None:
    """What is deployed is built, and each function answers from a process of its own; --in-process from the gateway."""
    run = begin(data, *words)
    assert run.call("tokens/info").status_code == 200
    assert len(launched(run.process.pid, "tokens-info")) == processes
    assert run.end()[0] == 0


def launched(pid: int, function: str) -> list[int]:
    """The descendants that run in the unpacked folder of this function."""
    return [one for one in descendants(pid) if function in str(Path(f"/proc/{one}/cwd").readlink())]


@pytest.mark.parametrize("words", [("--workers", "2"), ("--in-process", "--workers", "2", "--platform-limits")])
def test_workers_go_with_functions_in_process(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """The container has no isolated functions, and no limits of the platform."""
    with pytest.raises(SystemExit) as exit_:
        serve.main([*words])
    assert exit_.value.code == 2
    assert "--workers goes with --in-process, and not with --platform-limits" in capsys.readouterr().err


def test_functions_that_cannot_be_built_are_one_clear_line(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, nothing started, and what can be done without a build."""

    def fails() -> None:
        raise serve.package.PackageError("lib/build.sh failed")

    monkeypatch.setattr(serve.package, "build", fails)
    assert serve.main(["--port", "0", "--data", str(data)]) == 1
    assert capsys.readouterr().err == "serve: lib/build.sh failed; --in-process serves without a build\n"
    assert not list(data.glob("*.log"))
