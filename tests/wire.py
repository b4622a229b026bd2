"""A server of a few lines that answers raw bytes, for the failures that no well-behaved server can show."""

import socket
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

CUT = b""  # the connection closes instead of an answer
SILENT = None  # the connection stays open without an answer


def reply(status: int, body: bytes = b"{}", **headers: str) -> bytes:
    """A whole HTTP response."""
    lines = [f"HTTP/1.1 {status} Any", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Seen:
    """One request as it came: its head's lines, its body, and when."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Wire:
    """Answers the n-th connection with the n-th script entry; the last entry answers all further ones."""

    script: list[bytes | None]
    requests: list[Seen] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Listen on a free port."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and close what is open."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._open:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.requests.append(_read(connection))
            answer = self.script[min(len(self.requests), len(self.script)) - 1]
            if answer is SILENT:
                self._open.append(connection)
                continue
            connection.sendall(answer)
            connection.close()


def _read(connection: socket.socket) -> Seen:
    with connection.makefile("rb") as stream:
        line = stream.readline().decode().strip()
        headers: dict[str, str] = {}
        while field_line := stream.readline().decode().strip():
            name, _, value = field_line.partition(": ")
            headers[name.lower()] = value
        return Seen(line, headers, stream.read(int(headers.get("content-length", 0))))


def free_url() -> str:
    """A URL where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def wait_until(is_so: object, seconds: float = 10.0) -> None:
    """Poll the condition until it holds; AssertionError when it does not in time."""
    assert callable(is_so)
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)
