"""A delivery is only a hint: verified, applied once, and never believed without asking MetaKeep itself."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from getsmart import config
from getsmart.errors import (
    InvalidJson,
    ProviderUnavailable,
    SenderUnknown,
    SignatureExpired,
    SignatureMalformed,
    SignatureMismatch,
)
from getsmart.metakeep.signing import SigningKey
from getsmart.services import inbound, tick
from tests.crashes import Crashes
from tests.deliveries import HOST, PATH, body_of, delivery
from tests.money import MINT_PATH, STATUS_PATH, Bench
from tests.support import Answer, call, event, unique

SENDER, SUCCESSOR, STRANGER = SigningKey(21), SigningKey(22), SigningKey(23)
Deliver = Callable[..., str]


@pytest.fixture(autouse=True)
def _configured(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAKEEP_WEBHOOK_SENDER_KEYS", f"{SENDER.public_key}, {SUCCESSOR.public_key}")
    monkeypatch.setenv("METAKEEP_WEBHOOK_HOST", HOST)
    monkeypatch.setenv("METAKEEP_WEBHOOK_PATH", PATH)
    config.forget()


@pytest.fixture
def mined(bench: Bench) -> Answer:
    """A mint that is on the chain and that nobody has looked at."""
    minted = bench.mint()
    bench.time.advance(5)
    return minted


def deliver(bench: Bench, body: bytes, *, key: SigningKey = SENDER, event_id: str | None = None) -> str:
    """Send a delivery that is signed now; returns what became of it."""
    at_ms = int(bench.now().timestamp() * 1000)
    event_id = event_id or unique("event")
    received = inbound.receive(delivery(key, body, at_ms=at_ms, event_id=event_id), body)
    assert received["event_id"] == event_id
    return received["outcome"]


def hint(bench: Bench, of: Answer, **content: str) -> bytes:
    """An event about a transaction."""
    return body_of(bench.row(of)["metakeep_transaction_id"], **content)


@pytest.mark.parametrize("key", [SENDER, SUCCESSOR])
def test_a_genuine_delivery_confirms_after_the_status_was_read(bench: Bench, mined: Answer, key: SigningKey) -> None:
    """One call to the status endpoint, and only then the state moves."""
    mark = bench.mark()
    assert deliver(bench, hint(bench, mined), key=key) == "applied"
    assert len(bench.calls(STATUS_PATH, mark)) == 1
    assert bench.status(mined) == "confirmed"
    bench.audit()


def test_a_lie_in_a_genuine_delivery_moves_nothing(bench: Bench, mined: Answer) -> None:
    """It says FAILED; MetaKeep says COMPLETED, and is believed."""
    assert deliver(bench, hint(bench, mined, status="FAILED", event_type="transaction.failed")) == "applied"
    assert bench.status(mined) == "confirmed"


def test_an_early_delivery_is_pending(bench: Bench) -> None:
    """It says COMPLETED, the status still says QUEUED: nothing moves, the event is not used up."""
    bench.time.stand()
    minted = bench.mint()
    body = hint(bench, minted)
    assert deliver(bench, body, event_id="early") == "pending"
    assert bench.status(minted) == "submitted"
    bench.time.advance(5)
    assert deliver(bench, body, event_id="early") == "applied"
    assert deliver(bench, body, event_id="early") == "duplicate"
    bench.audit()


def test_a_replay_is_a_duplicate_without_effect(bench: Bench, mined: Answer) -> None:
    """Not even the status is asked for."""
    body = hint(bench, mined)
    deliver(bench, body, event_id="once")
    mark = bench.mark()
    version = bench.row(mined)["version"]
    assert deliver(bench, body, event_id="once") == "duplicate"
    assert bench.calls(STATUS_PATH, mark) == []
    assert bench.row(mined)["version"] == version
    assert bench.logs() == 1
    bench.audit()


def test_another_event_about_a_final_row_changes_nothing(bench: Bench, mined: Answer) -> None:
    """The tick was faster, or the sender repeats itself under another id."""
    tick.run()
    mark = bench.mark()
    version = bench.row(mined)["version"]
    assert deliver(bench, hint(bench, mined)) == "applied"
    assert (bench.calls(STATUS_PATH, mark), bench.row(mined)["version"]) == ([], version)


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_delivery_about_a_failure_ends_the_row_too(bench: Bench, end: str) -> None:
    """Reserve back once, however often it is delivered."""
    before = bench.available("supply")
    bench.provider.fault(MINT_PATH, end)
    minted = bench.mint()
    bench.time.advance(5)
    body = hint(bench, minted)
    for _ in range(2):
        assert deliver(bench, body, event_id="end") == "applied"
    assert (bench.status(minted), bench.available("supply")) == (end, before)
    bench.audit()


def test_an_unknown_row_is_settled_by_a_hint(bench: Bench, mined: Answer) -> None:
    """The hint only makes us ask earlier than the next poll."""
    bench.raw.transactions.update_one({"_id": bench.row(mined)["_id"]}, {"$set": {"status": "unknown"}})
    assert deliver(bench, hint(bench, mined)) == "applied"
    assert bench.status(mined) == "confirmed"


@pytest.mark.parametrize("transaction_id", [None, "", "0b6e9d2e-0000-4000-8000-000000000000"])
def test_what_concerns_nobody_is_unrelated(bench: Bench, mined: Answer, transaction_id: str | None) -> None:
    """200 for the sender; nothing is asked, nothing remembered."""
    mark = bench.mark()
    assert deliver(bench, body_of(transaction_id), event_id="stray") == "unrelated"
    assert bench.calls(STATUS_PATH, mark) == []
    assert bench.raw.inbound_events.find_one() is None


def test_forgeries_are_refused_and_leave_no_trace(bench: Bench, mined: Answer) -> None:
    """One byte changed, too old, from the future, another key, a header missing: each is its own kind of invalid."""
    body = hint(bench, mined)
    now = int(bench.now().timestamp() * 1000)
    good = delivery(SENDER, body, at_ms=now)
    forgeries: list[tuple[dict[str, str], bytes, type[Exception]]] = [
        (good, body[:-3] + b"X" + body[-2:], SignatureMismatch),
        ({**good, "idempotency-key": "other"}, body, SignatureMismatch),
        (delivery(SENDER, body, at_ms=now, path="/v1/other"), body, SignatureMismatch),
        (delivery(SENDER, body, at_ms=now - 61_000), body, SignatureExpired),
        (delivery(SENDER, body, at_ms=now + 62_000), body, SignatureExpired),
        (delivery(STRANGER, body, at_ms=now), body, SenderUnknown),
        ({name: value for name, value in good.items() if name != "x-api-signature"}, body, SignatureMalformed),
    ]
    before, mark = bench.row(mined), bench.mark()
    for headers, content, kind in forgeries:
        with pytest.raises(kind):
            inbound.receive(headers, content)
    assert (bench.row(mined), bench.calls(STATUS_PATH, mark)) == (before, [])
    assert bench.raw.inbound_events.find_one() is None


def test_a_genuine_delivery_of_nonsense_is_invalid_json(bench: Bench) -> None:
    """Its sender is known and may hear it."""
    with pytest.raises(InvalidJson):
        deliver(bench, b"nonsense")


@pytest.mark.parametrize("kind", ["500", "429", "reply_lost"])
def test_a_failure_of_ours_does_not_use_the_event_up(
    bench: Bench, mined: Answer, pauses: list[float], kind: str
) -> None:
    """The sender gets an error, tries again, and is heard."""
    body, mark = hint(bench, mined), bench.mark()
    bench.provider.fault(STATUS_PATH, kind, times=3)
    with pytest.raises(ProviderUnavailable):
        deliver(bench, body, event_id="again")
    assert (bench.status(mined), bench.raw.inbound_events.find_one()) == ("submitted", None)
    assert deliver(bench, body, event_id="again") == "applied"
    assert len(bench.calls(STATUS_PATH, mark)) == 4
    assert bench.raw.inbound_events.find_one({"_id": "again"}) is not None
    bench.audit()


def test_a_delivery_killed_anywhere_is_applied_by_its_retry(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Effect and mark are one: after any crash the retry ends with one effect and one mark."""
    crashes = Crashes(monkeypatch)
    first = bench.mint()
    bench.time.advance(5)
    boundaries = crashes.boundaries(partial(deliver, bench, hint(bench, first)))
    assert "after getsmart.stores.inbound.mark" in boundaries
    for boundary in boundaries:
        minted = bench.mint()
        bench.time.advance(5)
        body, event_id = hint(bench, minted), unique("killed")
        crashes.die(boundary, partial(deliver, bench, body, event_id=event_id))
        is_committed = boundary == "after getsmart.machine.conclude.transact"
        assert deliver(bench, body, event_id=event_id) == ("duplicate" if is_committed else "applied"), boundary
        assert bench.status(minted) == "confirmed"
    bench.audit()


