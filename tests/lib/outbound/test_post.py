"""One delivery over a real socket: what counts as an answer, how long it may take, and where no byte may go."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from getsmart import clock
from getsmart.outbound import post
from getsmart.outbound.post import ANSWER_BYTES, EXCERPT_BYTES, Line, Outcome
from tests.lib.outbound.test_targets import FORBIDDEN_HOSTS
from tests.receiver import Receiver, receiving

PUBLIC = "93.184.215.14"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
Resolved = Callable[..., list[Any]]


def tell(url: str, *, seconds: float = 5.0, private: bool = True, body: bytes = b"{}") -> Outcome:
    """One delivery on a line of its own."""
    line = Line(url, may_be_private=private)
    try:
        return line.post({"Content-Type": "application/json"}, body, seconds=seconds)
    finally:
        line.close()


@contextmanager
def raw_receiver(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A receiver that says to each caller what `answer` writes, and hangs up; its URL."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                caller, _ = listening.accept()
                with caller, suppress(OSError):
                    caller.settimeout(5)
                    caller.recv(65_536)
                    answer(caller)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


@pytest.mark.parametrize(("status", "is_success"), [(200, True), (202, True), (204, True), (299, True), (304, False)])
def test_only_2xx_is_taken(receiver: Receiver, status: int, is_success: bool) -> None:
    """And what was sent arrived once, as it was."""
    receiver.status, receiver.reply = status, b"" if status in (204, 304) else b"thanks"
    outcome = tell(receiver.url, body=b'{"a": 1}')
    assert (outcome.http_status, outcome.is_success) == (status, is_success)
    assert outcome.excerpt == receiver.reply.decode()
    (got,) = receiver.got
    assert (got.path, got.body, got.headers["content-type"]) == ("/hook", b'{"a": 1}', "application/json")
    assert got.headers["host"] == receiver.url.split("/")[2]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_like_any_other(receiver: Receiver, status: int) -> None:
    """Nobody is called for it."""
    with receiving(status=status, extra={"Location": receiver.url}) as first:
        outcome = tell(first.url)
    assert (outcome.http_status, outcome.is_success) == (status, False)
    assert receiver.got == []


def test_a_kilobyte_of_the_answer_is_kept(receiver: Receiver) -> None:
    """Of one that has more; signs that no terminal should see are replaced, bytes that are no text too."""
    receiver.reply = b"\x1b[31m\x00\xff" + b"a" * 5_000_000
    outcome = tell(receiver.url)
    assert outcome.is_success
    assert outcome.excerpt == "\ufffd[31m\ufffd\ufffd" + "a" * (EXCERPT_BYTES - 7)


def test_nothing_of_the_environment_matters(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy stands between us and the address that was checked."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert tell(receiver.url).is_success


@pytest.mark.parametrize(
    "drip",
    [
        lambda wire: time.sleep(1),
        lambda wire: [wire.send(b"H") and time.sleep(0.1) for _ in range(300)],
        lambda wire: [wire.send(b"HTTP/1.1 200 OK\r\n") and time.sleep(0.1) for _ in range(300)],
        lambda wire: [wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"), time.sleep(1)],
        lambda wire: [wire.send(b"HTTP/1.1 100 Continue\r\n\r\n") and time.sleep(0.1) for _ in range(300)],
    ],
    ids=["silent", "a letter at a time", "headers without end", "a body that never comes", "continue without end"],
)
def test_the_time_is_for_the_whole_of_it(drip: Callable[[socket.socket], Any]) -> None:
    """Whatever a receiver trickles, the call ends when its time is up."""
    with raw_receiver(drip) as url:
        outcome = tell(url, seconds=0.4)
    assert (outcome.http_status, outcome.is_timeout) == (None, True)
    assert 300 <= outcome.duration_ms < 10_000
    assert "no complete answer" in outcome.excerpt


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"\xff" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + (b"a: " + b"b" * 65_000 + b"\r\n") * 9 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 4_000 + b"HTTP/1.1 200 OK\r\n\r\n",
        CHUNKED + b"-" + b"f" * 30 + b"\r\nok",
        CHUNKED + b"-2\r\nok",
    ],
    ids=[
        *("nothing", "no HTTP", "no status", "too many headers", "an endless line"),
        *("long headers", "continue at full speed", "a chunk of less than any number", "a chunk of less than nothing"),
    ],
)
def test_what_is_no_http_is_no_answer(said: bytes) -> None:
    """Told without a word of what was received."""

    def say(wire: socket.socket) -> None:
        wire.sendall(said)
        wire.shutdown(socket.SHUT_WR)
        while wire.recv(65_536):
            """Until the caller hangs up: a reset would take away what it has not read."""

    with raw_receiver(say) as url:
        outcome = tell(url, seconds=3)
    assert outcome.http_status is None
    assert outcome.excerpt.startswith("no answer: ")


@pytest.mark.parametrize(
    ("said", "excerpt"),
    [
        (CHUNKED + b"-1\r\n", ""),
        (CHUNKED + b"2\r\nok\r\n0\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "trailing: sp"),
        (b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", ""),
    ],
    ids=["a chunk without a length", "trailers without end", "a body without a length", "a refusal"],
)
def test_of_an_answer_without_end_little_is_read(said: bytes, excerpt: str) -> None:
    """Its status has arrived and counts, as with every long body; the rest stays where it is."""
    taken = 0

    def pour(wire: socket.socket) -> None:
        nonlocal taken
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        wire.sendall(said)
        while taken < 32_000_000:
            taken += wire.send(b"trailing: space\r\n" * 1_000)

    with raw_receiver(pour) as url:
        outcome = tell(url)
    assert (outcome.http_status, outcome.is_success) == (int(said[9:12]), said[9:12] == b"200")
    assert outcome.excerpt.startswith(excerpt)
    assert outcome.wait_seconds == (0.0 if outcome.is_success else 7.0)
    assert taken < 16_000_000  # what the system's buffers took


def test_nobody_there() -> None:
    """A refused connection is no answer, at once."""
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    outcome = tell(f"http://127.0.0.1:{port}/")
    assert (outcome.http_status, outcome.excerpt, outcome.is_timeout) == (
        None,
        "no answer: ConnectionRefusedError",
        False,
    )


def test_a_line_stays_open(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection for many deliveries; one that was closed while idle is opened again, and the delivery not lost."""
    dialled: list[str] = []
    dial = post._dial
    monkeypatch.setattr(
        post, "_dial", lambda target, *rest, **more: dialled.append(target.host) or dial(target, *rest, **more)
    )
    line = Line(receiver.url, may_be_private=True)
    assert [line.post({}, b"{}", seconds=5).http_status for _ in range(5)] == [200] * 5
    assert len(dialled) == 1
    receiver.extra = {"Connection": "close"}
    assert [line.post({}, b"{}", seconds=5).http_status for _ in range(3)] == [200] * 3
    assert (len(receiver.got), len(dialled)) == (8, 3)
    line.close()


