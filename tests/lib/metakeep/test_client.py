"""Sending to MetaKeep: the sandbox for what a good server does, raw sockets for what a bad line does."""

import socket
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import tenacity.nap

from getsmart import clock, config
from getsmart.errors import DeadlineExceeded, Misconfigured
from getsmart.metakeep import again, client, protocol, signing
from getsmart.metakeep.protocol import ProviderOutage, ProviderRefusal, ProviderRequest
from tests.support import Provider, unique
from tests.wire import CUT, SILENT, Wire, free_url, reply

KEY = signing.SigningKey(1234567)
SECRET = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAS1oc"  # pragma: allowlist secret
HOST = "signed.example"
ORDER = ProviderRequest("/v2/app/coin/mint", '{"to":{"email":"zoë@example.com"}}'.encode(), "order-1")
GOOD = reply(200, b'{"status":"QUEUED"}')


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Point the client at a URL."""

    def to(url: str) -> None:
        monkeypatch.setenv("METAKEEP_BASE_URL", url)
        monkeypatch.setenv("METAKEEP_SIGNING_HOST", HOST)
        monkeypatch.setenv("METAKEEP_API_KEY", KEY.public_key)
        monkeypatch.setenv("METAKEEP_API_SECRET", SECRET)
        config.forget()

    yield to
    config.forget()


def outage(seconds: float = 12.0, request: ProviderRequest = ORDER) -> ProviderOutage:
    """Call and expect a passing failure."""
    with pytest.raises(ProviderOutage) as caught:
        client.call(request, seconds=seconds)
    return caught.value


def test_signed_bytes_are_sent_bytes(configured: Any) -> None:
    """What arrives on the wire is exactly what the signature covers, header by header."""
    with Wire([GOOD]) as wire:
        configured(wire.url)
        assert client.call(ORDER, seconds=5) == {"status": "QUEUED"}
    (seen,) = wire.requests
    assert (seen.line, seen.body) == ("POST /v2/app/coin/mint HTTP/1.1", ORDER.body)
    assert seen.headers["idempotency-key"] == "order-1"
    assert seen.headers["x-api-key"] == KEY.public_key
    assert (seen.headers["content-type"], seen.headers["accept"]) == ("application/json", "application/json")
    assert "authorization" not in seen.headers
    text = signing.string_to_sign(
        host=HOST,
        method="POST",
        path="/v2/app/coin/mint",
        timestamp=seen.headers["x-timestamp"],
        body=seen.body,
        idempotency_key="order-1",
    )
    signing.verify(KEY.public_key, text, seen.headers["x-api-signature"])


def test_a_read_has_no_idempotency_line(configured: Any) -> None:
    """Neither as a header nor in the signed string."""
    with Wire([GOOD]) as wire:
        configured(wire.url)
        client.call(protocol.get_status("id"), seconds=5)
    (seen,) = wire.requests
    assert "idempotency-key" not in seen.headers
    text = signing.string_to_sign(
        host=HOST,
        method="POST",
        path=protocol.STATUS_PATH,
        timestamp=seen.headers["x-timestamp"],
        body=seen.body,
        idempotency_key=None,
    )
    signing.verify(KEY.public_key, text, seen.headers["x-api-signature"])


@pytest.mark.parametrize("trouble", [reply(503), reply(500), reply(429), CUT, b"garbage\r\n\r\n"])
def test_a_retry_is_the_same_request_signed_afresh(configured: Any, pauses: list[float], trouble: bytes) -> None:
    """Same key and bytes; new timestamp, new signature; a pause in between."""
    moments = count(1_800_000_000)
    clock.set_clock(lambda: datetime.fromtimestamp(next(moments), UTC))
    try:
        with Wire([trouble, trouble, GOOD]) as wire:
            configured(wire.url)
            assert client.call(ORDER, seconds=12) == {"status": "QUEUED"}
    finally:
        clock.set_clock(None)
    assert len(wire.requests) == 3
    assert {(seen.body, seen.headers["idempotency-key"]) for seen in wire.requests} == {(ORDER.body, "order-1")}
    assert len({seen.headers["x-timestamp"] for seen in wire.requests}) == 3
    assert len({seen.headers["x-api-signature"] for seen in wire.requests}) == 3
    assert len(pauses) == 2


def test_tries_are_three_at_most(configured: Any, pauses: list[float]) -> None:
    """Then the failure is the caller's to keep."""
    with Wire([reply(503)]) as wire:
        configured(wire.url)
        assert outage().is_ambiguous
    assert len(wire.requests) == 3
    assert all(pause <= again.LONGEST_WAIT_SECONDS for pause in pauses)


