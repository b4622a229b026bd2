"""A process that freezes between its look at the clock and its act, and wakes after a repair: nothing comes twice."""

from functools import partial
from typing import Any

import pytest

from getsmart.machine import repair, send
from getsmart.services import tick
from getsmart.stores import batches, reserves, transactions, wallets
from tests.crashes import Crashes, frozen
from tests.money import BEYOND_LEASES, MINT_PATH, QUIET, Bench, units
from tests.support import Answer, unique


def frozen_and_dead(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim under the key `frozen`, written after another had its amount, whose call then died; no more is left."""
    bench.limit("supply", "15")
    with monkeypatch.context() as patch:
        crashes = Crashes(patch)
        frozen(bench, patch, transactions, "insert", partial(bench.mint, "10"))
        call = partial(bench.mint, "10", key="frozen")
        crashes.die("after getsmart.stores.transactions.insert", call, crossing=2)


def mended_in_the_end(bench: Bench) -> None:
    """Let the repair find what was set aside once too often."""
    bench.settle()
    bench.time.advance(QUIET)
    tick.run()
    bench.audit()


@pytest.mark.parametrize("kind", ["mint", "transfer", "burn"])
def test_a_claim_that_froze_before_its_insert_sets_aside_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The repair took its amount for a leak and gave it back: before anything is sent it is taken once more."""
    bench.funded("50")
    name = {"mint": "supply", "transfer": "treasury", "burn": bench.wallet["wallet_id"]}[kind]
    before = bench.available(name)
    mended = frozen(bench, monkeypatch, transactions, "insert")
    answer = {"mint": bench.mint, "transfer": bench.transfer, "burn": bench.burn}[kind]("10")
    assert (answer.status, answer.data["status"], mended) == (202, "submitted", [1])
    assert bench.available(name) == before - units("10")
    mended_in_the_end(bench)
    assert bench.status(answer) == "confirmed"


def test_a_claim_whose_reserve_somebody_else_has_by_then_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of the supply was given away while it was frozen: nothing is sent, and nothing is given back either."""
    bench.limit("supply", "15")
    other: list[Answer] = []
    frozen(bench, monkeypatch, transactions, "insert", lambda: other.append(bench.mint("10")))
    answer = bench.mint("10")
    assert (answer.status, answer.data["status"], bench.status(other[0])) == (202, "failed", "submitted")
    assert bench.available("supply") == units("5")
    mended_in_the_end(bench)
    assert bench.logs() == 1


@pytest.mark.parametrize("by", ["retry", "tick"])
def test_a_claim_that_froze_and_then_died_is_backed_by_who_takes_it_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Whoever sends a row that nobody has looked after since its insert makes sure of its reserve first."""
    before, key = bench.available("supply"), unique("key")
    with monkeypatch.context() as patch:
        crashes = Crashes(patch)
        frozen(bench, patch, transactions, "insert")
        crashes.die("after getsmart.stores.transactions.insert", partial(bench.mint, key=key))
    assert bench.available("supply") == before
    bench.time.advance(BEYOND_LEASES)
    bench.mint(key=key) if by == "retry" else tick.run()
    assert bench.available("supply") == before - units("10")
    mended_in_the_end(bench)
    assert bench.logs() == 1


@pytest.mark.parametrize("seconds", [BEYOND_LEASES, 1200.0], ids=["in time", "too late to be sent"])
def test_one_that_can_not_be_backed_any_more_is_not_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Its dates say that its claimer has sent nothing: whoever takes it over ends it, and gives nothing back."""
    frozen_and_dead(bench, monkeypatch)
    bench.time.advance(seconds)
    answer = bench.mint("10", key="frozen")
    assert answer.data["status"] == "failed"
    assert bench.row(answer)["hold"] == {"name": "supply", "state": "returned", "is_void": True}
    assert bench.available("supply") == units("5")
    mended_in_the_end(bench)
    assert bench.logs() == 1


def test_one_of_before_its_insert_was_dated_is_in_doubt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes it over cannot know whether it was sent: unknown, and whatever comes of it, nothing is given back."""
    frozen_and_dead(bench, monkeypatch)
    bench.raw.transactions.update_one({"idempotency_key": "frozen"}, {"$unset": {"inserted_at": "", "begun_at": ""}})
    bench.time.advance(BEYOND_LEASES)
    answer = bench.mint("10", key="frozen")
    assert answer.data["status"] == "unknown"
    assert bench.row(answer)["hold"] == {"name": "supply", "state": "held", "is_void": True}
    bench.settle()
    assert (bench.logs(), bench.available("supply")) == (1, units("5"))


@pytest.mark.parametrize("is_erased", [False, True])
def test_what_a_repair_gave_back_is_not_given_back_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, is_erased: bool
) -> None:
    """A claim that froze beyond the time in which anything is sent, or until its owner was erased, holds nothing."""
    before = bench.available("supply")

    def meanwhile() -> None:
        bench.time.advance(60 if is_erased else 1200)
        if is_erased:
            monkeypatch.setattr(send, "_names_somebody", lambda _row: False)

    frozen(bench, monkeypatch, transactions, "insert", meanwhile)
    assert bench.mint().data["status"] == "failed"
    assert bench.available("supply") == before
    mended_in_the_end(bench)