def test_a_line_carries_any_number_of_short_answers(receiver: Receiver) -> None:
    """How much is read is counted for each answer, not for all that came over a connection."""
    receiver.reply = b"a" * EXCERPT_BYTES
    line = Line(receiver.url, may_be_private=True)
    assert {line.post({}, b"{}", seconds=5).http_status for _ in range(1 + ANSWER_BYTES // EXCERPT_BYTES)} == {200}
    line.close()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("99999999999", 86_400.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("1.5", 0.0),
        ("\u0661", 0.0),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 2026 00:00:00 +99999999999999999999", 0.0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 86_400.0),
    ],
)
def test_retry_after_in_seconds(receiver: Receiver, said: str, seconds: float) -> None:
    """What is asked for, a day at most; nonsense is nothing."""
    receiver.status, receiver.extra = 503, {"Retry-After": said.encode().decode("latin-1")}
    assert tell(receiver.url).wait_seconds == seconds


def test_retry_after_as_a_date(receiver: Receiver) -> None:
    """RFC 9110, 10.2.3: the other of the two forms; a moment that is past is now."""
    receiver.status, receiver.extra = (
        503,
        {"Retry-After": format_datetime(clock.now() + timedelta(seconds=90), usegmt=True)},
    )
    assert 85 <= tell(receiver.url).wait_seconds <= 90
    receiver.extra = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert tell(receiver.url).wait_seconds == 0.0


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    """TLS is verified, also in test mode; not a byte of the event is said before."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path))
    heard: list[bytes] = []

    def answer(wire: socket.socket) -> None:
        with context.wrap_socket(wire, server_side=True) as secured:
            heard.append(secured.recv(65_536))

    with tls_receiver(answer) as port:
        outcome = tell(f"https://127.0.0.1:{port}/")
    assert outcome.http_status is None
    assert outcome.excerpt.startswith("TLS: ")
    assert heard in ([], [b""])


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that it vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    places = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = made.add_extension(places, critical=False).sign(key, hashes.SHA256())
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


@contextmanager
def tls_receiver(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Like `raw_receiver`, but nothing is read before `answer`; its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        caller, _ = listening.accept()
        caller.settimeout(5)
        with caller, suppress(OSError):
            answer(caller)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        thread.join(5)
        listening.close()


class Trap:
    """Listens wherever this machine can be reached, on both ports that are allowed, and counts who comes."""

    def __init__(self) -> None:
        """Take the ports."""
        self.callers: list[Any] = []
        self._places = [self._listen(port) for port in (443, 8443)]

    def _listen(self, port: int) -> socket.socket:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))

    def caught(self) -> int:
        """How many connections were made to it until now."""
        for place in self._places:
            place.settimeout(0.05)
            with suppress(TimeoutError, BlockingIOError):
                while True:
                    caller, address = place.accept()
                    caller.close()
                    self.callers.append(address)
        return len(self.callers)

    def close(self) -> None:
        """Give the ports back."""
        for place in self._places:
            place.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    """Whoever connects to this machine falls into it."""
    try:
        made = Trap()
    except OSError as error:
        pytest.skip(f"needs ports 443 and 8443: {error}")
    yield made
    made.close()


def answers(*rounds: list[str]) -> tuple[Resolved, list[str]]:
    """A resolver that says these addresses, another list each time it is asked, and what it was asked."""
    asked: list[str] = []

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        said = rounds[min(len(asked), len(rounds) - 1)]
        asked.append(host)
        families = [socket.AF_INET6 if ":" in one else socket.AF_INET for one in said]
        return [(family, socket.SOCK_STREAM, 6, "", (one, port)) for family, one in zip(families, said, strict=True)]

    return resolve, asked


def test_the_trap_catches(trap: Trap) -> None:
    """It would see a connection, to either port."""
    for number, port in enumerate((443, 8443), 1):
        with socket.create_connection(("127.0.0.1", port)):
            assert trap.caught() == number


def test_no_forbidden_host_is_connected_to(trap: Trap, subtests: pytest.Subtests) -> None:
    """However it is written, whatever a resolver would make of it: refused, and nobody was called."""
    for host in FORBIDDEN_HOSTS:
        for port in (443, 8443):
            with subtests.test(f"{host}:{port}"):
                outcome = tell(f"https://{host}:{port}/", private=False)
                assert outcome.http_status is None
                assert outcome.excerpt.startswith("refused: the URL must"), outcome.excerpt
    assert trap.caught() == 0


@pytest.mark.parametrize(
    "said",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254"],
        ["10.0.0.1"],
        ["64:ff9b::7f00:1"],
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
        ["fe80::1%lo"],
        [],
    ],
)
def test_a_public_name_that_leads_inside(trap: Trap, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    """One forbidden address among those of a name is enough to refuse it."""
    resolve, asked = answers(said)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    outcome = tell("https://hooks.example.com:8443/", private=False)
    assert outcome.excerpt == "refused: the URL leads to an address that is not public"
    assert (asked, trap.caught()) == (["hooks.example.com"], 0)


def test_a_name_that_changes_between_check_and_connect(trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: it is asked for once, and what was checked is what is connected to."""
    resolve, asked = answers([PUBLIC], ["127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    connected: list[Any] = []

    class Watched(socket.socket):
        def connect(self, place: Any) -> None:
            connected.append(place)
            raise ConnectionRefusedError

    monkeypatch.setattr(post.socket, "socket", Watched)
    outcome = tell("https://hooks.example.com:8443/", private=False)
    assert outcome.excerpt == "no answer: ConnectionRefusedError"
    assert connected == [(PUBLIC, 8443)]
    assert (asked, trap.caught()) == (["hooks.example.com"], 0)


def test_a_name_that_changes_between_two_deliveries(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new connection is checked anew: what was this machine and is a metadata service is not called."""
    resolve, asked = answers(["127.0.0.1"], ["169.254.169.254"])
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    port = receiver.url.split(":")[2].split("/")[0]
    line = Line(f"http://hooks.test.example:{port}/hook", may_be_private=True)
    receiver.extra = {"Connection": "close"}
    assert line.post({}, b"{}", seconds=5).is_success
    assert line.post({}, b"{}", seconds=5).excerpt.startswith("refused: ")
    assert (len(asked), len(receiver.got)) == (2, 1)


def test_another_address_is_tried(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a name has several and the first is silent."""
    resolve, _ = answers(["127.0.0.2", "127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    port = receiver.url.split(":")[2].split("/")[0]
    assert tell(f"http://hooks.test.example:{port}/hook").is_success


def test_a_resolver_that_hangs_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up in time; a name that is not there is no answer."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(2))
    assert tell("https://hooks.example.com/", private=False, seconds=0.3).is_timeout
    monkeypatch.undo()

    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "secret resolver words")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert tell("https://hooks.example.com/", private=False).excerpt == "no answer: OSError"
