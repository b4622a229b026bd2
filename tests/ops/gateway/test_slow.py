"""Callers who send slowly, or never say how much: the others are answered all the same."""

import socket
import threading
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from tests.gateway import Gate, gate, wait_for

pytestmark = pytest.mark.timeout(120)

LARGE = 700_000
PLACES = 4  # of a namespace
SLOW, OTHER, THIRD = "198.51.100.7", "198.51.100.8", "198.51.100.9"
END = b"\r\n\r\n"


def small(**limits: int) -> Any:
    """A gateway before one namespace with few places, which believes what a caller says of its address."""
    given = {"concurrent_per_namespace": PLACES, "concurrent_uploads": 3, **limits}
    return gate(spaces=1, limits=given, caller={"proxies": 1})


class Slow:
    """A call with a large body, of which so much is sent."""

    def __init__(self, running: Gate, ends: ExitStack, address: str, *, sent: int = 100_000) -> None:
        host, port = running.there.gateway.bind.split(":")
        self.line = ends.enter_context(socket.create_connection((host, int(port)), 20))
        head = f"POST /v1/tokens/airdrop HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\nContent-Length: {LARGE}"
        self.line.sendall(head.encode() + END + b"x" * sent)
        self._left = LARGE - sent

    def finish(self) -> None:
        """Send the rest."""
        self.line.sendall(b"x" * self._left)

    def answer(self) -> str:
        """The status and all else of the answer, as far as it comes in one piece."""
        return self.line.recv(65_536).decode().removeprefix("HTTP/1.1 ")


def held(running: Gate) -> int:
    """How many calls hold a place of the namespace."""
    (line,) = [one for one in running.line.ask("show stat").splitlines() if one.startswith("api,blue-1,")]
    return int(line.split(",")[4])


def call(running: Gate, address: str, method: str = "GET", path: str = "tokens/info", **more: Any) -> requests.Response:
    """A whole call."""
    return running.call(method, path, headers={"X-Forwarded-For": address}, **more)


def test_slow_callers_of_one_address_keep_nobody_from_being_answered() -> None:
    """What an address has at a time is limited, 429 beyond; others get answers to calls of any size meanwhile."""
    with small(concurrent_per_address=2) as running, ExitStack() as ends:
        slow = [Slow(running, ends, SLOW) for _ in range(2)]
        wait_for(lambda: held(running) == 2, "both to hold a place")
        late = [Slow(running, ends, SLOW) for _ in range(PLACES)]
        assert call(running, OTHER).status_code == 200
        assert call(running, OTHER, "POST", "tokens/airdrop", data=b"x" * LARGE).status_code == 200
        assert call(running, SLOW).status_code == 429
        for answer in (one.answer() for one in late):
            assert answer.startswith("429 ")
            assert "rate_limited" in answer
        for one in slow:
            one.finish()
            assert one.answer().startswith("200 ")
        wait_for(lambda: held(running) == 0, "the places to be free")
        assert call(running, SLOW).status_code == 200


def test_slow_callers_of_many_addresses_hold_a_part_of_the_places() -> None:
    """The rest is for whole calls: they are answered, while one more large body is 503 until another has ended."""
    with small(concurrent_uploads=2) as running, ExitStack() as ends:
        first, _ = Slow(running, ends, SLOW), Slow(running, ends, OTHER)
        wait_for(lambda: held(running) == 2, "both to hold a place")
        refused = Slow(running, ends, THIRD).answer()
        assert refused.startswith("503 ")
        assert "unavailable" in refused
        assert "retry-after: 2" in refused.lower()
        for address in (SLOW, OTHER, THIRD):
            assert call(running, address).status_code == 200
            assert call(running, address, "POST", "tokens/mint", data=b"x" * 20_000).status_code == 200
        first.finish()
        assert first.answer().startswith("200 ")
        wait_for(lambda: held(running) == 1, "a place to be free")
        assert call(running, THIRD, "POST", "tokens/airdrop", data=b"x" * LARGE).status_code == 200


def test_a_body_that_fits_into_a_buffer_holds_no_place_while_it_comes() -> None:
    """Its namespace is chosen when all of it is here."""
    with small() as running, ExitStack() as ends:
        host, port = running.there.gateway.bind.split(":")
        line = ends.enter_context(socket.create_connection((host, int(port)), 20))
        line.sendall(b"POST /v1/tokens/mint HTTP/1.1\r\nHost: x\r\nContent-Length: 9" + END)
        assert call(running, OTHER).status_code == 200
        assert held(running) == 0
        running.asked()
        line.sendall(b"x" * 9)
        assert line.recv(4_096).startswith(b"HTTP/1.1 200 ")
        assert running.asked() == ["blue-1"]


@pytest.mark.parametrize("body", [b"3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n"], ids=["ended", "endless"])
def test_a_body_that_does_not_say_how_large_it_is_is_refused(body: bytes) -> None:
    """413 at once, however small it may be, and no function hears of it."""
    with small() as running, ExitStack() as ends:
        host, port = running.there.gateway.bind.split(":")
        line = ends.enter_context(socket.create_connection((host, int(port)), 20))
        line.sendall(b"POST /v1/tokens/mint HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked" + END + body)
        answer = line.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"too_large" in answer
        assert running.asked() == []


def test_the_same_in_http_2() -> None:
    """There a body ends with its stream, and may come without a length."""
    with small() as running, ExitStack() as ends:
        line = http_2(running, ends, "tokens/mint", {})
        line.sendall(frame(0, 1, 1, b"{}"))
        answer = b""
        while b"too_large" not in answer and (piece := line.recv(65_536)):
            answer += piece
        assert b"too_large" in answer
        assert running.asked() == []


def test_a_slow_body_in_http_2_counts_as_well() -> None:
    """A stream is a call."""
    with small(concurrent_uploads=1) as running, ExitStack() as ends:
        line = http_2(running, ends, "tokens/airdrop", {"content-length": str(LARGE)})
        for _ in range(3):
            line.sendall(frame(0, 0, 1, b"x" * 16_384))
        wait_for(lambda: held(running) == 1, "it to hold a place")
        assert Slow(running, ends, OTHER).answer().startswith("503 ")


def http_2(running: Gate, ends: ExitStack, path: str, more: dict[str, str]) -> socket.socket:
    """A connection on which a POST has begun, and no byte of its body is sent."""
    host, port = running.there.gateway.bind.split(":")
    line = ends.enter_context(socket.create_connection((host, int(port)), 20))
    fields = {":method": "POST", ":scheme": "http", ":authority": "x", ":path": f"/v1/{path}", **more}
    begun = frame(1, 4, 1, b"".join(map(literal, fields, fields.values())))
    line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + begun)
    return line


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """A frame of HTTP/2."""
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def literal(name: str, value: str) -> bytes:
    """A header field of HTTP/2 that refers to no table."""
    return b"\x10" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


def test_many_calls_at_a_time_of_one_address_are_served_one_after_another() -> None:
    """The limit is of the moment: what has been answered does not count."""
    with small(concurrent_per_address=2) as running:
        statuses: list[int] = []

        def ask() -> None:
            statuses.extend(call(running, SLOW).status_code for _ in range(10))

        callers = [threading.Thread(target=ask) for _ in range(2)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert statuses == [200] * 20
