"""Open breaks are held against what has come since: all of them, and none is booked for a Transfer that a row has."""

from typing import Any

import pytest

from getsmart.amounts import UNIT
from getsmart.machine import compare, discrepancies, reconcile, revisit
from getsmart.models import EXTERNAL
from getsmart.stores import onchain
from tests.chainbook import ZERO, confirmed_row, external, found, on_chain, reconciled, stranger, unknown_row
from tests.money import Bench, Row


def foreign(bench: Bench, count: int) -> list[Row]:
    """So many mints into the wallet that nobody ordered, each of another amount."""
    return on_chain(bench, *((ZERO, bench.wallet["address"], UNIT + number) for number in range(count)))


@pytest.fixture(autouse=True)
def _present(bench: Bench) -> None:
    """Transfers are mined now: an hour after a row was sent they would not be its own."""
    bench.catch_up()


def test_each_open_break_has_its_turn(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are older: the newest one's address becomes a wallet, and it is booked there."""
    row = stranger(bench)
    foreign(bench, 5)
    on_chain(bench, (ZERO, row["address"], UNIT))
    reconciled()
    assert len(found(bench)["missing_in_ledger"]) == 6
    assert found(bench)["missing_in_ledger"][-1]["standing"] == [["issuance", EXTERNAL]]
    bench.raw.wallets.insert_one(row)
    monkeypatch.setattr(revisit, "_BATCH", 2)
    bench.time.advance(31)
    for _ in range(5):
        reconcile.run(60.0)
    raised = found(bench)["missing_in_ledger"][-1]
    assert sorted(raised["standing"]) == sorted([["issuance", EXTERNAL], [EXTERNAL, row["_id"]]])
    assert "due" not in raised
    bench.audit_of_books()


def test_a_row_that_ends_while_its_transfer_is_judged_keeps_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are looked up for many Transfers at once: one that has ended since is asked for before a break is booked."""
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    match, calls = compare.match, []

    def late(logs: Any) -> Any:
        outcome = match(logs)
        calls.append(outcome)
        if len(calls) == 2:
            confirmed_row(bench, mined)
        return outcome

    monkeypatch.setattr(compare, "match", late)
    reconciled()
    assert len(calls) == 2
    assert external(bench) == 0
    assert bench.raw.breaks.count_documents({}) == bench.raw.corrections.count_documents({}) == 0
    assert bench.raw.sightings.count_documents({}) == 0
    bench.audit()


def test_a_row_that_ends_while_its_break_is_booked_is_not_booked_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction that books asks once more: it books nothing, and the next run closes the break."""
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    find, asked = onchain.find_settled, []

    def late(*log: Any) -> Any:
        asked.append(log)
        outcome = find(*log)
        if len(asked) == 1:
            confirmed_row(bench, mined)
        return outcome

    monkeypatch.setattr(onchain, "find_settled", late)
    reconciled()
    assert bench.raw.corrections.count_documents({}) == 0
    reconcile.run(60.0)
    assert (found(bench), external(bench)) == ({}, 0)
    bench.audit()


def test_who_slept_through_a_going_back_takes_nothing_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It found a reorganisation and froze; another went back, read on and saw: what was seen then is still seen."""
    bench.mint("1")
    bench.settle()
    bench.provider.private("reorg", depth=1)
    unknown_row(bench)
    bench.time.advance(5)  # blocks are dated by the second
    on_chain(bench, *[(ZERO, bench.wallet["address"], UNIT)] * 2)
    real, seen = reconcile.read_blocks, []

    def late(numbers: Any) -> Any:
        blocks = real(numbers)
        monkeypatch.setattr(reconcile, "read_blocks", real)
        bench.time.advance(61)
        reconciled()
        seen.append(bench.raw.sightings.count_documents({}))
        return blocks

    monkeypatch.setattr(reconcile, "read_blocks", late)
    monkeypatch.setattr(reconcile, "WINDOW", 1)
    reconcile.run(60.0)
    assert seen == [2]
    assert bench.raw.sightings.count_documents({}) == 2


@pytest.mark.parametrize("is_mined_again", [False, True])
def test_who_slept_through_a_going_back_leaves_nothing_that_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, is_mined_again: bool
) -> None:
    """It judged a Transfer and froze; another went back and read on: what it books as it wakes is looked for anew."""
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    real = discrepancies.open_break

    def late(*facts: Any, **more: Any) -> Any:
        monkeypatch.setattr(discrepancies, "open_break", real)
        bench.provider.private("reorg", depth=1)
        bench.time.advance(61)
        on_chain(bench, (ZERO, bench.wallet["address"], 2 * UNIT))
        if is_mined_again:
            bench.provider.private("remine", tx_hash=mined["tx_hash"])
        reconciled()
        return real(*facts, **more)

    monkeypatch.setattr(discrepancies, "open_break", late)
    reconcile.run(60.0)
    assert len(found(bench)["missing_in_ledger"]) == 2
    bench.time.advance(31)
    reconcile.run(60.0)
    amounts = [row["amount"] for row in found(bench)["missing_in_ledger"]]
    assert amounts == [str(2 * UNIT), str(UNIT)][: 1 + is_mined_again]
    assert external(bench) == 0
    bench.audit_of_books()
