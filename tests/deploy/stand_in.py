"""A stand-in for the platform's API host and for DigitalOcean's API: keeps what a deployment sends, in memory."""

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

NAMESPACE = "fn-00000000-0000-4000-8000-000000000000"
AUTH = "00000000-0000-4000-8000-000000000001:made-up"
TOKEN = "dop_v1_made_up"  # pragma: allowlist secret
RUNTIMES = {"python": [{"kind": "python:3.9", "default": True}, {"kind": "python:3.11"}]}
_API = "https://api.digitalocean.com"
_BASIC = "Basic " + base64.b64encode(AUTH.encode()).decode()


@dataclass
class Uploads:
    """What arrived: packages and actions by name, triggers by name, and each call as `METHOD place`."""

    packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    actions: dict[str, dict[str, Any]] = field(default_factory=dict)
    triggers: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class ApiHost:
    """Serves on a free port of this machine while entered.

    It is the proxy for https too: the deployer has the address of DigitalOcean's API built in, and its HTTP client asks
    a plain proxy for such an address without a tunnel. So nothing of the deployer has to be changed to keep it here.
    """

    def __init__(self, namespace: str = NAMESPACE) -> None:
        """Not serving yet. It knows one namespace."""
        self.namespace = namespace
        self.uploads = Uploads()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method: str, target: str, authorization: str | None, content: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON of an answer; `target` is a path, or a whole URL when it was asked as a proxy."""
        with self._lock:
            if target.startswith(_API):
                place = target.removeprefix(_API)
                status, found = self._api(method, place, content) if authorization == f"Bearer {TOKEN}" else (401, {})
            else:
                place = urlsplit(target).path
                is_known = place == "/api/v1" or authorization == _BASIC
                status, found = self._host(method, place, content) if is_known else (401, {})
            self.uploads.calls.append(f"{method} {place}")
            if status not in {200, 404} or (method != "GET" and status == 404):
                self.uploads.refused.append(f"{status} {method} {target}")
            return status, found

    def _host(self, method: str, place: str, content: dict[str, Any]) -> tuple[int, Any]:
        """The API host: runtimes, namespaces, packages and actions."""
        if place == "/api/v1":
            return 200, {"runtimes": RUNTIMES}
        if place == "/api/v1/namespaces":
            return 200, [self.namespace]
        kind, _, name = place.removeprefix("/api/v1/namespaces/_/").partition("/")
        shelf = {"packages": self.uploads.packages, "actions": self.uploads.actions}.get(kind)
        if shelf is None:
            return 405, {}
        if method == "GET":
            return (200, shelf[name]) if name in shelf else (404, {"error": "The requested resource does not exist."})
        if method != "PUT":
            return 405, {}
        shelf[name] = {**content, "name": name.rpartition("/")[2], "namespace": self.namespace, "version": "0.0.1"}
        return 200, {**shelf[name], "exec": {}}

    def _api(self, method: str, place: str, content: dict[str, Any]) -> tuple[int, Any]:
        """DigitalOcean's API: triggers."""
        if (method, place) == ("POST", "/v2/functions/trigger"):
            self.uploads.triggers[content["name"]] = content
            return 200, {"trigger": content}
        if method == "DELETE" and place.startswith(f"/v2/functions/trigger/{self.namespace}/"):
            self.uploads.triggers.pop(place.rpartition("/")[2], None)
            return 200, {}
        return 405, {}


def _handler(host: ApiHost) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            authorization = self.headers.get("authorization")
            status, found = host.answer(self.command, self.path, authorization, json.loads(content or b"{}"))
            body = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - as http.server calls them

        def log_message(self, *_: object) -> None:
            """Nothing: the calls are kept."""

    return Handler
