"""Everybody else: MetaKeep's sandbox, the chain's node and the receivers, called in this very thread.

Its own applications answer, behind boundaries, without sockets and without threads of their own, so that nothing
happens that the scheduler did not decide.
"""

import http.client
import io
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import MaxRetryError, NewConnectionError
from werkzeug.test import Client as WsgiClient

from getsmart import chain
from getsmart.outbound.post import Line
from local import rpc
from local.sandbox import faults, transactions
from local.sandbox.clock import Clock
from local.sandbox.endpoints import ENDPOINTS
from local.sandbox.faults import Holds
from local.sandbox.server import make_app
from local.sandbox.webhooks import Sender
from local.sandbox.world import Options, World
from tests.simulation.plan import Boundary, Fault
from tests.simulation.scheduler import Outage, Scheduler
from tests.simulation.wire import caller_of

BASE_URL, RPC_URL, HOOK_URL = "http://metakeep.test", "http://chain.test", "http://receiver.test"
Row = dict[str, Any]
_KEY_LIFE_SECONDS = 20 * 60.0
_CALL_SECONDS = 12.0  # that a call takes at the most, all its tries together
_GARBAGE = b"<html>bad gateway</html>"
_STATUS_WORDS = {400: "INVALID_REQUEST", 401: "UNAUTHORIZED", 429: "TOO_MANY_REQUESTS"}


class Provider(BaseAdapter):
    """MetaKeep as `requests` reaches it."""

    def __init__(self, scheduler: Scheduler, world: World) -> None:
        super().__init__()
        self._scheduler, self.world = scheduler, world
        self._app = WsgiClient(make_app(world, Holds(), {}))
        self.answers: list[tuple[str, Row]] = []  # to each key whatever it was answered, also before it was forgotten
        self._first_used: dict[str, float] = {}
        self._under_way: list[tuple[str, float]] = []  # key and beginning of each request that has no answer yet
        self.overlapping: set[str] = set()  # keys that were asked for while a call under them might still go on
        self._outage = Outage(scheduler)

    def begin(self) -> None:
        """A new run."""
        self._outage.end()
        self.answers.clear()
        self._first_used.clear()
        self._under_way.clear()
        self.overlapping.clear()

    def send(self, request: Any, stream: bool = False, timeout: Any = None, **_: Any) -> requests.Response:
        """One request over the wire that is not there. Raises what the library raises when a wire breaks."""
        key, at = request.headers.get("Idempotency-Key"), self._scheduler.elapsed
        if key is not None and any(one == key and at - begun < _CALL_SECONDS for one, begun in self._under_way):
            self.overlapping.add(key)
        self._under_way.append((str(key), at))
        try:
            return self._send(request, timeout)
        finally:
            self._under_way.remove((str(key), at))

    def _send(self, request: Any, timeout: Any) -> requests.Response:
        path = request.url.removeprefix(BASE_URL)
        boundary = Boundary("provider", path, caller_of(), "before")
        fault = self._outage.meet(self._scheduler.cross(boundary), "refuse")
        if fault is not None and fault.kind == "refuse":
            reason = NewConnectionError(None, "simulated")  # type: ignore[arg-type]
            raise requests.ConnectionError(MaxRetryError(None, path, reason))  # type: ignore[arg-type]
        if fault is not None and fault.kind == "status":
            return _response(request, int(fault.value), _status_body(int(fault.value)))
        if fault is not None and fault.kind == "fate" and ENDPOINTS[path].makes_transaction:
            with self.world.change():
                faults.order(self.world, path, str(fault.value), 1, {})
        status, headers, body = self._ask(request, path)
        sent_at, read_seconds = self._scheduler.elapsed, timeout[1]
        fault = self._outage.meet(self._scheduler.cross(boundary._replace(phase="after")), "lose")
        if fault is not None and fault.kind == "duplicate":
            self._ask(request, path)
        elif fault is not None:
            _break(fault)
            if fault.kind == "garbage":
                return _response(request, 200, _GARBAGE)
            return _response(request, int(fault.value), _status_body(int(fault.value)))
        if self._scheduler.elapsed - sent_at > read_seconds:
            raise requests.ReadTimeout("simulated")
        return _response(request, status, body, headers)

    def _ask(self, request: Any, path: str) -> tuple[int, dict[str, str], bytes]:
        with self._scheduler.aside():
            key = request.headers.get("Idempotency-Key")
            if key is not None:
                self._forget_if_old(key)
            answer = self._app.post(path, data=request.body, headers=dict(request.headers))
            body = answer.get_data()
            if key is not None and answer.status_code == 200:
                self.answers.append((key, json.loads(body)))
            return answer.status_code, dict(answer.headers), body

    def _forget_if_old(self, key: str) -> None:
        """MetaKeep documents no horizon for its keys: here it forgets them soon after the product's own has passed."""
        now = self._scheduler.elapsed
        if now - self._first_used.setdefault(key, now) > _KEY_LIFE_SECONDS:
            self._first_used[key] = now
            with self.world.change():
                self.world.store.run("DELETE FROM replies WHERE idempotency_key = ?", key)

    def close(self) -> None:
        """Nothing is open."""


def _break(fault: Fault) -> None:
    if fault.kind == "lose":
        raise requests.ReadTimeout("simulated") if fault.value == "timeout" else requests.ConnectionError("simulated")


def _status_body(status: int) -> bytes:
    return json.dumps({"status": _STATUS_WORDS.get(status, "SOMETHING_WENT_WRONG")}).encode()


