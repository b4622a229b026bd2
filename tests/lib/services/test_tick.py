"""The clockwork: whatever is due is done, once, by the active colour, and one failing step stops no other."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from getsmart import chain, clock, config
from getsmart.machine import deliver
from getsmart.metakeep import client
from getsmart.services import tick
from getsmart.stores import controls, ledger, transactions
from tests.money import MINT_PATH, STATUS_PATH, Bench, in_parallel
from tests.support import unique
from tests.wire import free_url

PROBE_PATH = "/v3/getDeveloperWallet"
IDLE = {"unfolded": 0, "awaited": 0, "replayed": 0, "buried": 0, "dispatched": 0, "purged": 0, "told": 0}


def test_one_run_does_whatever_is_due(bench: Bench, pauses: list[float]) -> None:
    """Sends, polls, reconciles, sums, numbers and probes; a second run finds nothing."""
    bench.time.stand()
    done = bench.mint()
    bench.provider.fault(MINT_PATH, "429", times=3)
    waiting = bench.mint()
    bench.time.advance(40)
    ran = tick.run()
    assert ran.pop("reconciled") >= 1
    assert ran == {"passes": 1, **IDLE, "sent": 1, "polled": 1, "summed": 1, "numbered": 6, "probed": 1}
    assert (bench.status(done), bench.status(waiting)) == ("confirmed", "submitted")
    nothing = {"sent": 0, "polled": 0, "reconciled": 0, "summed": 0, "numbered": 0, "probed": 0}
    assert tick.run() == {"passes": 1, **IDLE, **nothing}
    bench.audit()


def test_nothing_is_done_before_it_is_due(bench: Bench) -> None:
    """Two seconds after submission is the first look."""
    bench.time.stand()
    minted = bench.mint()
    mark = bench.mark()
    tick.run()
    assert bench.calls(STATUS_PATH, mark) == []
    assert bench.status(minted) == "submitted"


@pytest.mark.parametrize("active", ["green", None])
def test_only_the_active_colour_works(bench: Bench, active: str | None) -> None:
    """The other one, and one before the first promotion, touch nothing."""
    minted = bench.mint()
    bench.raw.controls.delete_one({"_id": "colour"})
    if active:
        bench.raw.controls.insert_one({"_id": "colour", "active": active})
    bench.time.advance(40)
    assert tick.run() == {"skipped": "colour blue is not active"}
    assert bench.status(minted) == "submitted"
    assert bench.raw.leases.find_one({"_id": tick.LEASE}) is None
    bench.raw.controls.update_one({"_id": "colour"}, {"$set": {"active": "blue"}}, upsert=True)
    tick.run()
    assert bench.status(minted) == "confirmed"


def test_a_run_ends_once_its_colour_is_not_active_any_more(
    bench: Bench, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback takes the tick away within a pass, not at the end of a run of 50 seconds."""
    monkeypatch.setenv("TICK_SECONDS", "30")
    config.forget()
    one_pass = tick.one_pass

    def roll_back(*arguments: Any) -> dict[str, int]:
        done = one_pass(*arguments)
        controls.activate("green", None)
        return done

    monkeypatch.setattr(tick, "one_pass", roll_back)
    assert tick.run()["passes"] == 1
    assert controls.take_lease(tick.LEASE, "the other colour", 1)


def test_ticks_at_once_do_nothing_twice(bench: Bench, pauses: list[float]) -> None:
    """The lease gives the work to one; with or without it, the books are right."""
    for number in range(3):
        bench.provider.fault(MINT_PATH, "429", times=3 if number % 2 else 1)
        bench.mint()
    mark = bench.mark()
    for _ in range(2):
        bench.time.advance(40)
        done = in_parallel([tick.run] * 3)
        assert sum(run["passes"] for run in done) >= 1
    probes = bench.calls(PROBE_PATH, mark)
    assert len(probes) <= 2
    assert {row["status"] for row in bench.raw.transactions.find()} == {"confirmed"}
    assert bench.logs() == 3
    bench.audit()


