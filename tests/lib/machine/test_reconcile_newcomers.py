"""An address of the chain becomes a wallet of ours: what it had before is booked, as the chain has it."""

from typing import Any

import pytest

from getsmart import chain, clock
from getsmart.amounts import UNIT
from getsmart.ids import lowest_id
from getsmart.machine import compare, discrepancies, reconcile, revisit
from getsmart.stores import breaks, onchain
from ops import reconcile as commands
from tests.chainbook import (
    OUTSIDE,
    ZERO,
    confirmed_row,
    external,
    found,
    looked,
    on_chain,
    posted,
    reconciled,
    stranger,
    unknown_row,
)
from tests.explained import questions
from tests.money import Bench, Row


@pytest.fixture(autouse=True)
def _present(bench: Bench) -> None:
    """What is mined now is dated now."""
    bench.catch_up()


def stranger_who_was_paid(bench: Bench) -> tuple[Row, Row]:
    """Somebody without a wallet to whom another stranger has paid 4 GETS, and where that was mined; it is judged."""
    row = stranger(bench)
    on_chain(bench, (ZERO, OUTSIDE, 10 * UNIT))
    (mined,) = on_chain(bench, (OUTSIDE, row["address"], 4 * UNIT))
    reconciled()
    return row, mined


def come(bench: Bench, *rows: Row) -> None:
    """Their wallets are created, and the tick has had the time to see it."""
    bench.raw.wallets.insert_many(rows)
    looked(bench)


def test_what_strangers_paid_each_other_is_theirs_when_they_come(bench: Bench) -> None:
    """Three Transfers of before: both wallets have what the contract says, and each Transfer is a break to be seen."""
    ada, bob = stranger(bench), stranger(bench)
    on_chain(bench, (ZERO, ada["address"], 10 * UNIT))
    on_chain(bench, (ada["address"], bob["address"], 4 * UNIT))
    on_chain(bench, (bob["address"], OUTSIDE, UNIT))
    reconciled()
    assert len(found(bench, "resolved")["missing_in_ledger"]) == 2
    come(bench, ada, bob)
    assert (posted(bench, ada), posted(bench, bob), external(bench)) == (("6", "6"), ("3", "3"), UNIT)
    assert len(found(bench)["missing_in_ledger"]) == 3
    assert found(bench, "resolved") == {}
    bench.audit()
    looked(bench)
    assert bench.raw.corrections.count_documents({}) == 5
    bench.audit()


def test_one_of_them_comes_later(bench: Bench) -> None:
    """The payer is a wallet first: the Transfer leaves it for the world outside. Then the payee's has it, once."""
    ada, bob = stranger(bench), stranger(bench)
    on_chain(bench, (ZERO, ada["address"], 10 * UNIT))
    on_chain(bench, (ada["address"], bob["address"], 4 * UNIT))
    reconciled()
    come(bench, ada)
    assert (posted(bench, ada), external(bench)) == (("6", "6"), 4 * UNIT)
    come(bench, bob)
    assert (posted(bench, ada), posted(bench, bob), external(bench)) == (("6", "6"), ("4", "4"), 0)
    bench.audit()


