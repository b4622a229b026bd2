"""Deliveries that are not genuine, by either scheme: refused alike, before anything is parsed, and nothing moves."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from getsmart import config
from getsmart.metakeep.signing import SigningKey
from getsmart.metakeep.webhook import STANDARD_TOLERANCE_SECONDS, TOLERANCE_MS
from tests.deliveries import HOST, PATH, body_of, delivery, standard_delivery
from tests.edge import dump
from tests.money import Bench
from tests.support import Answer, call, event

ROUTE = "webhooks/metakeep"
SENDER, SUCCESSOR, STRANGER = SigningKey(31), SigningKey(32), SigningKey(33)
SECRET, NEXT_SECRET, OTHER_SECRET = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2, 3))
Headers = dict[str, str]
_WHILE_IT_RUNS_MS = 60_000  # the clock goes on


@dataclass(frozen=True)
class Delivery:
    """What a sender, or a forger, posts; `is_base64` is how the platform hands the body on."""

    headers: Headers
    body: bytes
    is_base64: bool = False

    def send(self) -> Answer:
        """Post it."""
        text = base64.b64encode(self.body) if self.is_base64 else self.body
        return call(ROUTE, event("POST", body=text, headers=self.headers, is_base64=self.is_base64))


@dataclass(frozen=True)
class Scheme:
    """One way to sign: what is needed to sign rightly and wrongly."""

    name: str
    sign: Callable[..., Headers]
    id_header: str
    time_header: str
    signature_header: str
    window_ms: int
    unit_ms: int

    @property
    def needed(self) -> list[str]:
        """The headers without which nothing is genuine."""
        named = ["x-api-key"] if self.name == "p256" else []
        return [self.id_header, self.time_header, self.signature_header, *named]


P256 = Scheme(
    "p256",
    lambda body, at_ms, signer=SENDER, **more: delivery(signer, body, at_ms=at_ms, **more),
    *("idempotency-key", "x-timestamp", "x-api-signature"),
    TOLERANCE_MS,
    1,
)
STANDARD = Scheme(
    "standard",
    lambda body, at_ms, signer=SECRET, **more: standard_delivery(signer, body, at_ms=at_ms, **more),
    *("webhook-id", "webhook-timestamp", "webhook-signature"),
    STANDARD_TOLERANCE_SECONDS * 1_000,
    1_000,
)


@pytest.fixture(params=[P256, STANDARD], ids=lambda scheme: scheme.name)
def scheme(request: pytest.FixtureRequest, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Scheme:
    """The one that is configured."""
    chosen: Scheme = request.param
    monkeypatch.setenv("METAKEEP_WEBHOOK_SCHEME", chosen.name)
    monkeypatch.setenv("METAKEEP_WEBHOOK_SENDER_KEYS", f"{SENDER.public_key},{SUCCESSOR.public_key}")
    monkeypatch.setenv("METAKEEP_WEBHOOK_SECRETS", f"{SECRET}, {NEXT_SECRET}")
    monkeypatch.setenv("METAKEEP_WEBHOOK_HOST", HOST)
    monkeypatch.setenv("METAKEEP_WEBHOOK_PATH", PATH)
    config.forget()
    return chosen


@pytest.fixture
def mined(bench: Bench) -> Answer:
    """A mint that is on the chain and that nobody has looked at."""
    minted = bench.mint()
    bench.time.advance(5)
    return minted


def hint(bench: Bench, mined: Answer) -> bytes:
    """The event about it."""
    return body_of(bench.row(mined)["metakeep_transaction_id"])


def now_ms(bench: Bench) -> int:
    """The present of receiver and sender."""
    return int(bench.now().timestamp() * 1000)


def forgeries(scheme: Scheme, body: bytes, at: int) -> Iterator[tuple[str, Delivery]]:
    """Every kind of delivery that only looks genuine, by name."""
    good = scheme.sign(body, at)
    yield "no headers", Delivery({}, body)
    yield "headers of the other scheme", Delivery(_other(scheme).sign(body, at), body)
    for name in scheme.needed:
        yield from _header_forgeries(name, good, body)
    yield from _body_forgeries(scheme, good, body, at)
    yield from _time_forgeries(scheme, body, at)
    yield from (_p256_forgeries if scheme is P256 else _standard_forgeries)(good, body, at)


def _other(scheme: Scheme) -> Scheme:
    return STANDARD if scheme is P256 else P256


def _header_forgeries(name: str, good: Headers, body: bytes) -> Iterator[tuple[str, Delivery]]:
    value = good[name]
    yield f"{name} missing", Delivery({key: good[key] for key in good if key != name}, body)
    for what, other in (
        ("empty", ""),
        ("doubled with a comma", f"{value},{value}"),
        ("doubled with comma and space", f"{value}, {value}"),
        ("oversized", value + "A" * 20_000),
        ("not ASCII", value[:-1] + "\u00e9"),
        ("digits that are not ASCII", "\u0661\u0667\u0660"),
        ("a line break", value + "\n"),
        ("a NUL", value + "\x00"),
    ):
        yield f"{name}: {what}", Delivery({**good, name: other}, body)


def _body_forgeries(scheme: Scheme, good: Headers, body: bytes, at: int) -> Iterator[tuple[str, Delivery]]:
    again = json.dumps(json.loads(body), indent=1).encode()
    for what, other in (
        ("re-encoded", again),
        ("a space more", body + b" "),
        ("a line break more", body + b"\n"),
        ("a byte order mark", b"\xef\xbb\xbf" + body),
        ("truncated", body[:-1]),
        ("empty", b""),
        ("another event's", body_of("another-id")),
        ("its own base64", base64.b64encode(body)),
        ("huge", body + b" " * 700_000),
    ):
        for is_base64 in (False, True):
            yield f"body: {what}, base64 {is_base64}", Delivery(good, other, is_base64)
    other_body = body_of("another-id")
    yield (
        "signature of another event",
        Delivery({**good, scheme.signature_header: scheme.sign(other_body, at)[scheme.signature_header]}, body),
    )
    yield "id of another event", Delivery({**good, scheme.id_header: "event-2"}, body)
    yield "body and id of another event", Delivery({**good, scheme.id_header: "event-2"}, other_body)


def _time_forgeries(scheme: Scheme, body: bytes, at: int) -> Iterator[tuple[str, Delivery]]:
    for sign in (-1, 1):
        late = at + sign * (scheme.window_ms + _WHILE_IT_RUNS_MS)
        yield f"rightly signed, {sign} beyond the window", Delivery(scheme.sign(body, late), body)
        stated = str((at + sign * scheme.unit_ms) // scheme.unit_ms)
        yield f"another time stated, {sign}", Delivery({**scheme.sign(body, at), scheme.time_header: stated}, body)
    for what, value in (("negative", "-1"), ("fraction", "1.5"), ("exponent", "1e3"), ("year 300,000", "9" * 15)):
        yield f"time: {what}", Delivery({**scheme.sign(body, at), scheme.time_header: value}, body)


def _p256_forgeries(good: Headers, body: bytes, at: int) -> Iterator[tuple[str, Delivery]]:
    raw = base64.b64decode(good["x-api-signature"])
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    for what, signature in (
        ("DER", der),
        ("truncated", raw[:63]),
        ("all zero", bytes(64)),
        ("halves swapped", raw[32:] + raw[:32]),
        ("one bit", bytes([raw[0] ^ 1]) + raw[1:]),
    ):
        yield f"signature: {what}", Delivery({**good, "x-api-signature": base64.b64encode(signature).decode()}, body)
    yield (
        "signature in URL base64",
        Delivery({**good, "x-api-signature": base64.urlsafe_b64encode(b"\xff" * 64).decode()}, body),
    )
    yield "other host", Delivery(delivery(SENDER, body, at_ms=at, host="evil.example"), body)
    yield "other path", Delivery(delivery(SENDER, body, at_ms=at, path="/v1/webhooks/other"), body)
    yield "a stranger's key", Delivery(delivery(STRANGER, body, at_ms=at), body)
    yield (
        "a stranger's signature",
        Delivery({**delivery(STRANGER, body, at_ms=at), "x-api-key": SENDER.public_key}, body),
    )
    yield "another pinned key named", Delivery({**good, "x-api-key": SUCCESSOR.public_key}, body)


def _standard_forgeries(good: Headers, body: bytes, at: int) -> Iterator[tuple[str, Delivery]]:
    signature = good["webhook-signature"].removeprefix("v1,")
    raw = base64.b64decode(signature)
    for what, value in (
        ("another version", f"v1a,{signature}"),
        ("no version", signature),
        ("no comma", f"v1{signature}"),
        ("truncated", "v1," + base64.b64encode(raw[:31]).decode()),
        ("longer", "v1," + base64.b64encode(raw + b"x").decode()),
        ("one bit", "v1," + base64.b64encode(bytes([raw[0] ^ 1]) + raw[1:]).decode()),
        ("in hex", f"v1,{raw.hex()}"),
        ("eleven of them", " ".join(["v1,AAAA"] * 10 + [f"v1,{signature}"])),
        ("none that fits", "v1,AAAA v1,BBBB"),
        ("two spaces", f"v1,AAAA  v1,{signature}"),
    ):
        yield f"signature: {what}", Delivery({**good, "webhook-signature": value}, body)
    yield "another secret", Delivery(standard_delivery(OTHER_SECRET, body, at_ms=at), body)
    # The parts are signed with dots between them: this is what was signed, cut elsewhere.
    stolen = {**good, "webhook-id": good["webhook-id"].partition(".")[0]}
    signed = standard_delivery(SECRET, body, at_ms=at, event_id=f"event-1.{at // 1000}")
    yield "an id with a dot", Delivery({**stolen, **signed}, body)


def test_forgeries_are_refused_alike(scheme: Scheme, bench: Bench, mined: Answer, subtests: pytest.Subtests) -> None:
    """At least 50 kinds: one answer for all of them, nothing asked of MetaKeep, nothing written."""
    body, at, mark = hint(bench, mined), now_ms(bench), bench.mark()
    before = dump(bench.raw)
    kinds = list(forgeries(scheme, body, at))
    assert len(kinds) >= 50
    said = set()
    for what, forged in kinds:
        with subtests.test(what):
            answer = forged.send()
            assert (answer.status, answer.code) == (401, "signature_invalid"), answer.text
            error: dict[str, Any] = answer.json["error"]
            said.add(json.dumps({**error, "request_id": None}, sort_keys=True))
    assert len(said) == 1
    assert dump(bench.raw) == before
    assert bench.calls("/v2/app/transaction/status", mark) == []
    genuine = Delivery(scheme.sign(body, at), body, is_base64=True).send()
    assert (genuine.status, genuine.data["outcome"]) == (200, "applied")


def test_the_edges_of_the_window_are_inside(scheme: Scheme, bench: Bench, mined: Answer) -> None:
    """As far ahead as is allowed, and as old, but for the while that this runs."""
    body, at = hint(bench, mined), now_ms(bench) // scheme.unit_ms * scheme.unit_ms
    for skew in (10_000 - scheme.window_ms, scheme.window_ms):
        assert Delivery(scheme.sign(body, at + skew), body).send().status == 200


def test_a_replay_is_a_duplicate_within_the_window_and_a_forgery_after_it(
    scheme: Scheme, bench: Bench, mined: Answer
) -> None:
    """The very same bytes: one effect, however often and whenever they come."""
    body = hint(bench, mined)
    sent = Delivery(scheme.sign(body, now_ms(bench)), body)
    assert [sent.send().data["outcome"] for _ in range(3)] == ["applied", "duplicate", "duplicate"]
    bench.time.advance(scheme.window_ms / 1000 + 2)
    assert sent.send().code == "signature_invalid"
    again = Delivery(scheme.sign(body, now_ms(bench)), body).send()
    assert again.data["outcome"] == "duplicate", "the sender's own retry is signed afresh"
    bench.audit()


def test_thousands_of_forgeries_leave_the_receiver_at_work(scheme: Scheme, bench: Bench, mined: Answer) -> None:
    """2,000 of them, none a server error, and the genuine one after them is applied."""
    body, at = hint(bench, mined), now_ms(bench)
    good = scheme.sign(body, at)
    statuses = {Delivery({**good, scheme.id_header: f"event-{n}"}, body).send().status for n in range(2, 2_002)}
    assert statuses == {401}
    assert Delivery(good, body).send().data["outcome"] == "applied"


@pytest.mark.parametrize("scheme", [STANDARD], indirect=True, ids=["standard"])
def test_while_a_secret_changes_both_are_heard(scheme: Scheme, bench: Bench, mined: Answer) -> None:
    """Either secret signs; a header may carry signatures of several, of which one fits."""
    body, at = hint(bench, mined), now_ms(bench)
    for signer in (SECRET, NEXT_SECRET):
        assert Delivery(scheme.sign(body, at, signer=signer, event_id=f"by-{signer[-6:-1]}"), body).send().status == 200
    both = scheme.sign(body, at)
    both["webhook-signature"] = "v1a,ignored v1,AAAA " + both["webhook-signature"]
    assert Delivery(both, body).send().status == 200


def test_closed_is_closed(scheme: Scheme, bench: Bench, mined: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `none` a delivery that either scheme would take is refused as a forgery is; the tick settles the mint."""
    monkeypatch.setenv("METAKEEP_WEBHOOK_SCHEME", "none")
    config.forget()
    body = hint(bench, mined)
    refused = Delivery(scheme.sign(body, now_ms(bench)), body).send()
    assert (refused.status, refused.code) == (401, "signature_invalid")
    bench.settle()
    assert bench.row(mined)["status"] == "confirmed"
    bench.audit()


