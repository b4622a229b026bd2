"""Queued transactions leave for MetaKeep: whatever happens on the way, one effect and the right state."""

from collections.abc import Callable
from typing import Any

import pytest

from getsmart import config
from getsmart.machine import send
from getsmart.metakeep import client, protocol
from getsmart.metakeep.signing import SigningKey
from getsmart.services import tick
from tests.money import MINT_PATH, Bench, units
from tests.support import unique
from tests.wire import Wire, reply

SUPPLY = "supply"


@pytest.fixture
def provider_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Point the provider's client at another server."""

    def to(url: str) -> None:
        monkeypatch.setenv("METAKEEP_BASE_URL", url)
        config.forget()

    return to


def provider_calls(bench: Bench, key: str) -> int:
    """How often MetaKeep saw this provider key."""
    return len([call for call in bench.calls(MINT_PATH) if call["idempotencyKey"] == key])


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_mint_that_fails_gives_its_reserve_back_once(bench: Bench, end: str) -> None:
    """Mined and reverted, or never mined: no Transfer, no entry, and the cap is as before."""
    before = bench.available(SUPPLY)
    bench.provider.fault(MINT_PATH, end)
    minted = bench.mint()
    assert bench.available(SUPPLY) == before - units("10")
    bench.settle(3)
    row = bench.row(minted)
    assert (row["status"], row["failure"]["code"]) == (
        end,
        {"failed": "execution_reverted", "cancelled": "never_mined"}[end],
    )
    assert bench.available(SUPPLY) == before
    assert bench.logs() == 0
    bench.audit()


@pytest.mark.parametrize("kind", ["500", "429", "reply_lost"])
def test_a_passing_fault_is_retried_within_the_call(bench: Bench, pauses: list[float], kind: str) -> None:
    """Two faults and a success: the caller sees `submitted`, the chain one Transfer."""
    bench.provider.fault(MINT_PATH, kind, times=2)
    minted = bench.mint()
    assert minted.data["status"] == "submitted"
    assert provider_calls(bench, bench.row(minted)["request"]["idempotency_key"]) >= 1
    bench.settle()
    assert (bench.status(minted), bench.logs()) == ("confirmed", 1)
    bench.audit()


@pytest.mark.parametrize("kind", ["500", "429", "reply_lost"])
def test_an_outage_leaves_the_row_queued_and_the_tick_finishes_it(bench: Bench, pauses: list[float], kind: str) -> None:
    """The caller has its 202 `queued`, for ever; the tick sends the same key and bytes."""
    key = unique("key")
    bench.provider.fault(MINT_PATH, kind, times=3)
    minted = bench.mint(key=key)
    assert (minted.status, minted.data["status"]) == (202, "queued")
    row = bench.row(minted)
    assert (row["is_ambiguous"], row["is_in_flight"], row["attempts"]) == (kind != "429", False, 1)
    assert bench.mint(key=key).text == minted.text
    bench.settle()
    assert (bench.status(minted), bench.logs()) == ("confirmed", 1)
    assert bench.mint(key=key).text == minted.text
    bench.audit()


def test_a_put_off_row_waits_longer_each_time(bench: Bench, pauses: list[float]) -> None:
    """1 s, 2 s, 4 s ... at most about a minute, with jitter."""
    bench.time.stand()
    bench.provider.fault(MINT_PATH, "500", times=100)
    minted = bench.mint()
    waits = []
    for _ in range(8):
        row = bench.row(minted)
        waits.append((row["due_at"] - bench.now()).total_seconds())
        bench.time.advance(80)
        tick.run()
    assert bench.row(minted)["attempts"] == 9
    for number, wait in enumerate(waits):
        longest = min(2**number, 60)
        assert longest <= wait <= longest * 1.25


def test_a_put_off_row_waits_as_long_as_it_was_asked_to(bench: Bench, pauses: list[float]) -> None:
    """Retry-After counts for the next sending too."""
    bench.provider.fault(MINT_PATH, "429", retry_after=30)
    minted = bench.mint()
    assert 29 <= (bench.row(minted)["due_at"] - bench.now()).total_seconds() <= 38