def test_what_a_person_has_closed_is_booked_and_stays_closed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A mint that was looked at before: nobody is called again, the wallet has it, the report tells of it meanwhile."""
    ada = stranger(bench)
    on_chain(bench, (ZERO, ada["address"], 10 * UNIT))
    reconciled()
    (raised,) = found(bench)["missing_in_ledger"]
    assert commands.main(["--close", raised["_id"], "--who", "grace", "--why", "the API before this one"]) == 0
    bench.raw.wallets.insert_one(ada)
    bench.time.advance(31)
    reconcile.run(60.0)
    capsys.readouterr()
    assert commands.main(["--report"]) == 0
    assert raised["_id"] in capsys.readouterr().out
    looked(bench)
    assert (posted(bench, ada), external(bench)) == (("10", "10"), 0)
    assert commands.main(["--report"]) == 0
    assert raised["_id"] not in capsys.readouterr().out
    (closed,) = found(bench, "resolved")["missing_in_ledger"]
    assert closed["resolution"]["who"] == "grace"
    assert found(bench) == {}
    bench.audit()


def test_what_the_chain_took_back_stays_away(bench: Bench) -> None:
    """Its block was reorganised away before they came: nothing is booked for it."""
    ada = stranger(bench)
    (mined,) = on_chain(bench, (ZERO, ada["address"], 10 * UNIT))
    reconciled()
    bench.provider.private("reorg", depth=1, drop=[mined["tx_hash"]])
    looked(bench)
    (gone,) = found(bench, "resolved")["missing_in_ledger"]
    assert gone["resolution"]["why"] == "its block was reorganised away"
    come(bench, ada)
    assert posted(bench, ada) == ("0", "0")
    assert bench.raw.corrections.count_documents({}) == 2
    bench.audit()


def test_what_the_chain_took_back_from_strangers_stays_away(bench: Bench) -> None:
    """Nobody of ours had any of it when its block went: the chain is asked again before it is booked."""
    ada, mined = stranger_who_was_paid(bench)
    bench.provider.private("reorg", depth=1, drop=[mined["tx_hash"]])
    looked(bench)
    come(bench, ada)
    assert posted(bench, ada) == ("0", "0")
    (gone,) = found(bench, "resolved")["missing_in_ledger"]
    assert gone["resolution"]["why"] == "its block was reorganised away"
    bench.provider.private("remine", tx_hash=mined["tx_hash"])
    looked(bench)
    assert posted(bench, ada) == ("4", "4")
    bench.audit()


def test_what_only_moved_to_another_block_is_theirs(bench: Bench) -> None:
    """A reorganisation that mined it again, while they were strangers."""
    ada, _ = stranger_who_was_paid(bench)
    bench.provider.private("reorg", depth=1, drop=[])
    looked(bench)
    come(bench, ada)
    assert posted(bench, ada) == ("4", "4")
    bench.audit()


def test_what_a_person_closed_and_only_moved_is_theirs(bench: Bench) -> None:
    """Its block is noted anew and it is booked, in the one pass that looks at this wallet."""
    ada = stranger(bench)
    on_chain(bench, (ZERO, ada["address"], 4 * UNIT))
    reconciled()
    (raised,) = found(bench)["missing_in_ledger"]
    assert commands.main(["--close", raised["_id"], "--who", "grace", "--why", "the API before this one"]) == 0
    bench.provider.private("reorg", depth=1, drop=[])
    bench.time.advance(3600)
    looked(bench)
    ada["_id"] = lowest_id("wlt", clock.now(), 0)
    come(bench, ada)
    assert posted(bench, ada) == ("4", "4")
    bench.audit()


def test_another_transfer_in_its_place_is_not_its_own(bench: Bench) -> None:
    """Mined again, a transaction may have another Transfer at that place: what stood there is gone."""
    ada, _ = stranger_who_was_paid(bench)
    bench.provider.private("reorg", depth=1, drop=[])
    looked(bench)
    (closed,) = found(bench, "resolved")["missing_in_ledger"]
    changed = {"found.amount": str(5 * UNIT), "amount": str(5 * UNIT), "block_hash": "0x" + "ab" * 32}
    bench.raw.breaks.update_one({"_id": closed["_id"]}, {"$set": changed})
    come(bench, ada)
    assert posted(bench, ada) == ("0", "0")
    (gone,) = found(bench, "resolved")["missing_in_ledger"]
    assert gone["resolution"]["why"] == "its block was reorganised away"


def test_a_block_that_the_node_does_not_have_takes_nothing_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be pruned, or a node that lags: what was judged at the depth stands."""
    ada, _ = stranger_who_was_paid(bench)
    are_there = compare.are_there

    def pruned(rows: Any) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(chain, "blocks", lambda _numbers: {})
            patched.setattr(chain, "receipt", lambda _hash: None)
            return are_there(rows)

    monkeypatch.setattr(compare, "are_there", pruned)
    come(bench, ada)
    assert posted(bench, ada) == ("4", "4")
    bench.audit()


def test_an_order_of_today_did_not_cause_what_was_mined_before(bench: Bench) -> None:
    """A payment like one of their own that is not booked yet: that is booked, whatever becomes of the order."""
    payer = {
        "account": bench.wallet["wallet_id"],
        "wallet_id": bench.wallet["wallet_id"],
        "address": bench.wallet["address"],
    }
    bench.funded("10")
    ada = stranger(bench)
    on_chain(bench, (payer["address"], ada["address"], UNIT))
    reconciled()
    bench.time.advance(600)
    outside = {"account": "external", "address": ada["address"]}
    held = {"name": payer["account"], "state": "held"}
    unknown_row(bench, kind="transfer", origin=payer, target=outside, hold=held)
    come(bench, ada)
    assert posted(bench, ada) == ("1", "1")