def _response(request: Any, status: int, body: bytes, headers: dict[str, str] | None = None) -> requests.Response:
    made = requests.Response()
    made.status_code, made.request, made.url = status, request, request.url
    made.headers = CaseInsensitiveDict({**(headers or {}), **({"Retry-After": "1"} if status == 429 else {})})
    made.raw = io.BytesIO(body)
    return made


class Node:
    """The chain's node: stands where `chain._post` is."""

    def __init__(self, scheduler: Scheduler, world: World) -> None:
        self._scheduler, self._world = scheduler, world
        self.outage = Outage(scheduler)

    def post(self, url: str, body: bytes) -> bytes:
        """The body of the answer. Raises OSError or HTTPException as the library does."""
        asked = json.loads(body)
        method = asked[0]["method"] if isinstance(asked, list) else asked["method"]
        boundary = Boundary("chain", method, caller_of(), "before")
        if self.outage.meet(self._scheduler.cross(boundary), "refuse") is not None:
            raise ConnectionRefusedError("simulated")
        with self._scheduler.aside(), self._world.change():
            transactions.settle(self._world)
            answer = json.dumps(rpc.answer(self._open, body)).encode()
        fault = self._scheduler.cross(boundary._replace(phase="after"))
        if fault is None:
            return answer
        if fault.kind == "garbage":
            return _GARBAGE
        raise TimeoutError("simulated") if fault.value == "timeout" else http.client.RemoteDisconnected("simulated")

    def _open(self) -> Any:
        return _Same(self._world.chain)


@dataclass
class _Same:
    content: Any

    def __enter__(self) -> Any:
        return self.content

    def __exit__(self, *_: object) -> None:
        pass


@dataclass
class Receivers:
    """Who is told of events: each delivery that arrived, by endpoint URL, with the headers it came with."""

    scheduler: Scheduler
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answer: Callable[[str], int] = lambda _: 200

    def post(self, line: Line, headers: Any, body: bytes, end: float) -> tuple[int, str, float]:
        """Stands where `Line._post` is. Raises OSError as a socket does."""
        boundary = Boundary("webhook", "POST", caller_of(), "before")
        fault = self.scheduler.cross(boundary)
        if fault is not None and fault.kind == "refuse":
            raise ConnectionRefusedError("simulated")
        if fault is not None:
            return int(fault.value), "simulated", 0.0
        if self.scheduler.monotonic() >= end:
            raise TimeoutError
        self.got.append((line._url, dict(headers), body))
        status = self.answer(line._url)
        fault = self.scheduler.cross(boundary._replace(phase="after"))
        if fault is not None and fault.kind == "duplicate":
            self.got.append((line._url, dict(headers), body))
        elif fault is not None and fault.kind == "lose":
            raise TimeoutError if fault.value == "timeout" else ssl.SSLEOFError("simulated")
        elif fault is not None:
            status = int(fault.value)
        if self.scheduler.monotonic() >= end:
            raise TimeoutError
        return status, "ok", 0.0


class Sandbox:
    """MetaKeep and its chain, put back to one state between runs."""

    def __init__(self, folder: Any, scheduler: Scheduler) -> None:
        """`folder` holds its SQLite file."""
        self._scheduler = scheduler
        options = Options(data=folder, webhook_url=HOOK_URL + "/v1/webhooks/metakeep", webhook_host="localhost")
        self.world = World(options, Clock(lambda: int(scheduler.true_now().timestamp() * 1000)))
        self.provider, self.node = Provider(scheduler, self.world), Node(scheduler, self.world)
        self.sender = Sender(self.world)
        self._base: dict[str, list[tuple[Any, ...]]] = {}

    def keep(self) -> None:
        """What there is now is what `restore` goes back to."""
        names = [row["name"] for row in self.world.store.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        self._base = {name: [tuple(row) for row in self.world.store.rows(f"SELECT * FROM {name}")] for name in names}  # noqa: S608
        self._answers = list(self.provider.answers)

    def restore(self) -> None:
        """Back to what was kept."""
        store = self.world.store
        store._deferred.clear()
        with self.world.change():
            for name, rows in self._base.items():
                store.run(f"DELETE FROM {name}")  # noqa: S608
                for row in rows:
                    marks = ",".join("?" * len(row))
                    store.run(f"INSERT INTO {name} VALUES ({marks})", *row)  # noqa: S608
        self.world._rebuild()
        self.world.clock.offset_ms = 0
        self.provider.begin()
        self.node.outage.end()
        self.provider.answers.extend(self._answers)

    def settle(self) -> None:
        """Mine what is due."""
        with self._scheduler.aside(), self.world.change(flush=True):
            transactions.settle(self.world)

    def release(self) -> None:
        """Go on with what was stuck."""
        with self.world.change():
            transactions.release_stuck(self.world)

    def pending_consents(self) -> list[str]:
        """The tokens that persons are being asked with."""
        with self.world.change():
            rows = self.world.store.rows("SELECT token FROM consents WHERE state = 'pending' ORDER BY expires_ms")
        return [row["token"] for row in rows]

    def answer_consent(self, token: str, *, is_approved: bool) -> dict[str, Any]:
        """What a person does in the frame; empty when the time was over."""
        with self._scheduler.aside(), self.world.change():
            transactions.settle(self.world)
            try:
                return transactions.answer_consent(self.world, token, is_approved=is_approved)
            except transactions.ConsentRefused:
                return {}


def install(scheduler: Scheduler, sandbox: Sandbox, receivers: Receivers) -> None:
    """Put them where the product's ways out are; for the rest of the process."""
    chain._post = sandbox.node.post

    def post(line: Line, headers: Any, body: bytes, end: float) -> tuple[int, str, float]:
        return receivers.post(line, headers, body, end)

    Line._post = post  # type: ignore[method-assign]