@pytest.mark.parametrize(("module", "step"), [(wallets, "hold"), (transactions, "note")])
def test_who_freezes_after_the_mark_sends_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, pauses: list[float], module: Any, step: str
) -> None:
    """Neither the claim's own call nor the tick, once MetaKeep may have forgotten the key: somebody else sent it."""
    if module is transactions:
        bench.provider.fault(MINT_PATH, "429", times=3)
        bench.mint()
        bench.provider.clear()
        bench.time.advance(60)
    real, sent = getattr(module, step), bench.mark()

    def slow(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(module, step, real)
        done = real(*arguments, **options)
        bench.time.advance(3600)
        return done

    monkeypatch.setattr(module, step, slow)
    minted = tick.run() if module is transactions else bench.mint()
    assert minted
    assert bench.calls(MINT_PATH, sent) == []
    bench.settle()
    assert (bench.only_row()["status"], bench.logs()) == ("failed", 0)
    mended_in_the_end(bench)


def test_a_return_that_froze_does_not_come_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row was marked, the repair gave back: what wakes then and would add it again finds the repair's time."""
    bench.provider.fault("/v2/app/coin/mint", "failed")
    before = bench.available("supply")
    bench.mint()
    mended = frozen(bench, monkeypatch, reserves, "give_back")
    bench.settle()
    assert (mended, bench.available("supply")) == ([1], before)
    mended_in_the_end(bench)


def test_a_twin_that_froze_before_its_return_adds_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lost the race for a key gives its reserve back, unless a repair did."""
    key = unique("key")
    before = bench.available("supply")
    with monkeypatch.context() as patch:
        find, answers = transactions.find_claim, [transactions.Known(None, {})]
        bench.mint(key=key)
        patch.setattr(transactions, "find_claim", lambda *names: answers.pop() if answers else find(*names))
        mended = frozen(bench, patch, reserves, "give_back")
        assert bench.mint(key=key).status == 202
    assert (mended, bench.available("supply")) == ([1], before - units("10"))
    mended_in_the_end(bench)


def test_an_airdrop_that_froze_before_its_last_write_is_not_accepted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repair interrupts every batch that is being accepted; the same call then accepts it anew."""
    before = bench.available("supply")
    body = {"reference": "r", "rows": [{"wallet_id": bench.wallet["wallet_id"], "amount": "10"}]}
    drop = partial(bench.app.post, "tokens/airdrop", body, key="drop")
    real = batches.change

    def before_the_last(row: Any, changes: Any, **options: Any) -> Any:
        if changes.get("status") == "queued":
            monkeypatch.setattr(batches, "change", real)
            bench.time.advance(QUIET)
            assert repair.repair_leaks() == 1
        return real(row, changes, **options)

    monkeypatch.setattr(batches, "change", before_the_last)
    assert drop().code == "idempotency_in_progress"
    assert bench.available("supply") == before
    bench.time.advance(BEYOND_LEASES)
    assert drop().status == 202
    assert bench.available("supply") == before - units("10")
    bench.settle(6)
    mended_in_the_end(bench)


@pytest.mark.parametrize("seconds", [-29.0, 29.0])
def test_a_repair_by_a_clock_that_is_wrong_is_noticed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """It had looked for returns just before one was marked, and dates itself nearly half a minute wrong."""
    bench.provider.fault("/v2/app/coin/mint", "failed")
    before = bench.available("supply")
    bench.mint()
    bench.time.advance(QUIET + 30)
    real, mended = reserves.give_back, []

    def late(*arguments: Any) -> None:
        monkeypatch.setattr(reserves, "give_back", real)
        with monkeypatch.context() as patch:
            patch.setattr(transactions, "was_returned_since", lambda *_: False)
            bench.time.advance(seconds)
            mended.append(repair.repair_leaks())
            bench.time.advance(-seconds)
        real(*arguments)

    monkeypatch.setattr(reserves, "give_back", late)
    tick.run()
    assert (mended, bench.available("supply")) == ([1], before)
    mended_in_the_end(bench)
