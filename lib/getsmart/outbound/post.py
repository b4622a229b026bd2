"""One delivery over the wire: the name resolved once, that very address called, the whole of it within its time.

The standard library's client, as functions start slower with another one, and since libraries against request forgery
are either not kept (advocate) or wrap a client that we do not ship (httpx): docs/adr/0021. Nothing is read from the
environment, redirects are answers like any other, and a body that drips counts as long as it drips.
"""

import http.client
import io
import queue
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, NamedTuple

from getsmart import clock
from getsmart.outbound.targets import Target, TargetRefused, is_allowed, parse

EXCERPT_BYTES = 1024
ANSWER_BYTES = 65_536  # head and body: what is longer is not read on
_CONNECT_SECONDS = 3.0
_LONGEST_WAIT = 24 * 3600.0


class AnswerTooLong(http.client.HTTPException):
    """More than ANSWER_BYTES came; clients read this name in the excerpt of a failed attempt."""


class Outcome(NamedTuple):
    """What came of one call: the status, None where none came; `wait_seconds` is what the receiver asked for."""

    http_status: int | None
    duration_ms: int
    excerpt: str
    wait_seconds: float = 0.0
    is_timeout: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the receiver took it."""
        return self.http_status is not None and 200 <= self.http_status < 300


class Line:
    """A way to one receiver, kept open from one delivery to the next; for one thread."""

    def __init__(self, url: str, *, may_be_private: bool) -> None:
        """Nothing is resolved or called yet."""
        self._url, self._may_be_private = url, may_be_private
        self._open: _Connection | None = None

    def post(self, headers: Mapping[str, str], body: bytes, *, seconds: float) -> Outcome:
        """Deliver, within `seconds` in all; never raises for what happens outside."""
        started, is_timeout = clock.monotonic(), False
        try:
            status, excerpt, wait = self._post(headers, body, started + seconds)
        except TargetRefused as error:
            status, excerpt, wait = None, f"refused: the URL {error}", 0.0
        except TimeoutError:
            status, excerpt, wait = None, f"no complete answer within {seconds:.2g} s", 0.0
            is_timeout = True
        except ssl.SSLCertVerificationError as error:
            status, excerpt, wait = None, f"TLS: {error.verify_message}", 0.0
        except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
            status, excerpt, wait = None, f"no answer: {type(error).__name__}", 0.0
        if status is None:
            self.close()
        return Outcome(status, round((clock.monotonic() - started) * 1000), excerpt, wait, is_timeout)

    def close(self) -> None:
        """Hang up."""
        if self._open is not None:
            self._open.hang_up()
            self._open = None

    def _post(self, headers: Mapping[str, str], body: bytes, end: float) -> tuple[int, str, float]:
        kept = self._open
        if kept is not None:
            try:
                return self._exchange(kept, headers, body, end)
            except (ConnectionError, http.client.BadStatusLine):
                self.close()  # it was closed while idle: once more, on a fresh one
        target = parse(self._url, may_be_private=self._may_be_private)
        self._open = _Connection(target, _dial(target, end, may_be_private=self._may_be_private))
        return self._exchange(self._open, headers, body, end)

    def _exchange(
        self, connection: "_Connection", headers: Mapping[str, str], body: bytes, end: float
    ) -> tuple[int, str, float]:
        response = connection.ask(headers, body, end)
        excerpt = _begin_of(response)
        if connection.is_closing or not response.isclosed():
            self.close()
        return response.status, _text(excerpt), _wait_seconds(response.headers.get("Retry-After", ""))


def _begin_of(response: http.client.HTTPResponse) -> bytes:
    """Up to a kilobyte of the body. The status has come and counts, so a body that is too long is not read on."""
    excerpt = b""
    with suppress(AnswerTooLong):
        excerpt = response.read(EXCERPT_BYTES)
        if not response.isclosed():
            response.read(1)  # the end of a chunked body
    return excerpt


class _Connection(http.client.HTTPConnection):
    """The library's connection over a socket that is there already, and that keeps to a deadline."""

    def __init__(self, target: Target, wire: socket.socket) -> None:
        super().__init__(target.host, target.port)
        self.default_port = 443 if target.is_tls else 80
        self._path, self._wire = target.path, _Wire(wire)
        self.sock: Any = self._wire
        self.is_closing = False

    def connect(self) -> None:
        raise ConnectionResetError("closed")  # never by itself: only what was checked is called

    def ask(self, headers: Mapping[str, str], body: bytes, end: float) -> http.client.HTTPResponse:
        self._wire.end = end
        self.request("POST", self._path, body, dict(headers))
        return self.getresponse()

    def close(self) -> None:
        """The library closes before the body is read; the socket stays until `hang_up`."""
        self.is_closing = True
        super().close()

    def hang_up(self) -> None:
        super().close()
        self._wire.hang_up()


class _Wire:
    """As much of a socket as the library uses; each wait ends at the deadline of the whole exchange."""

    def __init__(self, wire: socket.socket) -> None:
        self._socket, self.end = wire, 0.0

    def sendall(self, data: Any) -> None:
        self._socket.settimeout(_left(self.end))
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._socket, self.end))

    def close(self) -> None:
        """See _Connection.close."""

    def hang_up(self) -> None:
        self._socket.close()


class _Reader(io.RawIOBase):
    """What comes of one answer, and no more than ANSWER_BYTES.

    The library takes a head of megabytes, trailers without end, and a chunk of the length -1 as whatever will come.
    """

    def __init__(self, wire: socket.socket, end: float) -> None:
        self._socket, self._end, self._room = wire, end, ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._room <= 0:
            raise AnswerTooLong
        self._socket.settimeout(_left(self._end))
        count = self._socket.recv_into(buffer)
        self._room -= count
        return count


def _left(end: float) -> float:
    left = end - clock.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _dial(target: Target, end: float, *, may_be_private: bool) -> socket.socket:
    """A connection to an address of the target, each of which was checked. Raises TargetRefused, OSError."""
    found = _resolve(target.host, target.port, _left(end))
    if not found or not all(is_allowed(address, may_be_private=may_be_private) for _, address in found):
        raise TargetRefused("leads to an address that is not public")
    problem: OSError = ConnectionError()
    for family, address in sorted(found, key=lambda one: one[0] != socket.AF_INET):
        wire = socket.socket(family, socket.SOCK_STREAM)
        try:
            wire.settimeout(min(_CONNECT_SECONDS, _left(end)))
            wire.connect((address, target.port))
            wire.settimeout(_left(end))
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # head and body leave in two pieces
            return _tls().wrap_socket(wire, server_hostname=target.host) if target.is_tls else wire
        except OSError as error:
            wire.close()
            problem = error
    raise problem


def _resolve(host: str, port: int, seconds: float) -> list[tuple[int, str]]:
    """(family, address) of a name. The system's resolver keeps to no deadline, so it is asked in a thread of its own.

    Raises OSError.
    """
    answers: queue.SimpleQueue[list[Any] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(OSError(type(error).__name__))

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, OSError):
        raise answer
    return list(dict.fromkeys((family, str(place[0])) for family, _, _, _, place in answer))


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _text(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return "".join(sign if sign.isprintable() or sign in "\r\n\t" else "\ufffd" for sign in text)


def _wait_seconds(asked: str) -> float:
    """What a Retry-After says, in seconds or as a date; 0 for anything else."""
    if asked.isascii() and asked.isdigit():
        return min(float(asked[:9]), _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(asked)
    except (ValueError, OverflowError):  # the latter of a year, or an offset, of too many digits
        return 0.0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, min((aware - clock.now()).total_seconds(), _LONGEST_WAIT))