def test_retry_after_is_honoured(configured: Any, pauses: list[float]) -> None:
    """The provider's own word is the shortest pause."""
    with Wire([reply(429, Retry_After="4"), GOOD]) as wire:
        configured(wire.url)
        client.call(ORDER, seconds=12)
    assert len(wire.requests) == 2
    assert pauses[0] >= 4


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(configured: Any, pauses: list[float]) -> None:
    """The call ends at once, and tells how long it was asked to wait."""
    with Wire([reply(429, Retry_After="30")]) as wire:
        configured(wire.url)
        error = outage(12)
    assert (len(wire.requests), pauses) == (1, [])
    assert (error.is_ambiguous, error.wait_seconds) == (False, 30)


def test_no_try_begins_after_the_deadline(configured: Any, pauses: list[float]) -> None:
    """Time that is too short for another try ends the call."""
    with Wire([reply(503)]) as wire:
        configured(wire.url)
        outage(0.9)
    assert (len(wire.requests), pauses) == (1, [])


@pytest.mark.parametrize("which", ["now", "monotonic"])
def test_who_wakes_in_a_pause_asks_no_more(configured: Any, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    """Frozen between two tries, whichever clock went on meanwhile: the second is not signed, and is in no doubt."""
    slept: list[float] = []
    real, hour = getattr(clock, which), {"now": timedelta(hours=1), "monotonic": 3600.0}[which]
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=slept.append))
    monkeypatch.setattr(clock, which, lambda: real() + hour if slept else real())
    with Wire([reply(429), GOOD]) as wire:
        configured(wire.url)
        assert not outage(12).is_ambiguous
    assert (len(wire.requests), len(slept)) == (1, 1) if which == "monotonic" else (1, 2)


def test_the_time_runs_from_where_it_was_begun(configured: Any) -> None:
    """Who was frozen since then, by either clock, sends nothing at all."""
    long_ago = (clock.now() - timedelta(seconds=12), clock.monotonic() - 12)
    with Wire([GOOD]) as wire:
        configured(wire.url)
        for begun in (clock.begin()._replace(at=long_ago[0]), clock.begin()._replace(ticks=long_ago[1])):
            with pytest.raises(DeadlineExceeded):
                client.call(ORDER, seconds=12, begun=begun)
    assert wire.requests == []


@pytest.mark.parametrize(
    ("script", "is_ambiguous"),
    [
        ([reply(429), reply(401), reply(403)], False),
        ([reply(429), reply(500), reply(429)], True),
        ([CUT, reply(429), reply(429)], True),
        ([reply(200, b"not json")], True),
        ([reply(200)[:-1]], True),  # the body breaks off
        ([b"HTTP/1.1 200 Any\r\nContent-Length: 5"], True),
    ],
)
def test_doubt_in_any_try_is_remembered(
    configured: Any, pauses: list[float], script: list[bytes | None], is_ambiguous: bool
) -> None:
    """One try that may have taken effect makes the whole call ambiguous, whatever the last one said."""
    with Wire(script) as wire:
        configured(wire.url)
        assert outage().is_ambiguous == is_ambiguous
    assert len(wire.requests) == 3


def test_a_refusal_is_not_tried_again(configured: Any, pauses: list[float]) -> None:
    """4xx is for good, and certain where nothing came before it."""
    with Wire([reply(400, b'{"status":"INVALID_REQUEST"}')]) as wire:
        configured(wire.url)
        with pytest.raises(ProviderRefusal) as caught:
            client.call(ORDER, seconds=12)
    assert (len(wire.requests), caught.value.is_ambiguous) == (1, False)


def test_a_refusal_after_doubt_is_ambiguous(configured: Any, pauses: list[float]) -> None:
    """The lost try may have been accepted."""
    with Wire([CUT, reply(400)]) as wire:
        configured(wire.url)
        with pytest.raises(ProviderRefusal) as caught:
            client.call(ORDER, seconds=12)
    assert (len(wire.requests), caught.value.is_ambiguous) == (2, True)


def test_redirects_are_refused(configured: Any, pauses: list[float]) -> None:
    """A signed request goes nowhere but where the configuration says."""
    with Wire([GOOD]) as other, Wire([reply(307, Location=other.url)]) as wire:
        configured(wire.url)
        assert outage().is_ambiguous
        assert other.requests == []


