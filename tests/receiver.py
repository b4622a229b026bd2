"""A receiver of webhooks over a real socket, as a stranger would write one: it keeps what came, and answers as told."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook


@dataclass(frozen=True)
class Received:
    """One delivery as it arrived; `at` is monotonic."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def event(self) -> dict[str, Any]:
        """Its content."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    @property
    def sequence(self) -> int:
        """The event's number."""
        return int(self.event["sequence"])

    def verify(self, secret: str) -> dict[str, Any]:
        """Its content as the public library hands it out. Raises WebhookVerificationError."""
        verified: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return verified


@dataclass
class Receiver:
    """What came, and how to answer: `status`, `reply`, `extra` headers, after `wait` seconds; or as `answer` says."""

    status: int = 200
    reply: bytes = b"ok"
    extra: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    answer: Callable[[Received], int] | None = None
    got: list[Received] = field(default_factory=list)
    url: str = ""

    def take(self, received: Received) -> int:
        """Keep a delivery; the status to answer."""
        self.got.append(received)
        if self.wait:
            time.sleep(self.wait)
        return self.answer(received) if self.answer else self.status

    def hold_until(self, is_so: Callable[[], bool], status: int = 200) -> list[bool]:
        """Answer nothing until something has happened, 9 s at most (a call may take 10); whether it had, each time."""
        held: list[bool] = []

        def hold(_: Received) -> int:
            for _ in range(900):
                if is_so():
                    break
                time.sleep(0.01)
            held.append(is_so())
            return status

        self.answer = hold
        return held

    @property
    def sequences(self) -> list[int]:
        """The numbers of what came, in order of arrival."""
        return [one.sequence for one in self.got]

    @property
    def firsts(self) -> list[int]:
        """The same, each once."""
        return list(dict.fromkeys(self.sequences))

    @property
    def types(self) -> list[str]:
        """The types of what came."""
        return [one.event["type"] for one in self.got]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    receiver: Receiver

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is none."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        receiver = self.server.receiver  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = receiver.take(Received(self.path, headers, body, time.monotonic()))
        head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(receiver.reply)}"]
        head += [f"{name}: {value}" for name, value in receiver.extra.items()]
        self.wfile.write(("\r\n".join(head) + "\r\n\r\n").encode() + receiver.reply)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


@contextmanager
def receiving(**settings: Any) -> Iterator[Receiver]:
    """A receiver on a free port of this machine, until the end of the block."""
    receiver = Receiver(**settings)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.receiver = receiver
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
