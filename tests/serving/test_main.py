"""The program that serves: ready line, taken ports, and an end that finishes what it began."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from ops.functions import ProjectError
from serving import __main__ as program
from serving.__main__ import Server
from serving.app import create_app
from tests.local import programs
from tests.serving.conftest import Project


def test_it_says_where_it_listens_and_serves_the_projects_functions() -> None:
    """One JSON line on stdout, the project's own functions behind it, exit 0 after SIGTERM."""
    process = programs.start("serving", "--port", "0", "--threads", "2")
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["gateway"]
    assert requests.put(f"{url}/v1/ops/health", timeout=20).json()["error"]["code"] == "method_not_allowed"
    assert requests.get(f"{url}/v1/ops/tick", timeout=20).status_code == 404
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_taken_port_is_one_clear_line() -> None:
    """Exit 1."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        process = programs.start("serving", "--port", str(port))
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert err == f"serving: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_project_that_does_not_fit_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 with what is wrong in project.yml."""

    def misfit() -> None:
        raise ProjectError("a/b is on disk but not in project.yml")

    monkeypatch.setattr(program, "create_app", misfit)
    monkeypatch.setattr(sys, "argv", ["serving", "--port", "0"])
    assert program.main() == 1
    assert capsys.readouterr().err == "serving: a/b is on disk but not in project.yml\n"


def test_functions_that_are_not_built_are_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 with what to do, and nothing is left of the isolated mode."""
    asked: dict[str, Any] = {}

    def misfit(**options: Any) -> None:
        asked.update(options)
        raise program.NotBuilt("a/b: ../../../lib/build is not there; run ./doit package")

    monkeypatch.setattr(program, "create_app", misfit)
    monkeypatch.setattr(sys, "argv", ["serving", "--port", "0", "--isolated"])
    assert program.main() == 1
    assert capsys.readouterr().err == "serving: a/b: ../../../lib/build is not there; run ./doit package\n"
    assert not asked["run"].pool.folder.exists()


def test_callers_that_keep_their_connection_open_keep_nobody_out(project: Project) -> None:
    """200 open connections that ask nothing, and the next caller is answered."""
    project.add("quick", "def main(event, context):\n    return {'body': 'here'}\n")
    server = Server(create_app(project.functions), "127.0.0.1", 0, threads=2)
    running = threading.Thread(target=server.run)
    running.start()
    with ExitStack() as idle:
        for _ in range(200):
            idle.enter_context(socket.create_connection(("127.0.0.1", urlsplit(server.url).port), 5))
        answer = requests.get(f"{server.url}/v1/shop/quick", timeout=10)
    server.end()
    running.join(20)
    assert answer.text == "here"


def test_the_end_waits_for_requests_under_way(project: Project) -> None:
    """A request that has begun gets its answer; new connections are refused; then the server is gone."""
    begun = project.folder / "begun"
    project.add(
        "slow",
        f"""
        import time
        from pathlib import Path
        def main(event, context):
            Path({str(begun)!r}).touch()
            time.sleep(0.3)
            return {{"body": "finished"}}
        """,
    )
    server = Server(create_app(project.functions), "127.0.0.1", 0, threads=2)
    serving = threading.Thread(target=server.run)
    serving.start()
    answers: list[str] = []
    url = f"{server.url}/v1/shop/slow"
    calling = threading.Thread(target=lambda: answers.append(requests.get(url, timeout=10).text))
    calling.start()
    assert programs.eventually(begun.exists)
    server.end()
    calling.join(10)
    serving.join(10)
    assert answers == ["finished"]
    assert not serving.is_alive()
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=1)


def test_gunicorn_can_serve_it(tmp_path: Path) -> None:
    """The container's way: the factory, called in each worker."""
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "serving.app:create_app()"]
    with subprocess.Popen(
        command, cwd=programs.ROOT, env=programs.environment(), stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        line = next(line for line in server.stderr if "Listening at" in line)
        url = line.split("Listening at: ")[1].split()[0]
        reply = requests.put(f"{url}/v1/ops/health", timeout=20)
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=20)
    assert reply.json()["error"]["code"] == "method_not_allowed"


def test_the_framework_never_sees_the_path(serve: Callable[[], str], project: Project) -> None:
    """Double slashes, favicon and the like are ours to answer: no redirect, no page of the framework."""
    project.add("fn", "def main(event):\n    return {'body': event['http']['path']}")
    url = serve()
    assert requests.get(f"{url}/shop/fn//a/", timeout=5).text == "//a/"
    assert requests.get(f"{url}/shop/fn/a%20b", timeout=5).text == "/a b"