def test_unprocessed_for_fifteen_minutes_is_failed(bench: Bench, pauses: list[float]) -> None:
    """Where no try can have had an effect, giving up is certain: the reserve comes back, once."""
    before = bench.available(SUPPLY)
    bench.provider.fault(MINT_PATH, "429", times=100)
    minted = bench.mint()
    bench.time.advance(15 * 60 - 60)
    tick.run()
    assert bench.status(minted) == "queued"
    bench.time.advance(61)
    bench.settle(2)
    row = bench.row(minted)
    assert (row["status"], row["failure"]["code"]) == ("failed", "provider_unavailable")
    assert bench.available(SUPPLY) == before
    bench.provider.clear()
    bench.settle(2)
    assert bench.logs() == 0
    bench.audit()


def test_in_doubt_for_fifteen_minutes_is_unknown(bench: Bench, pauses: list[float]) -> None:
    """A try may have taken effect: nothing is sent any more, nothing comes back, a person has to look."""
    bench.provider.fault(MINT_PATH, "500", times=100)
    minted = bench.mint()
    bench.time.advance(15 * 60 + 1)
    tick.run()
    row = bench.row(minted)
    assert row["status"] == "unknown"
    assert "due_at" not in row  # nobody can be asked about it
    sent = bench.mark()
    bench.provider.clear()
    bench.settle(3)
    assert (bench.status(minted), bench.calls(MINT_PATH, sent)) == ("unknown", [])
    bench.audit()


def test_a_refusal_is_failed_and_gives_the_reserve_back(
    bench: Bench, provider_at: Callable[[str], None], sandbox: Any
) -> None:
    """MetaKeep said no for good: 202 with a failed transaction."""
    before = bench.available(SUPPLY)
    with Wire([reply(400, b'{"status":"INVALID_REQUEST"}')]) as wire:
        provider_at(wire.url)
        minted = bench.mint()
    assert (minted.status, minted.data["status"]) == (202, "failed")
    assert minted.data["failure"]["code"] == "provider_rejected"
    assert len(wire.requests) == 1
    assert bench.available(SUPPLY) == before
    provider_at(sandbox.base_url)
    bench.settle()
    assert (bench.status(minted), bench.logs()) == ("failed", 0)
    bench.audit()


def test_a_refusal_after_doubt_is_unknown(
    bench: Bench, provider_at: Callable[[str], None], pauses: list[float]
) -> None:
    """An earlier try may have been accepted, so a refusal proves nothing."""
    with Wire([reply(500), reply(400)]) as wire:
        provider_at(wire.url)
        minted = bench.mint()
    assert (minted.status, minted.data["status"]) == (202, "unknown")
    bench.audit()


def test_a_refusal_after_doubt_of_an_earlier_call_is_unknown(
    bench: Bench, provider_at: Callable[[str], None], pauses: list[float]
) -> None:
    """Doubt is remembered with the row, also over sendings."""
    bench.provider.fault(MINT_PATH, "500", times=3)
    minted = bench.mint()
    with Wire([reply(400)]) as wire:
        provider_at(wire.url)
        bench.time.advance(20)
        tick.run()
    assert bench.status(minted) == "unknown"
    bench.audit()


def test_a_reply_that_is_no_submission_is_in_doubt(
    bench: Bench, provider_at: Callable[[str], None], sandbox: Any
) -> None:
    """200 without a transaction id: queued, ambiguous, sent again under the same key."""
    with Wire([reply(200, b'{"status":"SUCCESS"}')]) as wire:
        provider_at(wire.url)
        minted = bench.mint()
    row = bench.row(minted)
    assert (row["status"], row["is_ambiguous"]) == ("queued", True)
    assert len(wire.requests) == 1
    provider_at(sandbox.base_url)
    bench.settle()
    assert bench.status(minted) == "confirmed"


def test_a_slow_reply_is_waited_for(bench: Bench) -> None:
    """Slow is not lost."""
    bench.provider.fault(MINT_PATH, "slow", delay_ms=80)
    assert bench.mint().data["status"] == "submitted"