def test_two_passes_without_a_lease_do_nothing_twice(bench: Bench, pauses: list[float]) -> None:
    """Every step is decided by a guarded update, so that a lost lease harms nothing."""
    bench.mint()
    bench.provider.fault(MINT_PATH, "429", times=3)
    bench.mint()
    for _ in range(3):
        bench.time.advance(40)
        with ThreadPoolExecutor(16) as first, ThreadPoolExecutor(16) as second:
            in_parallel([partial(tick.one_pass, pool, deliver.Courier(10)) for pool in (first, second)])
    assert {row["status"] for row in bench.raw.transactions.find()} == {"confirmed"}
    assert bench.logs() == 2
    bench.audit()


def test_a_held_lease_keeps_a_second_tick_away(bench: Bench) -> None:
    """Until it ends; the one that holds it may renew it."""
    assert controls.take_lease(tick.LEASE, "somebody", 30)
    assert tick.run() == {"passes": 0, "told": 0}
    assert controls.take_lease(tick.LEASE, "somebody", 30)
    bench.time.advance(31)
    assert tick.run()["passes"] == 1
    assert controls.take_lease(tick.LEASE, "next", 30)  # it was given up


def test_a_run_works_until_its_time_is_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every interval one pass, and none that would end too late."""
    slept: list[float] = []
    began = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: began + sum(slept))
    monkeypatch.setattr(tick, "time", SimpleNamespace(sleep=slept.append))
    monkeypatch.setenv("TICK_SECONDS", "50")
    monkeypatch.setenv("TICK_INTERVAL_SECONDS", "10")
    config.forget()
    totals = tick.run()
    assert sum(slept) == 10 * (totals["passes"] - 1)
    assert max(slept) <= 0.25  # in between, events are numbered and told
    assert totals["passes"] == 6


def test_a_failing_step_stops_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is logged, counts as nothing done, and is tried again in the next pass."""
    minted = bench.mint()
    bench.time.advance(40)

    def broken(_: int) -> int:
        raise RuntimeError("the sum is broken")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "sum_confirmed", broken)
        counts = tick.run()
    assert (counts["polled"], counts["summed"], counts["numbered"]) == (1, 0, 4)
    assert '"event":"tick.summed_failed"' in capsys.readouterr().out
    assert bench.row(minted)["is_unsummed"]
    assert tick.run()["summed"] == 1
    bench.audit()


def test_a_failing_row_stops_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row that cannot be worked on is logged and has its turn again some seconds later."""
    bad, good = bench.mint(), bench.mint()
    bench.raw.transactions.update_one({"_id": bench.row(bad)["_id"]}, {"$unset": {"timeline": ""}})
    bench.time.advance(40)
    assert tick.run()["polled"] == 1
    assert (bench.status(bad), bench.status(good)) == ("submitted", "confirmed")
    assert timedelta(0) < bench.row(bad)["due_at"] - bench.now() <= timedelta(seconds=10)


def test_failing_rows_do_not_crowd_out_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one pass takes fail each time, and are the oldest: whoever is younger has a turn all the same."""
    monkeypatch.setattr(tick, "_BATCH", 2)
    for _ in range(2):
        broken = bench.row(bench.mint())["_id"]
        bench.raw.transactions.update_one({"_id": broken}, {"$unset": {"timeline": ""}})
    bench.time.advance(1)
    good = bench.mint()
    bench.time.advance(40)
    assert tick.run()["polled"] == 0
    assert tick.run()["polled"] == 1
    assert bench.status(good) == "confirmed"


