"""Leaked reserves come back, once, and never from under a call that is just at work."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from getsmart.machine import repair
from getsmart.mongo import to_decimal
from getsmart.stores import reserves
from tests.crashes import Crashes
from tests.money import MINT_PATH, QUIET, Bench, units
from tests.support import Answer

RESERVED = "after getsmart.stores.reserves.take"


def give_back(name: str, amount: int) -> None:
    """As a call does that has just marked its row."""
    reserves.give_back(name, amount, reserves.begin())


def leak(bench: Bench, monkeypatch: pytest.MonkeyPatch, call: Callable[[], Answer]) -> None:
    """A call that dies between its reserve and its claim."""
    with monkeypatch.context() as patch:
        Crashes(patch).die(RESERVED, call)


def test_a_leak_is_repaired_after_the_quiet_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before: the claim might still come."""
    before = bench.available("supply")
    leak(bench, monkeypatch, bench.mint)
    assert bench.available("supply") == before - units("10")
    bench.time.advance(95)
    assert repair.repair_leaks() == 0
    assert bench.available("supply") == before - units("10")
    bench.time.advance(6)
    assert repair.repair_leaks() == 1
    assert bench.available("supply") == before
    assert repair.repair_leaks() == 0
    assert bench.available("supply") == before
    bench.audit()