def test_a_genuine_delivery_that_failed_here_is_processed_when_it_comes_again(
    scheme: Scheme, bench: Bench, mined: Answer, pauses: list[float]
) -> None:
    """MetaKeep's status could not be read: 503, the event is not used up, and the retry is applied."""
    body = hint(bench, mined)
    bench.provider.fault("/v2/app/transaction/status", "500", times=3)
    failed = Delivery(scheme.sign(body, now_ms(bench)), body).send()
    assert (failed.status, failed.code) == (503, "provider_unavailable")
    assert Delivery(scheme.sign(body, now_ms(bench)), body).send().data["outcome"] == "applied"
    bench.audit()


@pytest.mark.parametrize("scheme", [STANDARD], indirect=True, ids=["standard"])
@pytest.mark.parametrize("value", ["", "whsec_", "whsec_c2hvcnQ=", "secret", f"{SECRET},x"])
def test_a_secret_that_is_none_is_ours_to_mend(
    scheme: Scheme, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    """503, so that the sender comes again; the log names the variable and never its value."""
    monkeypatch.setenv("METAKEEP_WEBHOOK_SECRETS", value)
    config.forget()
    answer = Delivery(STANDARD.sign(b"{}", 1_800_000_000_000), b"{}").send()
    assert (answer.status, answer.code) == (503, "misconfigured")
    printed = capsys.readouterr().out
    assert "METAKEEP_WEBHOOK_SECRETS" in printed
    assert SECRET not in printed