def test_however_many_come_each_is_looked_at(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """More wallets, and more Transfers, than one look takes: the next runs go on, without waiting for the next time."""
    monkeypatch.setattr(revisit, "_NEWCOMERS", 2)
    monkeypatch.setattr(revisit, "_CLOSED", 2)
    came = [stranger(bench) for _ in range(5)]
    on_chain(bench, (ZERO, OUTSIDE, 15 * UNIT))
    for row in came:
        on_chain(bench, *((OUTSIDE, row["address"], amount) for amount in (UNIT, UNIT, 0, UNIT)))
    for _ in range(20):
        reconciled()
        bench.time.advance(5)
    assert bench.raw.sightings.count_documents({}) == 0
    bench.raw.wallets.insert_many(came)
    bench.time.advance(31)
    for _ in range(18):  # in no time: each looks at two Transfers of two wallets
        reconcile.run(60.0)
    assert [posted(bench, row) for row in came] == [("3", "3")] * 5
    bench.audit()


@pytest.mark.parametrize("silent_minutes", [0, 120])
def test_a_wallet_that_was_stored_late_is_seen(bench: Bench, silent_minutes: int) -> None:
    """Its id was made minutes before it was stored: newer ones had been looked at by then, or nothing had for hours."""
    ada = stranger(bench)
    on_chain(bench, (ZERO, OUTSIDE, 5 * UNIT))
    on_chain(bench, (OUTSIDE, ada["address"], 5 * UNIT))
    reconciled()
    newer = bench.new_wallet()
    looked(bench)
    assert newer["wallet_id"] > ada["_id"]
    ada["_id"] = lowest_id("wlt", clock.now(), -600_000)
    bench.time.advance(60 * silent_minutes)
    come(bench, ada)
    assert posted(bench, ada) == ("5", "5")
    bench.audit()


def test_an_order_that_was_made_before_they_came_is_waited_for(bench: Bench) -> None:
    """Our own transfer to an address that is a wallet by the time it is seen: it is that order's, and the wallet's."""
    ada = stranger(bench)
    sent = bench.transfer("3", to_address=ada["address"])
    bench.raw.transactions.update_one({"_id": sent.data["transaction_id"]}, {"$unset": {"tx_hash": ""}})
    bench.time.advance(30)
    assert bench.on_chain(ada["address"]) == 3 * UNIT
    bench.raw.wallets.insert_one(ada)
    for _ in range(3):
        reconcile.run(60.0)
        bench.time.advance(5)
    assert "tx_hash" not in bench.row(sent)
    assert bench.raw.breaks.count_documents({}) == 0
    bench.settle()
    assert bench.status(sent) == "confirmed"
    looked(bench)
    assert (posted(bench, ada), external(bench), found(bench)) == (("3", "3"), 0, {})
    bench.audit()


def test_who_ends_while_it_is_booked_keeps_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is confirmed with the Transfer of a break in the moment in which that is booked: once in all."""
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    monkeypatch.setattr(discrepancies, "book", lambda *_: None)  # as if it could not be booked at first
    reconciled()
    monkeypatch.undo()
    (raised,) = found(bench)["missing_in_ledger"]
    assert raised["due"] == "stand"
    find, late = onchain.find_settled, []

    def look(*log: Any) -> Any:
        outcome = find(*log)
        late.append(confirmed_row(bench, mined) if not late else None)
        return outcome

    monkeypatch.setattr(onchain, "find_settled", look)
    looked(bench)
    assert late
    assert bench.raw.corrections.count_documents({}) == 0
    assert (found(bench), external(bench), posted(bench, {"_id": bench.wallet["wallet_id"]})) == ({}, 0, ("1", "1"))
    bench.audit()


def test_breaks_that_cannot_be_booked_hold_up_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than a run tries, all older: the newest is booked all the same."""
    monkeypatch.setattr(revisit, "_DUE", 2)
    bench.funded("5")
    bench.provider.fault("/v2/app/coin/burn", "stuck")
    bench.burn("5")
    on_chain(bench, *((bench.wallet["address"], OUTSIDE, UNIT + number) for number in range(4)))
    reconciled()
    ada = stranger(bench)
    on_chain(bench, (OUTSIDE, ada["address"], UNIT))
    reconciled()
    assert [row.get("due") for row in found(bench)["missing_in_ledger"]] == ["stand"] * 4
    come(bench, ada)
    assert posted(bench, ada) == ("1", "1")
    assert [row.get("due") for row in found(bench)["missing_in_ledger"]] == ["stand"] * 4 + [None]


def test_a_recovery_tries_those_that_are_due_in_as_many_runs_as_it_takes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any time left each run tries two more; then it may end, and begins anew the next time."""
    monkeypatch.setattr(revisit, "_DUE", 2)
    bench.funded("5")
    bench.provider.fault("/v2/app/coin/burn", "stuck")
    bench.burn("5")
    on_chain(bench, *((bench.wallet["address"], OUTSIDE, UNIT + number) for number in range(4)))
    reconciled()
    for _ in range(2):
        assert [revisit._book_all(0.0) for _ in range(3)] == [False, False, True]
    assert revisit._book_all(clock.monotonic() + 60)


def test_both_sides_are_found_by_an_index(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many breaks were closed, only those of the newcomers are read."""
    with questions(monkeypatch) as heard:
        assert breaks.find_closed_of([OUTSIDE, ZERO], 100) == []
    by_sender, by_recipient = heard.plans(bench.raw, "breaks")
    assert "'indexName': 'found_sender'" in by_sender
    assert "'indexName': 'found_recipient'" in by_recipient
