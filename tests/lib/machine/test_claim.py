"""One idempotency key, one effect: also when the process dies at any boundary of the call."""

from functools import partial
from typing import Any

import pytest

from getsmart import clock
from getsmart.machine import send
from getsmart.services import tick
from getsmart.stores import reserves, transactions
from tests.crashes import Crashes
from tests.money import BEYOND_LEASES, MINT_PATH, QUIET, Bench, units
from tests.support import unique

EXPECTED = {
    "getsmart.stores.reserves.take",
    "getsmart.stores.transactions.insert",
    "getsmart.metakeep.client.call",
    "getsmart.stores.transactions.move",
}


@pytest.fixture
def crashes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Crashes:
    """A process that can die anywhere."""
    return Crashes(monkeypatch)


def die_everywhere(bench: Bench, crashes: Crashes) -> dict[str, str]:
    """One mint for each boundary, each of them killed there: {idempotency key: boundary}."""
    boundaries = crashes.boundaries(bench.mint)
    assert {boundary.partition(" ")[2] for boundary in boundaries} == EXPECTED
    assert len(boundaries) == 2 * len(EXPECTED)
    killed = {unique("killed"): boundary for boundary in boundaries}
    for key, boundary in killed.items():
        crashes.die(boundary, partial(bench.mint, key=key))
    return killed


def all_is_well(bench: Bench, killed: dict[str, str]) -> None:
    """Everything final, one Transfer a key (and one of the first, undisturbed mint), reserves as the books say."""
    bench.settle()
    bench.time.advance(QUIET)
    tick.run()
    bench.audit()
    rows = list(bench.raw.transactions.find())
    assert {row["status"] for row in rows} == {"confirmed"}
    assert bench.logs() == len(rows)
    for key, boundary in killed.items():
        first, second = bench.mint(key=key), bench.mint(key=key)
        assert (first.status, first.text) == (second.status, second.text), boundary
        assert second.headers["Idempotent-Replayed"] == "true", boundary


def test_a_call_killed_anywhere_is_finished_by_its_retry(bench: Bench, crashes: Crashes) -> None:
    """(a) The same caller comes again after the lease: 202, one effect."""
    killed = die_everywhere(bench, crashes)
    bench.time.advance(BEYOND_LEASES)
    for key, boundary in killed.items():
        answer = bench.mint(key=key)
        assert (answer.status, answer.data["status"]) == (202, "submitted"), boundary
    assert bench.raw.transactions.count_documents({}) == len(killed) + 1
    all_is_well(bench, killed)


def test_a_call_killed_anywhere_is_finished_by_the_tick(bench: Bench, crashes: Crashes) -> None:
    """(b) Nobody comes again: what was claimed is confirmed; what was not, can still be called."""
    killed = die_everywhere(bench, crashes)
    claimed = {row["idempotency_key"] for row in bench.raw.transactions.find()}
    unclaimed = [boundary for key, boundary in killed.items() if key not in claimed]
    assert unclaimed == [
        "before getsmart.stores.reserves.take",
        "after getsmart.stores.reserves.take",
        "before getsmart.stores.transactions.insert",
    ]
    all_is_well(bench, {key: boundary for key, boundary in killed.items() if key in claimed})
    unused = {key: boundary for key, boundary in killed.items() if key not in claimed}
    assert {bench.mint(key=key).status for key in unused} == {202}
    all_is_well(bench, killed)


def test_within_the_lease_a_killed_call_seems_to_run(bench: Bench, crashes: Crashes) -> None:
    """Nobody can tell a dead call from a slow one before its lease is over."""
    bench.time.stand()
    key = unique("key")
    crashes.die("before getsmart.metakeep.client.call", partial(bench.mint, key=key))
    assert bench.mint(key=key).code == "idempotency_in_progress"
    bench.time.advance(transactions.LEASE_SECONDS - 1)
    assert bench.mint(key=key).code == "idempotency_in_progress"
    assert bench.mint("11", key=key).code == "idempotency_mismatch"
    bench.time.advance(2)
    assert bench.mint(key=key).data["status"] == "submitted"


def test_a_clock_that_is_ahead_takes_no_live_call_over(bench: Bench, crashes: Crashes) -> None:
    """Two clocks of ours may be half a minute apart: neither the tick nor a retry sends beside a call that may run."""
    bench.time.stand()
    key = unique("key")
    crashes.die("before getsmart.metakeep.client.call", partial(bench.mint, key=key))
    sent = bench.mark()
    bench.time.advance(reserves.MOST_SKEW.total_seconds() + send.CALL_SECONDS)
    tick.run()
    assert bench.mint(key=key).code == "idempotency_in_progress"
    assert bench.calls(MINT_PATH, sent) == []
    bench.time.advance(BEYOND_LEASES)
    tick.run()
    all_is_well(bench, {key: "a clock ahead"})


def test_a_take_over_is_leased_too(bench: Bench, crashes: Crashes) -> None:
    """Who takes over and dies is waited for like the first one; the effect is still one."""
    key = unique("key")
    crashes.die("after getsmart.metakeep.client.call", partial(bench.mint, key=key))
    bench.time.advance(BEYOND_LEASES)
    crashes.die("after getsmart.metakeep.client.call", partial(bench.mint, key=key))
    assert bench.mint(key=key).code == "idempotency_in_progress"
    bench.time.advance(BEYOND_LEASES)
    assert bench.mint(key=key).data["status"] == "submitted"
    assert bench.only_row()["is_ambiguous"]
    all_is_well(bench, {key: "take-over"})