@pytest.mark.parametrize("kind", ["slow", "hold"])
def test_a_reply_that_comes_too_late_is_asked_for_again(
    bench: Bench, pauses: list[float], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The effect is there; the second try under the same key brings its id."""
    monkeypatch.setattr(client, "READ_SECONDS", 1.0)
    options = {"delay_ms": 5_000} if kind == "slow" else {}
    bench.provider.fault(MINT_PATH, kind, **options)
    minted = bench.mint()
    assert minted.data["status"] == "submitted"
    bench.provider.clear()
    assert [call["replayed"] for call in bench.calls(MINT_PATH)[-2:]] == [False, True]
    bench.settle()
    assert (bench.status(minted), bench.logs()) == ("confirmed", 1)
    bench.audit()


@pytest.mark.parametrize(("fault", "end"), [("429", "failed"), ("500", "unknown")])
def test_a_row_signed_by_another_key_is_never_sent_again(
    bench: Bench, pauses: list[float], monkeypatch: pytest.MonkeyPatch, fault: str, end: str
) -> None:
    """MetaKeep scopes its keys by API key: failed where nothing was processed, else unknown."""
    before = bench.available(SUPPLY)
    bench.provider.fault(MINT_PATH, fault, times=3)
    minted = bench.mint()
    sent = bench.mark()
    monkeypatch.setenv("METAKEEP_API_KEY", SigningKey(7).public_key)
    monkeypatch.setenv("METAKEEP_API_SECRET", "A" * 41 + "Ac")
    config.forget()
    bench.time.advance(20)
    tick.run()
    assert bench.status(minted) == end
    assert [call for call in bench.calls(MINT_PATH, sent) if call["httpStatus"] != 401] == []
    assert bench.available(SUPPLY) == (before if end == "failed" else before - units("10"))
    bench.audit()


def test_a_row_in_flight_signed_by_another_key_is_unknown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call that had marked it died: it may have been sent."""
    minted = bench.mint()
    change = {"status": "queued", "is_in_flight": True, "request.signer": SigningKey(7).public_key}
    bench.raw.transactions.update_one({"_id": bench.row(minted)["_id"]}, {"$set": change})
    row: Any = bench.row(minted)
    assert send.resend(row)["status"] == "unknown"


def test_during_a_rotation_each_row_leaves_under_the_key_that_it_names(
    bench: Bench, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waited under the old key is sent under it, though new rows are signed by the new one: one effect each."""
    old = (bench.sandbox.api_key, bench.sandbox.api_secret)
    new = (bench.sandbox.next_api_key, bench.sandbox.next_api_secret)
    bench.provider.fault(MINT_PATH, "429", times=3)
    waiting = bench.mint()
    assert (bench.status(waiting), bench.row(waiting)["request"]["signer"]) == ("queued", old[0])
    for name, values in zip(("METAKEEP_API_KEY", "METAKEEP_API_SECRET"), zip(new, old, strict=True), strict=True):
        monkeypatch.setenv(name, ",".join(values))
    config.forget()
    fresh = bench.mint()
    assert bench.row(fresh)["request"]["signer"] == new[0]
    bench.time.advance(20)
    bench.settle()
    assert (bench.status(waiting), bench.status(fresh), bench.logs()) == ("confirmed", "confirmed", 2)
    bench.audit()


def test_missing_credentials_claim_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 misconfigured before anything is set aside."""
    monkeypatch.delenv("METAKEEP_API_SECRET")
    config.forget()
    refused = bench.mint()
    assert (refused.status, refused.code) == (503, "misconfigured")
    assert bench.raw.transactions.find_one() is None
    bench.audit()


def test_credentials_that_go_missing_put_the_row_off(
    bench: Bench, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tick of a misconfigured deployment harms nothing: the row goes on once it is mended."""
    bench.provider.fault(MINT_PATH, "429", times=3)
    minted = bench.mint()
    with monkeypatch.context() as patch:
        patch.delenv("METAKEEP_API_SECRET")
        config.forget()
        bench.time.advance(20)
        tick.run()
    config.forget()
    row = bench.row(minted)
    assert (row["status"], row["is_in_flight"], row["is_ambiguous"], row["attempts"]) == ("queued", False, False, 2)
    bench.settle()
    assert (bench.status(minted), bench.logs()) == ("confirmed", 1)
    bench.audit()


def test_the_stored_request_is_what_is_sent_each_time(
    bench: Bench, provider_at: Callable[[str], None], pauses: list[float]
) -> None:
    """Same path, same provider key, same bytes, however often and by whomever."""
    with Wire([reply(429)]) as wire:
        provider_at(wire.url)
        minted = bench.mint("12.5")
        bench.time.advance(20)
        tick.run()
    stored = bench.row(minted)["request"]
    sent = [seen for seen in wire.requests if seen.line.startswith(f"POST {MINT_PATH}")]
    assert len(sent) == 6
    assert {(seen.headers["idempotency-key"], seen.body.decode()) for seen in sent} == {
        (stored["idempotency_key"], stored["body"])
    }
    expected = protocol.idempotency_key("app", "/v1/tokens/mint", bench.row(minted)["idempotency_key"], 0, 1)
    assert stored["idempotency_key"] == expected
