"""The container: every function of project.yml in each of several processes, until SIGTERM.

functions-framework's ASGI application under gunicorn (ADR 0031): gunicorn keeps the workers, each of which imports the
functions and connects to the database after its fork. HUP replaces the workers one by one, and SIGTERM ends them, both
once the requests under way are answered. `/livez` says that a worker answers, `/readyz` that its functions can, too.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, cast

import uvicorn
from functions_framework import aio
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from starlette.requests import Request
from starlette.responses import Response
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]

from ops.functions import ROOT, load
from serving.answer import TOO_LARGE, Answer, PlatformError, refusal
from serving.app import add_library
from serving.event import HttpRequest
from serving.gateway import REQUEST_BYTES, WEB_SECURE_HEADER, Function, Gateway

_SOURCE = Path(__file__).with_name("asynchronous.py")
_BODY_BYTES = 8 * 1_048_576  # the gateway answers for what is over the platform's limit; more is not even read
_GRACE_SECONDS = 35  # a function may take 30
_SILENT_SECONDS = 60  # a worker whose loop does not turn for so long is replaced
_DRAIN_SECONDS = 5.0  # a connection has so long to be used once more, and to be told that it ends
_DRAIN_POLL_SECONDS = 0.05
_KEEP_ALIVE_SECONDS = 75  # longer than the load balancers in front, so that they close first
_HEALTH = "/v1/ops/health"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application:
    """ASGI: the probes, and all else as it came to the gateway, in threads; the framework sees one path and method."""

    def __init__(
        self, functions: Iterable[Function], threads: int, *, web_secure: str | None = None, **options: Any
    ) -> None:
        """`threads` requests at a time; options are those of Gateway."""
        self.is_ending = False
        self._gateway = Gateway(functions, web_secure=web_secure, **options)
        self._own = [(WEB_SECURE_HEADER, web_secure)] if web_secure else []  # a probe comes without
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="call")
        self._framework = aio.create_asgi_app(target="handle", source=str(_SOURCE))  # type: ignore[no-untyped-call]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the server's start and end."""
        if scope["type"] == "http":  # in a copy: the server goes by its own
            asked = {"serving.application": self, "serving.asked": (scope["method"], scope["path"])}
            scope = {**scope, **asked, "method": "POST", "path": "/"}
        await self._framework(scope, receive, send)

    async def handle(self, request: Request) -> Response:
        """Answer a request that the framework handed over, and say so when its connection ends with it."""
        response = await self._handle(request)
        if self.is_ending:
            response.raw_headers.append((b"connection", b"close"))
        return response

    async def _handle(self, request: Request) -> Response:
        method, path = request.scope["serving.asked"]
        if path == "/livez":
            return Response("ok", 200)
        if path == "/readyz":
            answer = await self._answer(request, "GET", _HEALTH, b"", self._own)
            return Response("ok" if answer.status == 200 else "not ready", 200 if answer.status == 200 else 503)
        body = await _read(request)
        if body is None:
            error = PlatformError(413, TOO_LARGE.format(f"over {_BODY_BYTES}", REQUEST_BYTES))
            return _response(refusal(error, "0" * 32))
        return _response(await self._answer(request, method, path, body))

    async def _answer(
        self, request: Request, method: str, path: str, body: bytes, more: Sequence[tuple[str, str]] = ()
    ) -> Answer:
        given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        asked = HttpRequest(
            method=method,
            path=path,
            query=request.scope["query_string"].decode("latin-1"),
            headers=[*more, *given],
            body=body,
            remote_address=request.client.host if request.client else "",
            scheme=request.url.scheme,
        )
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._gateway.answer, asked)


async def _read(request: Request) -> bytes | None:
    """The body; None when there is more of it than anybody answers."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES:
            return None
    return bytes(body)


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    named = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    response.raw_headers = [*named, *(pair for pair in response.raw_headers if pair[0] == b"content-length")]
    return response


class _Server(uvicorn.Server):
    """Ends without cutting a caller off: a connection is closed with an answer, not under the next request."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Signal handler: take no new connections, and end once the others are gone, or time is up."""
        application = cast(Application, self.config.app)
        if not application.is_ending:
            application.is_ending = True
            asyncio.get_event_loop().call_soon_threadsafe(lambda: asyncio.ensure_future(self._drain(sig, frame)))

    async def _drain(self, sig: int, frame: FrameType | None) -> None:
        # Not closed yet: a connection that is being accepted when its server closes is reset.
        for listening in (one for server in self.servers for one in server.sockets):
            asyncio.get_running_loop().remove_reader(listening.fileno())
        deadline = time.monotonic() + _DRAIN_SECONDS
        while self.server_state.connections and time.monotonic() < deadline:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        super().handle_exit(sig, frame)


class Worker(UvicornWorker):  # type: ignore[misc]
    """gunicorn's worker with a server that drains."""

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = _Server(config=self.config)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


class Container(BaseApplication):  # type: ignore[misc]
    """gunicorn with this many workers on that address."""

    def __init__(self, *, host: str, port: int, workers: int, threads: int) -> None:
        self._settings = {
            "bind": [f"{host}:{port}"],
            "workers": workers,
            "worker_class": "serving.container.Worker",
            "timeout": _SILENT_SECONDS,
            "graceful_timeout": _GRACE_SECONDS,
            "keepalive": _KEEP_ALIVE_SECONDS,
            "forwarded_allow_ips": "",  # the gateway itself appends who called to X-Forwarded-For
            "loglevel": "warning",
            "when_ready": _announce,
        }
        self._threads = threads
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> Application:
        """Called by gunicorn in each worker, after the fork. Raises ProjectError."""
        add_library(ROOT)
        return Application(load(ROOT), self._threads, web_secure=os.environ.get("WEB_SECURE"))


def _announce(arbiter: Any) -> None:
    host, port = arbiter.LISTENERS[0].sock.getsockname()[:2]
    print(json.dumps({"gateway": f"http://{host}:{port}"}), flush=True)
