"""Two that send one row at once: the same key, one effect, one stored reply."""

from functools import partial
from typing import Any

import pytest

from getsmart import clock, config
from getsmart.machine import send
from getsmart.metakeep import client, protocol
from getsmart.services import tick
from getsmart.stores import transactions
from tests.crashes import Crashes
from tests.money import BEYOND_LEASES, MINT_PATH, Bench, in_parallel
from tests.support import unique
from tests.wire import Wire, reply, wait_until

SUPPLY = "supply"


def minted_beside(bench: Bench, key: str, later: float = 0) -> Any:
    """The same mint, so many seconds after another call of MetaKeep is under way, which then goes on."""
    wait_until(lambda: bench.provider.read("faults")["held"])
    bench.time.advance(later)
    try:
        return bench.mint(key=key)
    finally:
        bench.provider.clear()


def test_while_the_first_call_waits_its_twin_is_told_to_wait(bench: Bench) -> None:
    """409 with Retry-After until the first call has its end; then its very bytes."""
    key = unique("key")
    bench.provider.fault(MINT_PATH, "hold")

    first, twin = in_parallel([partial(bench.mint, key=key), partial(minted_beside, bench, key)])
    assert (twin.status, twin.code) == (409, "idempotency_in_progress")
    assert int(twin.headers["Retry-After"]) >= 1
    assert first.data["status"] == "submitted"
    assert bench.mint(key=key).text == first.text
    bench.settle()
    assert bench.logs() == 1
    bench.audit()


def test_while_the_ticks_call_waits_a_retry_is_told_to_wait(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tick sends what a dead call left: whoever repeats that call just then asks MetaKeep nothing."""
    key = unique("key")
    Crashes(monkeypatch).die("before getsmart.metakeep.client.call", partial(bench.mint, key=key))
    bench.time.advance(BEYOND_LEASES)
    bench.provider.fault(MINT_PATH, "hold")

    _, twin = in_parallel([tick.run, partial(minted_beside, bench, key)])
    assert twin.code == "idempotency_in_progress"
    assert bench.mint(key=key).data["status"] == "submitted"
    bench.settle()
    assert bench.logs() == 1
    bench.audit()


def test_a_twin_that_takes_over_a_slow_call_gets_the_same_id(bench: Bench) -> None:
    """The lease is over, the first call still runs: both send the same key, one effect, one stored reply."""
    key = unique("key")
    bench.provider.fault(MINT_PATH, "hold")

    first, twin = in_parallel([partial(bench.mint, key=key), partial(minted_beside, bench, key, BEYOND_LEASES)])
    assert (first.status, twin.status) == (202, 202)
    assert first.text == twin.text == bench.mint(key=key).text
    bench.settle()
    assert (bench.status(first), bench.logs()) == ("confirmed", 1)
    bench.audit()


def test_a_call_whose_twin_is_at_work_answers_that_it_is_in_progress(
    bench: Bench, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own sending failed, another one runs: whatever that one ends with is the one reply for ever."""
    key = unique("key")
    real = client.call

    def meanwhile(request: Any, **options: Any) -> Any:
        """The tick took the row up while this call was stuck."""
        row = bench.only_row()
        transactions.note(row, {"is_in_flight": True, "is_ambiguous": True})  # type: ignore[arg-type]
        raise protocol.ProviderOutage("lost", is_ambiguous=True)

    monkeypatch.setattr(client, "call", meanwhile)
    first = bench.mint(key=key)
    assert (first.status, first.code) == (409, "idempotency_in_progress")
    monkeypatch.setattr(client, "call", real)
    bench.time.advance(BEYOND_LEASES)
    second = bench.mint(key=key)
    assert second.data["status"] == "submitted"
    assert bench.mint(key=key).text == second.text
    bench.settle()
    assert bench.logs() == 1
    bench.audit()


@pytest.mark.parametrize("state", ["queued", "unknown"])
def test_an_id_is_kept_though_a_twin_marked_the_row(bench: Bench, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """MetaKeep's answer counts even where the row moved on without it meanwhile; otherwise nobody could poll it."""
    real = client.call

    def meanwhile(request: Any, **options: Any) -> Any:
        answer = real(request, **options)
        row: Any = bench.only_row()
        if state == "unknown":
            transactions.move(row, "unknown", {"is_in_flight": False})
        else:
            transactions.note(row, {"is_in_flight": True})
        return answer

    monkeypatch.setattr(client, "call", meanwhile)
    bench.mint()
    monkeypatch.setattr(client, "call", real)
    row = bench.only_row()
    assert row["status"] == "submitted"
    bench.settle()
    assert (bench.only_row()["status"], bench.logs()) == ("confirmed", 1)
    bench.audit()


def test_an_id_comes_too_late_for_a_row_that_a_twin_has_submitted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both got the same id; the row moves once."""
    real = client.call

    def meanwhile(request: Any, **options: Any) -> Any:
        answer = real(request, **options)
        monkeypatch.setattr(client, "call", real)
        row: Any = bench.only_row()
        send.resend(row)
        return answer

    monkeypatch.setattr(client, "call", meanwhile)
    minted = bench.mint()
    assert [step["status"] for step in bench.row(minted)["timeline"]] == ["queued", "submitted"]
    bench.settle()
    assert bench.logs() == 1
    bench.audit()


def test_a_row_that_moved_on_is_not_sent(bench: Bench) -> None:
    """Who comes with an old copy of the row gets the present one, and nothing leaves."""
    minted = bench.mint()
    row: Any = {**bench.row(minted), "status": "queued", "version": 1}
    sent = bench.mark()
    assert send.resend(row)["status"] == "submitted"
    assert bench.calls(MINT_PATH, sent) == []


def test_old_copies_cannot_conclude(bench: Bench, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    """A refusal, an outage or giving up that meets a row somebody moved changes nothing."""
    minted = bench.mint()
    stale: Any = {**bench.row(minted), "status": "queued", "version": 1, "is_ambiguous": False, "is_in_flight": False}
    held = bench.available(SUPPLY)
    with Wire([reply(400), reply(429)]) as wire:
        monkeypatch.setenv("METAKEEP_BASE_URL", wire.url)
        config.forget()
        assert send.send(stale, clock.begin())["status"] == "submitted"
        assert send.send(stale, clock.begin())["status"] == "submitted"
    assert send._give_up(stale, "test")["status"] == "submitted"
    assert send._give_up({**stale, "is_ambiguous": True}, "test")["status"] == "submitted"
    assert bench.available(SUPPLY) == held
    bench.audit()