def test_no_answer_in_time_is_ambiguous(configured: Any, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The request left; what became of it is not known."""
    monkeypatch.setattr(client, "READ_SECONDS", 0.5)
    with Wire([SILENT, SILENT, GOOD]) as wire:
        configured(wire.url)
        assert client.call(ORDER, seconds=12) == {"status": "QUEUED"}
    with Wire([SILENT]) as wire:
        configured(wire.url)
        assert outage().is_ambiguous


def test_a_refused_connection_is_certain(configured: Any, pauses: list[float]) -> None:
    """Where nobody listens no byte of ours left, so nothing can have happened."""
    configured(free_url())
    error = outage()
    assert not error.is_ambiguous
    assert len(pauses) == 2


def test_an_unknown_host_is_certain(configured: Any, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve is as good as nobody listening."""

    def resolve(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    configured("http://nowhere.invalid")
    assert not outage().is_ambiguous


def test_no_connection_in_time_is_certain(
    configured: Any, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is not accepted in time carried nothing."""
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = []
        for _ in range(3):  # fill the queue of connections that nobody accepts
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(address)
            waiting.append(one)
        configured(f"http://127.0.0.1:{address[1]}")
        assert not outage().is_ambiguous
        for one in waiting:
            one.close()


def test_proxies_of_the_environment_are_not_used(configured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed requests pass no stranger."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, free_url())
    with Wire([GOOD]) as wire:
        configured(wire.url)
        client.call(ORDER, seconds=5)
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("secret", "says"),
    [("A" * 43, "is not a MetaKeep secret"), ("B" * 43, "does not belong"), ("?" * 43, "is not a MetaKeep secret")],
)
def test_a_wrong_pair_of_keys_is_noticed(
    configured: Any, monkeypatch: pytest.MonkeyPatch, secret: str, says: str
) -> None:
    """Misconfigured names the variable; nothing is sent."""
    with Wire([GOOD]) as wire:
        configured(wire.url)
        monkeypatch.setenv("METAKEEP_API_SECRET", secret)
        config.forget()
        with pytest.raises(Misconfigured, match=f"METAKEEP_API_SECRET {says}") as caught:
            client.call(ORDER, seconds=5)
        with pytest.raises(Misconfigured):
            client.signers()
    assert secret not in str(caught.value)
    assert wire.requests == []


def test_a_missing_variable_is_named(configured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log learns which one."""
    configured("http://127.0.0.1:1")
    monkeypatch.delenv("METAKEEP_API_KEY")
    config.forget()
    with pytest.raises(Misconfigured, match="METAKEEP_API_KEY"):
        client.signers()


def test_the_sandbox_accepts_what_we_sign(system: Any, provider: Provider) -> None:
    """The stand-in verifies every signature as MetaKeep would, idempotency key and body included."""
    wallet = client.call(protocol.get_developer_wallet(), seconds=5)
    assert protocol.read_wallet(wallet) == config.read(config.TokenSettings).treasury_address
    email = f"{unique('zoë')}@example.com"
    path, body = protocol.mint(config.read(config.TokenSettings).contract_address, email, 1)
    order = ProviderRequest(path, body, unique("order"))
    first = client.call(order, seconds=5)
    assert client.call(order, seconds=5) == first


@pytest.mark.parametrize("kind", ["500", "429", "reply_lost"])
def test_a_passing_fault_of_the_sandbox_is_one_effect(
    system: Any, provider: Provider, pauses: list[float], kind: str
) -> None:
    """Two faults in a row and a third try: the same transaction id as ever."""
    path, body = protocol.mint(config.read(config.TokenSettings).contract_address, f"{unique('l')}@example.com", 1)
    order = ProviderRequest(path, body, unique("order"))
    provider.fault(path, kind, times=2)
    first = protocol.read_submission(client.call(order, seconds=12))
    assert protocol.read_submission(client.call(order, seconds=12)) == first
    assert len(pauses) == 2
    keyed = [seen for seen in provider.read("requests")["requests"] if seen["idempotencyKey"] == order.idempotency_key]
    assert len(keyed) == 4


def test_a_signature_of_another_key_is_not_processed(
    system: Any, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    """Wrong credentials pass once they are mended: an outage, and certain."""
    monkeypatch.setenv("METAKEEP_API_KEY", KEY.public_key)
    monkeypatch.setenv("METAKEEP_API_SECRET", SECRET)
    config.forget()
    assert not outage().is_ambiguous