@pytest.mark.parametrize("kind", ["transfer", "burn"])
def test_who_died_with_an_amount_makes_nobody_poor(bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Until the repair the caller is told to come again, and not that there is too little; then it is done, once."""
    monkeypatch.setattr("getsmart.machine.claim._PAUSES", (0.0, 0.0, 0.0))
    bench.funded("50")
    name = {"transfer": "treasury", "burn": bench.wallet["wallet_id"]}[kind]
    bench.limit(name, "50")
    key, call = "again", {"transfer": bench.transfer, "burn": bench.burn}[kind]
    leak(bench, monkeypatch, partial(call, "30", key=key))
    waits = call("30", key=key)
    assert (waits.status, waits.code, waits.headers["Retry-After"]) == (503, "database_unavailable", "2")
    assert call("60").code == "insufficient_balance"
    assert call("20").status == 202
    bench.time.advance(QUIET)
    repair.repair_leaks()
    assert call("30", key=key).status == 202
    assert call("1").code == "insufficient_balance"
    bench.settle()
    bench.audit()


@pytest.mark.parametrize("kind", ["transfer", "burn"])
def test_treasury_and_wallets_are_repaired_too(bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Every reserve is recomputed from the books and its own open rows."""
    bench.funded("50")
    name = {"transfer": "treasury", "burn": bench.wallet["wallet_id"]}[kind]
    before = bench.available(name)
    call = {"transfer": bench.transfer, "burn": bench.burn}[kind]
    call("3")
    leak(bench, monkeypatch, partial(call, "10"))
    bench.audit(leaked={name: units("10")})
    bench.time.advance(QUIET)
    repair.repair_leaks()
    assert bench.available(name) == before - units("3")
    bench.audit()


def test_open_rows_keep_what_they_hold(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what no row holds comes back, and the reserve stays watched as long as a row holds some of it."""
    before = bench.available("supply")
    bench.provider.fault(MINT_PATH, "stuck")
    bench.mint("7")
    leak(bench, monkeypatch, bench.mint)
    bench.time.advance(QUIET)
    assert repair.repair_leaks() == 1
    assert bench.available("supply") == before - units("7")
    assert reserves.find_quiet(bench.now(), 10)
    bench.audit()


def test_confirmed_rows_count_before_they_are_summed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between confirmation and the tick's sum a mint is in neither the holds nor the books; it counts all the same."""
    from getsmart.services import tick
    from getsmart.stores import ledger

    bench.mint("7")
    bench.time.advance(5)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "sum_confirmed", lambda _: 0)
        tick.run()
    assert bench.only_row()["is_unsummed"]
    leak(bench, monkeypatch, bench.mint)
    bench.time.advance(QUIET)
    repair.repair_leaks()
    bench.audit()


def test_a_quiet_reserve_without_open_rows_is_watched_no_more(bench: Bench) -> None:
    """Until something is taken from it again."""
    bench.funded("5")
    bench.time.advance(QUIET)
    repair.repair_leaks()
    bench.time.advance(QUIET)
    assert reserves.find_quiet(bench.now(), 10) == []
    bench.mint()
    bench.time.advance(QUIET)
    assert [reserve.name for reserve in reserves.find_quiet(bench.now(), 10)] == ["supply"]


@pytest.mark.parametrize("change", ["take", "give_back"])
def test_a_change_meanwhile_breaks_the_fence(bench: Bench, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """A reserve that is taken from or given back to between reading and mending is left alone, and mended later."""
    before = bench.available("supply")
    leak(bench, monkeypatch, bench.mint)
    bench.time.advance(QUIET)
    real = repair._facts

    with monkeypatch.context() as patch:

        def meanwhile(name: str, session: Any) -> tuple[int, int]:
            facts = real(name, session)
            patch.setattr(repair, "_facts", real)
            reserves.take("supply", units("1")) if change == "take" else give_back("supply", units("1"))
            return facts

        patch.setattr(repair, "_facts", meanwhile)
        assert repair.repair_leaks() == 0
    sign = -1 if change == "take" else 1
    assert bench.available("supply") == before - units("10") + sign * units("1")
    bench.time.advance(QUIET)
    assert repair.repair_leaks() == 1
    assert bench.available("supply") == before
    bench.audit()


def test_a_mint_that_comes_in_between_keeps_its_reserve(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole mint between reading and mending: its reserve is not given away."""
    leak(bench, monkeypatch, bench.mint)
    bench.time.advance(QUIET)
    real = repair._facts

    def meanwhile(name: str, session: Any) -> tuple[int, int]:
        facts = real(name, session)
        assert bench.mint("3").status == 202
        return facts

    with monkeypatch.context() as patch:
        patch.setattr(repair, "_facts", meanwhile)
        assert repair.repair_leaks() == 0
    bench.audit(leaked={"supply": units("10")})


def test_a_return_just_marked_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever marked a hold as returned may be just about to add it: a repair then would double it."""
    bench.provider.fault(MINT_PATH, "failed")
    bench.mint()
    bench.time.advance(QUIET)
    from getsmart.services import tick

    seen: list[int] = []
    real = reserves.give_back

    def late(name: str, amount: int, begun: reserves.Begun) -> None:
        seen.append(repair.repair_leaks())
        real(name, amount, begun)

    with monkeypatch.context() as patch:
        patch.setattr(reserves, "give_back", late)
        tick.run()
    assert seen == [0]
    bench.audit()
    bench.time.advance(QUIET)
    repair.repair_leaks()
    bench.audit()


def test_a_reserve_that_cannot_be_mended_stops_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its open rows hold more than there is: the database refuses less than nothing, and the next one is mended."""
    bench.funded("50")
    wallet_id = bench.wallet["wallet_id"]
    leak(bench, monkeypatch, lambda: bench.transfer("10"))
    leak(bench, monkeypatch, lambda: bench.burn("10"))
    wrong: Any = {**bench.only_row(), "_id": "txn_wrong", "idempotency_key": "wrong", "status": "unknown"}
    wrong["hold"], wrong["amount"] = {"name": "treasury", "state": "held"}, to_decimal(units("30000000"))
    for unique_once in ("settlement", "metakeep_transaction_id", "tx_hash"):
        wrong.pop(unique_once, None)
    bench.raw.transactions.insert_one(wrong)
    bench.time.advance(QUIET)
    assert repair.repair_leaks() == 1
    assert bench.available(wallet_id) == units("50")


def test_too_much_is_mended_as_well(bench: Bench) -> None:
    """Whatever the reason, available is what books and rows say it is: I2 before convenience."""
    bench.mint()
    right = bench.available("supply")
    bench.raw.controls.update_one({"_id": "supply"}, {"$set": {"available": to_decimal(right + units("5"))}})
    bench.time.advance(QUIET)
    assert repair.repair_leaks() == 1
    assert bench.available("supply") == right
    bench.audit()