def test_a_failing_batch_stops_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The older one raises each time; the younger one is paid all the same."""
    rows = [{"wallet_id": bench.wallet["wallet_id"], "amount": "1"}]
    batch_ids = []
    for reference in ("older", "younger"):
        answer = bench.app.post("tokens/airdrop", {"reference": reference, "rows": rows}, key=unique("key"))
        batch_ids.append(answer.data["batch_id"])
        bench.time.advance(1)
    real = tick.airdrop.work

    def work(batch: Any) -> int:
        if batch["_id"] == batch_ids[0]:
            raise LookupError("this one is broken")
        return real(batch)

    monkeypatch.setattr(tick.airdrop, "work", work)
    tick.run()
    assert [bench.raw.transactions.count_documents({"batch_id": one}) for one in batch_ids] == [0, 1]


def test_airdrops_leave_time_for_the_rest(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, and however slow: the step ends after 3 s, and all have their turn in later passes."""
    bench.time.stand()
    rows = [{"wallet_id": bench.wallet["wallet_id"], "amount": "1"}]
    for number in range(8):
        body = {"reference": str(number), "rows": rows}
        assert bench.app.post("tokens/airdrop", body, key=unique("key")).status == 202
    real, worked = tick.airdrop.work, []

    def slow(batch: Any) -> int:
        bench.time.advance(2)
        worked.append(batch["_id"])
        return real(batch)

    monkeypatch.setattr(tick.airdrop, "work", slow)
    monkeypatch.setattr(clock, "monotonic", lambda: clock.now().timestamp())
    tick.run()
    assert len(worked) == 2
    for _ in range(40):
        tick.run()
    assert bench.raw.transactions.count_documents({}) == 8


def test_a_provider_that_is_down_is_noticed_and_waited_for(bench: Bench, pauses: list[float], monkeypatch: Any) -> None:
    """The rows wait, the books go on, health learns that nobody answered."""
    minted = bench.mint()
    bench.time.advance(40)
    with monkeypatch.context() as patch:
        patch.setenv("METAKEEP_BASE_URL", free_url())
        patch.setenv("CHAIN_RPC_URL", free_url())
        config.forget()
        tick.run()
    config.forget()
    seen: Any = bench.raw.controls.find_one({"_id": "tick"})
    assert seen["ran_at"] <= bench.now()
    assert not {"provider_ok_at", "chain_ok_at"} & seen.keys()
    assert bench.status(minted) == "submitted"
    bench.settle(1)
    assert bench.status(minted) == "confirmed"
    seen = bench.raw.controls.find_one({"_id": "tick"})
    assert {"provider_ok_at", "chain_ok_at", "probed_at"} <= seen.keys()


def test_provider_and_chain_are_probed_every_thirty_seconds(bench: Bench) -> None:
    """Not with every pass."""
    bench.time.stand()
    mark = bench.mark()
    tick.run()
    assert len(bench.calls(PROBE_PATH, mark)) == 1
    bench.time.advance(29)
    tick.run()
    assert len(bench.calls(PROBE_PATH, mark)) == 1
    bench.time.advance(2)
    tick.run()
    assert len(bench.calls(PROBE_PATH, mark)) == 2


def test_without_a_node_the_chain_is_as_good_as_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not configured cannot be down."""
    monkeypatch.delenv("CHAIN_RPC_URL")
    config.forget()
    assert not chain.is_configured()
    tick.run()
    assert "chain_ok_at" in bench.raw.controls.find_one({"_id": "tick"})  # type: ignore[operator]


def test_unknown_rows_without_an_id_do_not_crowd_out_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many nobody can be asked about, the rest is polled."""
    monkeypatch.setattr(tick, "_BATCH", 2)
    for _ in range(3):
        lost = bench.mint()
        row: Any = bench.row(lost)
        bench.raw.transactions.update_one(
            {"_id": row["_id"]}, {"$set": {"status": "queued"}, "$unset": {"metakeep_transaction_id": ""}}
        )
        row = bench.row(lost)
        assert transactions.move(row, "unknown", {}) is not None
    good = bench.mint()
    bench.time.advance(40)
    tick.run()
    assert bench.status(good) == "confirmed"


def test_a_call_of_the_tick_has_its_own_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe is short, so that a slow provider delays no row for long."""
    seconds: dict[str, float] = {}
    real = client.call

    def noted(request: Any, **options: float) -> Any:
        seconds[request.path] = options["seconds"]
        return real(request, **options)

    monkeypatch.setattr(client, "call", noted)
    bench.mint()
    bench.time.advance(40)
    tick.run()
    assert seconds[PROBE_PATH] < seconds[STATUS_PATH] < seconds[MINT_PATH] < 15
