"""The real HAProxy with our configuration, in front of small servers that answer as namespaces do, or fail to."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from local import bluegreen
from local.ports import free_port
from ops.functions import ROOT
from ops.gateway import generate, runtime
from ops.gateway.environment import Environment, load
from serving.event import HttpRequest
from serving.gateway import Gateway as Functions

SECRET = "a-secret-of-the-tests"  # pragma: allowlist secret
_SECONDS = 15.0
_PATIENCE_SECONDS = 90.0  # only of who waits in vain


def own_machine() -> Environment:
    """Staging on a machine of one's own, with a certificate, as docs/deploy.md writes it down."""
    page = (ROOT / "docs/deploy.md").read_text().partition("### Where the gateway runs")[2]
    given = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    staging = json.loads(load("staging").model_dump_json(exclude={"gateway", "caller"}))
    return Environment.model_validate({**staging, **given})


def require_haproxy() -> None:
    """Skip where HAProxy is not installed; fail where CI is set."""
    if shutil.which("haproxy") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs haproxy 2.6 or later")


@dataclass
class Space:
    """A namespace of the tests' own. `behaves`: ok, fails, slow, close (once it came), or the platform's status.

    With `functions` those answer, as the platform would hand a call to them.
    """

    name: str
    behaves: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    is_well: bool = True
    port: int = 0
    server: Any = None
    functions: Functions | None = None

    def start(self, port: int = 0) -> None:
        """Listen, on that port."""
        space = self

        class Handler(_Handler):
            one = space

        self.server = _Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Take no connections any more."""
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_: Any) -> None:
        """A gateway that ends is no news."""


class _Handler(BaseHTTPRequestHandler):
    one: Space
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Silence."""

    def _hand_over(self, functions: Functions) -> None:
        path, _, query = self.path.partition("?")
        asked = HttpRequest(self.command, path, query, list(self.headers.items()), b"", "127.0.0.1", "http")
        answer = functions.answer(asked)
        self.send_response(answer.status)
        for name, value in (*answer.headers, ("Content-Length", str(len(answer.body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def _do(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/ops/health") and "X-Request-Id" not in self.headers:  # a check of the gateway's
            verdict = "pass" if self.one.is_well else "fail"
            self._answer(200, f'{{"data":{{"checks":{{"database":{{"status":"{verdict}"}}}}}}}}', is_marked=True)
            return
        self.one.calls.append((self.command, self.path, {name.lower(): text for name, text in self.headers.items()}))
        behaves = self.one.behaves
        if self.one.functions:
            self._hand_over(self.one.functions)
        elif behaves == "close":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif behaves.isdigit():
            self._answer(int(behaves), '{"error":"said by the platform","code":"0"}', is_marked=False)
        else:
            time.sleep(0.4 if behaves == "slow" else 0)
            status = 500 if behaves == "fails" else 200
            self._answer(status, f'{{"name":"{self.one.name}"}}', is_marked=True)

    do_GET = do_POST = do_PATCH = do_DELETE = do_OPTIONS = _do  # noqa: N815 - the names are the standard library's

    def _answer(self, status: int, body: str, *, is_marked: bool) -> None:
        self.send_response(status)
        marks = {"Cache-Control": "no-store", "X-Getsmart": "1"} if is_marked else {}
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **marks, **self.one.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())


@dataclass
class Gate:
    """A running gateway and what is behind it."""

    there: Environment
    spaces: dict[str, Space]
    log: Path

    @property
    def url(self) -> str:
        """Up to and with /v1."""
        return f"{self.there.public}/v1"

    @property
    def line(self) -> runtime.Runtime:
        """Its runtime socket."""
        return runtime.runtime_of(self.there)

    def call(self, method: str = "GET", path: str = "tokens/info", **more: Any) -> requests.Response:
        """A call on a connection of its own."""
        return requests.request(method, f"{self.url}/{path}", timeout=_SECONDS, **more)

    def asked(self) -> list[str]:
        """Who got a call since the last look, in no order of time between them."""
        names = [space.name for space in self.spaces.values() for _ in space.calls]
        for space in self.spaces.values():
            space.calls.clear()
        return names


@contextmanager
def gate(*, spaces: int = 2, **more: Any) -> Iterator[Gate]:
    """HAProxy before so many namespaces a colour; blue has all calls."""
    require_haproxy()
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="gate")))
        there = bluegreen.here(folder, free_port(), spaces=spaces, **more)
        behind = {}
        for server in there.servers():
            behind[server.name] = space = Space(server.name)
            space.start(server.space.port)
            ends.callback(lambda space=space: suppress_all(space.stop))
        generate.write({**generate.render(there, name="tests"), runtime.STATE: runtime.NO_STATE}, folder)
        log = folder / "log"
        generate.write_secrets({"blue": SECRET, "green": SECRET}, folder)
        environment = {"PATH": os.environ["PATH"]}
        with log.open("wb") as file:
            command = generate.command(folder)
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        ends.callback(process.wait, _SECONDS)
        ends.callback(process.terminate)
        wait_for(lambda: is_up(there), f"the gateway to start: {log.read_text()}")
        yield Gate(there, behind, log)


def suppress_all(stop: Any) -> None:
    """Stop what a test may have stopped itself."""
    with suppress(OSError):
        stop()


def is_up(there: Environment) -> bool:
    """Whether the gateway takes calls, and has checked every namespace."""
    try:
        ready = requests.get(f"http://{there.gateway.internal}/readyz", timeout=2).status_code == 200
        return ready and runtime.runtime_of(there).has_checked(server.name for server in there.servers())
    except (requests.RequestException, runtime.GatewayUnreachable):
        return False


def wait_for(condition: Any, what: str) -> None:
    """Poll until it holds; fail when it does not."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