def test_who_takes_over_and_dies_before_the_mark_is_waited_for(bench: Bench, crashes: Crashes) -> None:
    """From the lease on the row is this call's, for the tick as well: it is not due before that lease is over."""
    key = unique("key")
    crashes.die("before getsmart.metakeep.client.call", partial(bench.mint, key=key))
    bench.time.advance(BEYOND_LEASES)
    crashes.die("after getsmart.stores.transactions.note", partial(bench.mint, key=key))
    sent = bench.mark()
    tick.run()
    assert bench.calls(MINT_PATH, sent) == []
    bench.time.advance(BEYOND_LEASES)
    tick.run()
    all_is_well(bench, {key: "take-over"})


def test_only_one_takes_a_dead_claim_over(bench: Bench, crashes: Crashes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two retries that both saw the lease end: the row's version decides."""
    key = unique("key")
    crashes.die("before getsmart.metakeep.client.call", partial(bench.mint, key=key))
    bench.time.advance(BEYOND_LEASES)
    row: Any = bench.only_row()
    monkeypatch.setattr(transactions, "find_claim", lambda *_: transactions.Known(row, {}))
    assert bench.mint(key=key).data["status"] == "submitted"
    assert bench.mint(key=key).code == "idempotency_in_progress"


def test_a_killed_refusal_leaks_and_is_repaired(bench: Bench, crashes: Crashes) -> None:
    """Dying between a lost race for a badge and giving the reserve back: a leak, mended, never doubled."""
    claimant = unique("c")
    bench.claim_badge("b", claimant)
    crashes.die("before getsmart.stores.reserves.give_back", partial(bench.claim_badge, "b", claimant))
    bench.audit(leaked={"supply": units("1000")})
    bench.settle()
    bench.time.advance(QUIET)
    tick.run()
    bench.audit()


def test_a_call_killed_in_the_tick_keeps_its_reply_for_the_caller(bench: Bench, crashes: Crashes) -> None:
    """The tick finishes a dead claim; the retry gets the reply of that end."""
    key = unique("key")
    crashes.die("before getsmart.metakeep.client.call", partial(bench.mint, key=key))
    bench.settle(1)
    answer = bench.mint(key=key)
    assert (answer.data["status"], answer.headers["Idempotent-Replayed"]) == ("submitted", "true")
    bench.settle()
    assert bench.mint(key=key).text == answer.text


def _slow(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """From the start of this step on, more time has passed than a reserve may be acted on."""
    real_step, real_clock, late = getattr(module, name), clock.monotonic, [0.0]

    def step(*arguments: Any, **options: Any) -> Any:
        late[0] = reserves.ACT_SECONDS + 1
        return real_step(*arguments, **options)

    monkeypatch.setattr(clock, "monotonic", lambda: real_clock() + late[0])
    monkeypatch.setattr(module, name, step)


def test_a_reserve_that_took_too_long_is_not_claimed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been repaired meanwhile: 503, and the leak is left to the repair."""
    with monkeypatch.context() as patch:
        _slow(patch, reserves, "take")
        refused = bench.mint()
    assert (refused.status, refused.code) == (503, "database_unavailable")
    assert bench.raw.transactions.find_one() is None
    bench.audit(leaked={"supply": units("10")})
    bench.time.advance(QUIET)
    tick.run()
    bench.audit()


def test_a_reserve_is_not_given_back_late(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused claim whose insert took too long leaks: giving back what was repaired meanwhile would double it."""
    claimant = unique("c")
    bench.claim_badge("b", claimant)
    with monkeypatch.context() as patch:
        _slow(patch, transactions, "insert")
        assert bench.claim_badge("b", claimant).code == "badge_already_claimed"
    bench.audit(leaked={"supply": units("1000")})


def test_an_insert_that_loses_to_its_twin_repeats_the_twins_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked up before the twin wrote: the unique index decides, the reserve comes back, the answer is the twin's."""
    key = unique("key")
    first = bench.mint(key=key)
    real = transactions.find_claim
    answers: list[Any] = [transactions.Known(None, {})]
    monkeypatch.setattr(transactions, "find_claim", lambda *names: answers.pop() if answers else real(*names))
    second = bench.mint(key=key)
    assert (second.text, second.headers["Idempotent-Replayed"]) == (first.text, "true")
    bench.audit()


def test_an_insert_that_met_an_index_without_a_twin_is_a_bug(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not happen; if it does, nothing is kept and nothing pretends otherwise."""

    def taken(_: Any) -> None:
        raise transactions.Taken(is_badge=False)

    monkeypatch.setattr(transactions, "insert", taken)
    refused = bench.mint()
    assert (refused.status, refused.code) == (500, "internal")
    bench.audit()


def test_a_replay_reads_and_reserves_nothing(bench: Bench, crashes: Crashes) -> None:
    """The key is looked up first: a replay sets nothing aside, asks for no wallet and calls nobody."""
    key = unique("key")
    bench.mint(key=key)
    mark = bench.mark()
    assert crashes.boundaries(partial(bench.mint, key=key)) == []
    assert bench.calls(MINT_PATH, mark) == []
