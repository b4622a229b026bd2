"""A transaction ends in one piece: also when the process dies at any boundary of the clockwork that ends it."""

import itertools
from typing import Any

import pytest
from pymongo.errors import DuplicateKeyError

from getsmart import clock
from getsmart.machine.conclude import confirm, end_without_effect
from getsmart.services import tick
from getsmart.stores import inbound, ledger, reserves, transactions
from tests.crashes import Crashes
from tests.money import MINT_PATH, QUIET, Bench, units
from tests.rows import WALLET, kept

CROSSED = {
    "controls.take_lease",
    "controls.drop_lease",
    "controls.observe",
    "transactions.note",
    "transactions.move",
    "client.call",
    "conclude.transact",
    "ledger.transact",
    "ledger.post",
    "ledger._enter",
    "ledger._move_wallet",
    "reserves.give_back",
    "events.number",
    "events.clear_outboxes",
}


def evidence(number: int = 1) -> dict[str, Any]:
    """What a confirmation rests on."""
    tx_hash = f"0x{number:064x}"
    return {"tx_hash": tx_hash, "block_number": 1, "settlement": {"tx_hash": tx_hash, "log_index": 0}}


def work_for_all_steps(bench: Bench) -> None:
    """One row to be sent, one to be confirmed, one to be failed, all due."""
    bench.mint("1")
    bench.provider.fault(MINT_PATH, "failed")
    bench.mint("2")
    bench.provider.fault(MINT_PATH, "429", times=3)
    bench.mint("4")
    bench.time.advance(40)


def test_a_tick_killed_anywhere_is_finished_by_the_next(
    bench: Bench, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever boundary it died at: every row ends right, one Transfer each, books and reserves agree."""
    crashes = Crashes(monkeypatch)
    wallets = [bench.new_wallet() for _ in range(8)]  # what many died in the middle of is not all one account's
    bench.funded("1")
    work_for_all_steps(bench)
    boundaries = crashes.boundaries(tick.run)
    assert {boundary.partition(" getsmart.")[2].partition(".")[2] for boundary in boundaries} >= CROSSED
    for number, boundary in enumerate(boundaries):
        bench.wallet = wallets[number % len(wallets)]
        work_for_all_steps(bench)
        crashes.die(boundary, tick.run)
    bench.settle(3)
    bench.time.advance(QUIET)
    tick.run()
    bench.audit()
    rows = list(bench.raw.transactions.find())
    ends = {(str(row["amount"])[0], row["status"]) for row in rows}
    assert ends == {("1", "confirmed"), ("2", "failed"), ("4", "confirmed")}
    for address in {row["target"]["address"] for row in rows}:
        mine = [row for row in rows if row["target"]["address"] == address and row["status"] == "confirmed"]
        assert bench.logs(address) == len(mine)
    assert not any(row["outbox"] or row.get("is_unsummed") for row in rows)


def test_a_lost_return_is_repaired_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marked as returned, died before adding: a leak until the quiet time is over, then mended, never doubled."""
    before = bench.available("supply")
    bench.provider.fault(MINT_PATH, "failed")
    minted = bench.mint()
    bench.time.advance(5)
    Crashes(monkeypatch).die("before getsmart.stores.reserves.give_back", tick.run)
    assert bench.status(minted) == "failed"
    bench.audit(leaked={"supply": units("10")})
    for _ in range(3):
        bench.time.advance(QUIET)
        tick.run()
        assert bench.available("supply") == before
    bench.audit()


def test_a_return_that_comes_too_late_is_left_to_the_repair(system: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ACT_SECONDS a repair may have counted it already."""
    moments = itertools.count(0.0, reserves.ACT_SECONDS)
    row = kept()
    before = system.controls.find_one({"_id": "supply"})
    monkeypatch.setattr(clock, "monotonic", lambda: next(moments))
    moved = end_without_effect(row, "failed", None)
    assert moved is not None
    assert (moved["status"], moved["hold"]["state"], "failure" in moved) == ("failed", "returned", False)
    assert system.controls.find_one({"_id": "supply"}) == before


def test_only_the_first_end_counts(system: Any) -> None:
    """A second conclusion of the same row, whatever it says, changes nothing and returns None."""
    row = kept()
    submitted = transactions.move(row, "submitted", {})
    assert submitted is not None
    assert confirm(submitted, evidence(), None) is not None
    available = system.controls.find_one({"_id": "supply"})
    assert confirm(submitted, evidence(), None) is None
    assert end_without_effect(submitted, "failed", {"code": "x", "message": "y"}) is None
    assert system.controls.find_one({"_id": "supply"}) == available
    assert system.entries.count_documents({"transaction_id": row["_id"]}) == 2


def test_an_awaiting_transaction_can_expire(system: Any) -> None:
    """The third end without effect gives its hold back as the others do."""
    assert reserves.take("treasury", 10)
    row = kept(status="awaiting_consent", hold={"name": "treasury", "state": "held"})
    ended = end_without_effect(row, "expired", None)
    assert ended is not None
    assert ended["status"] == "expired"
    assert str(system.controls.find_one({"_id": "treasury"})["available"]) == str(20_000_000 * 10**18)


def test_a_delivery_is_marked_with_its_effect(system: Any) -> None:
    """In the same transaction: the delivery of one row cannot also confirm another."""
    first, second = kept(status="submitted"), kept(status="submitted")
    assert confirm(first, evidence(1), ("event-1", "transaction.completed")) is not None
    assert inbound.is_seen("event-1")
    with pytest.raises(DuplicateKeyError):
        confirm(second, evidence(2), ("event-1", "transaction.completed"))
    row = system.transactions.find_one({"_id": second["_id"]})
    assert (row["status"], row["hold"]["state"]) == ("submitted", "held")
    assert system.entries.count_documents({"transaction_id": second["_id"]}) == 0


def test_an_end_that_fails_halfway_leaves_nothing(system: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """State, entries, account and mark are written together or not at all."""
    row = kept(status="submitted")

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("halfway")

    monkeypatch.setattr(inbound, "mark", broken)
    with pytest.raises(RuntimeError):
        confirm(row, evidence(), ("event-1", "x"))
    assert system.transactions.find_one({"_id": row["_id"]})["status"] == "submitted"
    assert system.entries.count_documents({"transaction_id": row["_id"]}) == 0
    assert system.accounts.find_one({"_id": WALLET}) is None


def test_one_log_settles_one_row(system: Any) -> None:
    """The unique index on (tx hash, log index) refuses the second."""
    first, second = kept(status="submitted"), kept(status="submitted")
    assert confirm(first, evidence(1), None) is not None
    with pytest.raises(DuplicateKeyError):
        confirm(second, evidence(1), None)
    assert ledger.sum_confirmed(10) == 1
