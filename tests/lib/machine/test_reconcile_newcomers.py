"""An address of the chain becomes a wallet of ours: what it had before is booked, as the chain has it."""

import pytest

from getsmart import clock
from getsmart.amounts import UNIT
from getsmart.ids import lowest_id
from getsmart.machine import reconcile, revisit
from getsmart.stores import breaks
from ops import reconcile as commands
from tests.chainbook import OUTSIDE, ZERO, external, found, on_chain, reconciled, stranger
from tests.explained import questions
from tests.money import Bench, Row


@pytest.fixture(autouse=True)
def _present(bench: Bench) -> None:
    """What is mined now is dated now."""
    bench.catch_up()


def come(bench: Bench, *rows: Row) -> None:
    """Their wallets are created, and the tick has had the time to see it."""
    bench.raw.wallets.insert_many(rows)
    looked(bench)


def looked(bench: Bench) -> None:
    """The next look at what has come, and as many runs as it takes to book it."""
    bench.time.advance(31)
    for _ in range(6):
        reconcile.run(60.0)


def posted(bench: Bench, row: Row) -> tuple[str, str]:
    """What the wallet has, and what of it is free."""
    balance = bench.app.get("wallets/balance", f"wallet_id={row['_id']}").data
    return balance["posted"], balance["available"]


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


def test_what_a_person_has_closed_is_booked_and_stays_closed(bench: Bench) -> None:
    """A mint of before that was looked at already: nobody is called again, and the wallet has it."""
    ada = stranger(bench)
    on_chain(bench, (ZERO, ada["address"], 10 * UNIT))
    reconciled()
    (raised,) = found(bench)["missing_in_ledger"]
    assert commands.main(["--close", raised["_id"], "--who", "grace", "--why", "the API before this one"]) == 0
    come(bench, ada)
    assert (posted(bench, ada), external(bench)) == (("10", "10"), 0)
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


def test_however_many_come_each_is_looked_at(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """More wallets, and more Transfers, than one look takes: the next runs go on, without waiting for the next time."""
    monkeypatch.setattr(revisit, "_BATCH", 2)
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
    for _ in range(6):  # in no time: three of them look at two wallets each
        reconcile.run(60.0)
    assert [posted(bench, row) for row in came] == [("3", "3")] * 5
    bench.audit()


def test_a_wallet_that_was_stored_late_is_seen(bench: Bench) -> None:
    """Its id was made minutes before it was stored: others that are newer had been looked at by then."""
    ada = stranger(bench)
    on_chain(bench, (ZERO, OUTSIDE, 5 * UNIT))
    on_chain(bench, (OUTSIDE, ada["address"], 5 * UNIT))
    reconciled()
    newer = bench.new_wallet()
    looked(bench)
    assert newer["wallet_id"] > ada["_id"]
    ada["_id"] = lowest_id("wlt", clock.now(), -600_000)
    come(bench, ada)
    assert posted(bench, ada) == ("5", "5")
    bench.audit()


def test_both_sides_are_found_by_an_index(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many breaks were closed, only those of the newcomers are read."""
    with questions(monkeypatch) as heard:
        assert breaks.find_closed_of([OUTSIDE, ZERO], 100) == []
    by_sender, by_recipient = heard.plans(bench.raw, "breaks")
    assert "'indexName': 'found_sender'" in by_sender
    assert "'indexName': 'parties'" in by_recipient