def test_twins_of_a_delivery_have_one_effect(bench: Bench, mined: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both passed the first look: the mark inside the transaction decides."""
    from getsmart.stores import inbound as store

    monkeypatch.setattr(store, "is_seen", lambda _: False)
    body = hint(bench, mined)
    stale: Any = bench.row(mined)
    assert deliver(bench, body, event_id="twin") == "applied"
    monkeypatch.setattr("getsmart.stores.transactions.find_by_metakeep_id", lambda _: stale)
    assert deliver(bench, body, event_id="twin") == "applied"
    assert bench.raw.inbound_events.count_documents({}) == 1
    bench.audit()


def test_an_event_id_that_settled_another_row_settles_no_second(
    bench: Bench, mined: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that reuses an id in the very same moment: the second row waits for its own evidence."""
    from getsmart.stores import inbound as store

    deliver(bench, hint(bench, mined), event_id="reused")
    other = bench.mint()
    bench.time.advance(5)
    monkeypatch.setattr(store, "is_seen", lambda _: False)
    assert deliver(bench, hint(bench, other), event_id="reused") == "pending"
    assert bench.status(other) == "submitted"
    bench.settle()
    assert bench.status(other) == "confirmed"
    bench.audit()


def test_over_http_a_forgery_is_401_without_a_word(bench: Bench, mined: Answer) -> None:
    """Every kind reads the same from outside; a genuine one is 200."""
    body = hint(bench, mined)
    now = int(bench.now().timestamp() * 1000)
    answers = [
        call("webhooks/metakeep", event("POST", body=body, headers=headers))
        for headers in (
            {},
            delivery(STRANGER, body, at_ms=now),
            delivery(SENDER, body, at_ms=now - 61_000),
            delivery(SENDER, body + b" ", at_ms=now),
        )
    ]
    assert {answer.status for answer in answers} == {401}
    assert {answer.code for answer in answers} == {"signature_invalid"}
    assert len({answer.json["error"]["message"] for answer in answers}) == 1
    genuine = call("webhooks/metakeep", event("POST", body=body, headers=delivery(SENDER, body, at_ms=now)))
    assert (genuine.status, genuine.data["outcome"]) == (200, "applied")
