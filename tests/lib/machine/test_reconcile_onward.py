"""What our own transfers paid to an outside address is its wallet's once it is one, as the chain has it."""

from datetime import timedelta
from typing import Any

import pytest

from getsmart import chain, clock
from getsmart.amounts import UNIT
from getsmart.breaks import BreakRow, Leg
from getsmart.ids import new_id
from getsmart.machine import compare, correct, discrepancies, exchange, onward, reconcile, revisit
from getsmart.machine.conclude import confirm
from getsmart.models import TransactionRow
from getsmart.mongo import to_decimal, to_units
from getsmart.stores import breaks, onchain, reserves, transactions
from ops import reconcile as commands
from ops import resolve
from tests.chainbook import (
    OUTSIDE,
    ZERO,
    external,
    found,
    looked,
    minted_row,
    on_chain,
    posted,
    reconciled,
    stranger,
    unknown_row,
)
from tests.explained import questions
from tests.money import Bench, Row
from tests.support import Answer, unique


@pytest.fixture(autouse=True)
def _funded(bench: Bench) -> None:
    """What is mined now is dated now; there is something to be paid with."""
    bench.catch_up()
    bench.funded("10")


def paid(bench: Bench, whom: Row, amount: str = "3") -> Answer:
    """Our transfer to somebody without a wallet, confirmed; the chain is read."""
    sent = bench.transfer(amount, to_address=whom["address"])
    bench.settle()
    assert bench.status(sent) == "confirmed"
    reconciled()
    return sent


def come(bench: Bench, *rows: Row) -> None:
    """Their wallets are created, and the tick has had the time to see it."""
    for row in rows:
        row["_id"] = new_id("wlt")
    bench.raw.wallets.insert_many(rows)
    looked(bench)


def passes(bench: Bench, minutes: int = 20) -> None:
    """The tick goes on for longer than it looks at new wallets again: what comes to light later has its own way."""
    for _ in range(minutes * 2):
        bench.time.advance(31)
        reconcile.run(60.0)


def sent_long_ago(bench: Bench, whom: Row, **more: Any) -> TransactionRow:
    """An order of 3 from the bench's wallet to somebody without one, of which nobody knows what became."""
    own = bench.wallet["wallet_id"]
    payer = {"account": own, "wallet_id": own, "address": bench.wallet["address"]}
    outside = {"account": "external", "address": whom["address_key"]}
    moved = {"kind": "transfer", "origin": payer, "target": outside, "hold": {"name": own, "state": "held"}}
    row = unknown_row(bench, 3 * UNIT, **moved, **more)
    assert reserves.take(own, 3 * UNIT)
    bench.raw.controls.update_one({"_id": "supply"}, {"$inc": {"available": to_decimal(3 * UNIT)}})
    bench.raw.transactions.update_one({"_id": row["_id"]}, {"$unset": {"incoming_wallet_id": ""}})
    return row


def treasury(bench: Bench) -> int:
    """What the treasury has more than at genesis."""
    entries = bench.raw.entries.find({"account": "treasury", "transaction_id": {"$ne": "genesis"}})
    return sum(to_units(row["amount"]) * (1 if row["direction"] == "credit" else -1) for row in entries)


@pytest.mark.parametrize("form", ["address_key", "address"])
def test_who_was_paid_by_us_has_it_when_they_come(bench: Bench, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """The payee has it, once, and nobody is called; also where the row has the letters of its order, as of before."""
    ada = stranger(bench)
    sent = paid(bench, ada)
    bench.raw.transactions.update_one({"_id": bench.row(sent)["_id"]}, {"$set": {"target.address": ada[form]}})
    assert external(bench) == 3 * UNIT
    come(bench, ada)
    assert (posted(bench, ada), external(bench)) == (("3", "3"), 0)
    row = bench.row(sent)
    assert (row["status"], row["target"]["account"], row["passed_on"]["wallet_id"]) == (
        "confirmed",
        "external",
        ada["_id"],
    )
    (closed,) = found(bench, "resolved")["missing_in_ledger"]
    assert closed["resolution"]["why"] == f"it is {row['_id']}'s"
    assert "due" not in closed
    assert (found(bench), commands.main(["--report"])) == ({}, 0)
    assert '"break.found"' not in capsys.readouterr().out
    looked(bench)
    assert bench.raw.corrections.count_documents({}) == 1
    bench.audit()


def test_the_statement_has_a_line_of_it(bench: Bench) -> None:
    """With its balance, in nobody's name: the transaction was an order to the world outside."""
    ada = stranger(bench)
    paid(bench, ada)
    come(bench, ada)
    (line,) = bench.app.get("wallets/statement", f"wallet_id={ada['_id']}").data["items"]
    assert (line["direction"], line["amount"], line["balance"], line["transaction_id"]) == ("credit", "3", "3", None)


def test_what_they_paid_on_meanwhile_is_booked_after_it(bench: Bench) -> None:
    """It was due for want of what we had paid: a break as any stranger's hand, and no longer due."""
    ada = stranger(bench)
    paid(bench, ada)
    on_chain(bench, (ada["address"], OUTSIDE, UNIT))
    reconciled()
    come(bench, ada)
    assert (posted(bench, ada), external(bench)) == (("2", "2"), UNIT)
    (raised,) = found(bench)["missing_in_ledger"]
    assert "due" not in raised
    bench.audit()


def test_an_order_that_ends_after_they_came_is_theirs_too(bench: Bench) -> None:
    """It was under way to the outside as the wallet was created: it is confirmed as ordered, and passed on."""
    ada = stranger(bench)
    sent = bench.transfer("3", to_address=ada["address"])
    come(bench, ada)
    assert bench.status(sent) != "confirmed"
    bench.settle()
    reconciled()
    assert (posted(bench, ada), external(bench), found(bench)) == (("3", "3"), 0, {})
    bench.audit()


@pytest.mark.parametrize("is_seen_before", [True, False])
def test_what_the_chain_takes_back_is_taken_from_both(bench: Bench, *, is_seen_before: bool) -> None:
    """Reorganised away, the payer has it again; mined again, the payee. Whether it came before that or in between."""
    ada = stranger(bench)
    sent = paid(bench, ada)
    if is_seen_before:
        come(bench, ada)
    row = bench.row(sent)
    bench.provider.private("reorg", depth=1, drop=[row["tx_hash"]])
    looked(bench)
    assert "reorged_at" in bench.row(sent)
    if not is_seen_before:
        come(bench, ada)
    assert (posted(bench, ada), external(bench), treasury(bench)) == (("0", "0"), 0, 0)
    bench.audit()
    bench.provider.private("remine", tx_hash=row["tx_hash"])
    looked(bench)
    assert (posted(bench, ada), external(bench), treasury(bench)) == (("3", "3"), 0, -3 * UNIT)
    assert found(bench) == {}
    bench.audit()


def test_what_is_set_aside_cannot_be_taken_back_yet(bench: Bench) -> None:
    """The payee is about to spend it as its block goes: the payer waits for it, and nothing is negative."""
    ada = stranger(bench)
    sent = paid(bench, ada)
    come(bench, ada)
    assert reserves.take(ada["_id"], UNIT)
    bench.provider.private("reorg", depth=1, drop=[bench.row(sent)["tx_hash"]])
    looked(bench)
    (raised,) = found(bench)["reorged"]
    assert (raised["due"], posted(bench, ada), treasury(bench)) == ("stand", ("3", "2"), -3 * UNIT)
    reserves.give_back(ada["_id"], UNIT, reserves.begin())
    reconcile.run(60.0)
    assert (posted(bench, ada), treasury(bench), external(bench)) == (("0", "0"), 0, 0)
    bench.audit()


def test_a_crash_between_the_break_and_its_booking_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is due, and closed: the next run books it."""
    ada = stranger(bench)
    paid(bench, ada)
    bench.raw.wallets.insert_one(ada)
    monkeypatch.setattr(onward, "explain", lambda *_: None)
    looked(bench)
    monkeypatch.undo()
    (closed,) = found(bench, "resolved")["missing_in_ledger"]
    assert (closed["due"], posted(bench, ada)) == ("stand", ("0", "0"))
    monkeypatch.setattr(revisit, "welcome", lambda: None)
    reconcile.run(60.0)
    assert (posted(bench, ada), external(bench)) == (("3", "3"), 0)
    bench.audit()


def test_two_at_once_book_it_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was frozen comes back after another has done it."""
    ada = stranger(bench)
    sent = paid(bench, ada)
    bench.raw.wallets.insert_one(ada)
    find, raced = breaks.find_of_log, list[str]()

    def late(tx_hash: str, log_index: int) -> Any:
        outcome = find(tx_hash, log_index)
        if not raced:
            raced.append(tx_hash)
            assert onward.pass_on([transactions.find(bench.row(sent)["_id"], None)])  # type: ignore[list-item]
        return outcome

    monkeypatch.setattr(breaks, "find_of_log", late)
    looked(bench)
    assert raced
    assert (posted(bench, ada), external(bench)) == (("3", "3"), 0)
    assert bench.raw.corrections.count_documents({}) == 1
    bench.audit()


def test_a_break_that_had_booked_all_of_it_keeps_the_way_on(bench: Bench) -> None:
    """A transaction takes a break's place: what its payee has got, and spent, by then is not asked back."""
    ada = stranger(bench)
    (mined,) = on_chain(bench, (bench.wallet["address"], ada["address"], 3 * UNIT))
    bench.raw.wallets.insert_one(ada)
    reconciled()
    on_chain(bench, (ada["address"], OUTSIDE, 3 * UNIT))
    reconciled()
    assert posted(bench, ada) == ("0", "0")
    own = bench.wallet["wallet_id"]
    row = sent_long_ago(bench, ada)
    bench.raw.transactions.update_one({"_id": row["_id"]}, {"$set": {"tx_hash": mined["tx_hash"]}})
    told = ["--to", "confirmed", "--evidence", f"tx_hash={mined['tx_hash']}", "--who", "ada"]
    assert resolve.main([row["_id"], *told]) == 0
    assert bench.row(row["_id"])["passed_on"]["wallet_id"] == ada["_id"]
    looked(bench)
    assert (posted(bench, ada), posted(bench, {"_id": own})) == (("0", "0"), ("7", "7"))
    assert len(found(bench)["missing_in_ledger"]) == 1
    bench.audit()


def test_a_break_that_had_not_booked_the_way_on_gets_it(bench: Bench) -> None:
    """It waited for the very transaction that takes its place: nothing else would look for the wallet again."""
    ada = stranger(bench)
    long_ago = clock.now() - timedelta(minutes=90)
    row = sent_long_ago(bench, ada, send_started_at=long_ago, created_at=long_ago)
    (mined,) = on_chain(bench, (bench.wallet["address"], ada["address"], 3 * UNIT))
    reconciled()
    come(bench, ada)
    passes(bench)
    (raised,) = found(bench)["missing_in_ledger"]
    assert len(raised["standing"]) == 1
    told = ["--to", "confirmed", "--evidence", f"tx_hash={mined['tx_hash']}", "--who", "ada"]
    assert resolve.main([row["_id"], *told]) == 0
    looked(bench)
    assert (posted(bench, ada), external(bench), found(bench)) == (("3", "3"), 0, {})
    bench.audit()


def test_an_order_that_the_chain_alone_has_settled_is_passed_on(bench: Bench) -> None:
    """A quarter of an hour after it was sent, when new wallets are not looked at again."""
    ada = stranger(bench)
    row = sent_long_ago(bench, ada)
    come(bench, ada)
    on_chain(bench, (bench.wallet["address"], ada["address"], 3 * UNIT))
    passes(bench, 40)
    assert bench.status(row["_id"]) == "confirmed"
    assert (posted(bench, ada), external(bench)) == (("3", "3"), 0)
    bench.audit()


def test_an_order_that_ends_while_its_transfer_is_judged_is_passed_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the rows and the verdict: the Transfer is not looked at again."""
    ada = stranger(bench)
    row = sent_long_ago(bench, ada, metakeep_transaction_id="polled")
    come(bench, ada)
    (mined,) = on_chain(bench, (bench.wallet["address"], ada["address"], 3 * UNIT))
    passes(bench)
    rivals, ended = compare.rivals_for, list[str]()

    def late(*about: Any) -> Any:
        if not ended:
            ended.append(row["_id"])
            place = {name: mined[name] for name in ("tx_hash", "block_number", "block_hash")}
            evidence = {**place, "settlement": {"tx_hash": mined["tx_hash"], "log_index": 0}}
            assert confirm(bench.row(row["_id"]), evidence, None)  # type: ignore[arg-type]
        return rivals(*about)

    monkeypatch.setattr(compare, "rivals_for", late)
    passes(bench, 5)
    assert ended
    assert (posted(bench, ada), external(bench), found(bench)) == (("3", "3"), 0, {})
    bench.audit()


def test_what_is_mined_again_much_later_is_theirs(bench: Bench) -> None:
    """It was nowhere as the wallet came; then it is there again, and passed on in the run that sees it."""
    ada = stranger(bench)
    sent = paid(bench, ada)
    row = bench.row(sent)
    bench.provider.private("reorg", depth=1, drop=[row["tx_hash"]])
    looked(bench)
    come(bench, ada)
    passes(bench)
    bench.provider.private("remine", tx_hash=row["tx_hash"])
    looked(bench)
    assert (posted(bench, ada), external(bench), treasury(bench)) == (("3", "3"), 0, -3 * UNIT)
    bench.audit()


def test_what_is_due_and_was_mined_elsewhere_is_booked_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Died before it was booked, and a reorganisation gave the Transfer another place: by the transaction, once."""
    ada = stranger(bench)
    sent = paid(bench, ada)
    bench.raw.wallets.insert_one(ada)
    monkeypatch.setattr(onward, "explain", lambda *_: None)
    looked(bench)
    monkeypatch.undo()
    (closed,) = found(bench, "resolved")["missing_in_ledger"]
    assert closed["due"] == "stand"
    bench.raw.transactions.update_one({"_id": bench.row(sent)["_id"]}, {"$set": {"settlement.log_index": 7}})
    passes(bench, 3)
    assert (posted(bench, ada), external(bench), treasury(bench)) == (("3", "3"), 0, -3 * UNIT)
    (closed,) = found(bench, "resolved")["missing_in_ledger"]
    assert (closed["log_index"], closed["standing"]) == (7, [["external", ada["_id"]]])
    bench.audit()


def test_a_break_of_another_transfer_in_its_place_is_not_its_own(bench: Bench) -> None:
    """A reorganisation may give a place to another Transfer of the same transaction of the chain."""
    ada = stranger(bench)
    sent = paid(bench, ada)
    place = bench.row(sent)["settlement"]
    about = {"sender": ZERO, "recipient": OUTSIDE, "amount": "7"}
    other = discrepancies.new_break("missing_in_ledger", "other", "7", {**place, "found": about, "status": "resolved"})
    assert breaks.insert(other)
    come(bench, ada)
    assert posted(bench, ada) == ("3", "3")
    assert breaks.find(other["_id"]) == other
    bench.audit()


def about(sender: str, recipient: str, units: int) -> Row:
    """A Transfer as a break tells of it."""
    return {"sender": sender.lower(), "recipient": recipient.lower(), "amount": str(units)}


def raise_break(bench: Bench, type_: Any, place: Row, of: Row, **more: Any) -> BreakRow:
    """A break about a Transfer, as reconciliation has left it."""
    raised = discrepancies.new_break(type_, unique("subject"), of["amount"], {**place, "found": of, **more})
    assert breaks.insert(raised)
    return raised


def test_what_a_break_holds_for_another_transfer_is_not_its_own(bench: Bench) -> None:
    """A reorganisation gave its place to this one, of the same transaction of the chain: that one's stands."""
    ada, bob = stranger(bench), stranger(bench)
    first = paid(bench, bob)
    come(bench, bob)
    (kept,) = found(bench, "resolved")["missing_in_ledger"]
    sent = bench.transfer("2", to_address=ada["address"])
    bench.settle()
    row = bench.row(sent)
    bench.raw.breaks.update_one({"_id": kept["_id"]}, {"$set": row["settlement"]})
    assert exchange.find_booked(**row["settlement"]) is None
    reconciled()
    come(bench, ada)
    assert (posted(bench, ada), posted(bench, bob)) == (("2", "2"), ("3", "3"))
    assert bench.row(first)["passed_on"]["break_id"] == kept["_id"] != bench.row(sent)["passed_on"]["break_id"]
    bench.audit()


def test_a_strangers_break_in_its_place_gives_it_nothing(bench: Bench) -> None:
    """Of another Transfer, and not undone yet: the transaction takes its place, and what it paid is passed on alone."""
    ada, bob = stranger(bench), bench.new_wallet()
    row = sent_long_ago(bench, ada)
    (mined,) = on_chain(bench, (bench.wallet["address"], ada["address"], 3 * UNIT))
    bench.raw.transactions.update_one({"_id": row["_id"]}, {"$set": {"tx_hash": mined["tx_hash"]}})
    place = {name: mined[name] for name in ("tx_hash", "block_number", "block_hash")} | {"log_index": 0}
    other = raise_break(bench, "missing_in_ledger", place, about(OUTSIDE, bob["address"], UNIT))
    assert correct.stand(other, [Leg("external", bob["wallet_id"])]) is not None
    come(bench, ada)
    told = ["--to", "confirmed", "--evidence", f"tx_hash={mined['tx_hash']}", "--who", "ada"]
    assert resolve.main([row["_id"], *told]) == 0
    looked(bench)
    assert posted(bench, ada) == ("3", "3")
    assert posted(bench, {"_id": bob["wallet_id"]}) == ("0", "0")
    assert breaks.find(other["_id"])["standing"] == []  # type: ignore[index]


def test_a_mismatch_that_was_an_outside_order_after_all(bench: Bench) -> None:
    """Of another type, the break is closed by what it is; the way on has one of its own."""
    ada = stranger(bench)
    row = sent_long_ago(bench, ada)
    (mined,) = on_chain(bench, (bench.wallet["address"], ada["address"], 3 * UNIT))
    place = {name: mined[name] for name in ("tx_hash", "block_number", "block_hash")} | {"log_index": 0}
    of = about(bench.wallet["address"], ada["address"], 3 * UNIT)
    mismatch = raise_break(bench, "party_mismatch", place, of)
    assert correct.stand(mismatch, [Leg(bench.wallet["wallet_id"], "external")]) is not None
    reconciled()
    come(bench, ada)
    bench.raw.sightings.delete_many({})  # a row's own hash, known all along, has none
    passes(bench)
    told = ["--to", "confirmed", "--evidence", f"tx_hash={mined['tx_hash']}", "--who", "ada"]
    assert resolve.main([row["_id"], *told]) == 0
    looked(bench)
    assert (posted(bench, ada), external(bench), found(bench)) == (("3", "3"), 0, {})
    bench.audit()


def test_what_is_due_for_another_transfer_is_not_booked_as_this_ones(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Died before it was booked, and a reorganisation has exchanged the places of two: each payee has its own."""
    ada, bob = stranger(bench), stranger(bench)
    first, second = paid(bench, ada), paid(bench, bob, "2")
    with monkeypatch.context() as dying:
        dying.setattr(onward, "explain", lambda *_: None)
        come(bench, ada)
    (due,) = found(bench, "resolved")["missing_in_ledger"]
    place = {name: due[name] for name in ("tx_hash", "log_index")}
    for sent, settled in ((first, {**place, "log_index": 7}), (second, place)):
        changes = {"tx_hash": settled["tx_hash"], "settlement": settled}
        bench.raw.transactions.update_one({"_id": bench.row(sent)["_id"]}, {"$set": changes})
    come(bench, bob)
    looked(bench)
    assert (posted(bench, ada), posted(bench, bob), external(bench)) == (("3", "3"), ("2", "2"), 0)


def test_a_block_that_is_back_is_not_booked_back(bench: Bench) -> None:
    """What waited for the payee is over: the Transfer is on the chain, as it was."""
    ada = stranger(bench)
    sent = paid(bench, ada)
    come(bench, ada)
    assert reserves.take(ada["_id"], UNIT)
    row = bench.row(sent)
    bench.provider.private("reorg", depth=1, drop=[row["tx_hash"]])
    looked(bench)
    (raised,) = found(bench)["reorged"]
    there = chain.blocks([raised["block_number"]])[raised["block_number"]]
    bench.raw.breaks.update_one({"_id": raised["_id"]}, {"$set": {"block_hash": there.hash}})  # as if it were back
    reserves.give_back(ada["_id"], UNIT, reserves.begin())
    reconcile.run(60.0)
    assert posted(bench, ada) == ("3", "3")
    (closed,) = found(bench, "resolved")["reorged"]
    assert closed["resolution"]["why"] == "its block is back"


def test_however_much_they_were_paid(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """More transfers than one look takes: the next runs go on, without waiting for the next time."""
    monkeypatch.setattr(revisit, "_CLOSED", 2)
    monkeypatch.setattr(revisit, "_NEWCOMERS", 2)
    came = [stranger(bench) for _ in range(3)]
    for row in came:
        for _ in range(3):
            paid(bench, row, "1")
    for row in came:
        row["_id"] = new_id("wlt")
    bench.raw.wallets.insert_many(came)
    bench.time.advance(31)
    for _ in range(10):  # in no time
        reconcile.run(60.0)
    assert [posted(bench, row) for row in came] == [("3", "3")] * 3
    assert external(bench) == 0
    bench.audit()


@pytest.mark.parametrize("minutes", [0, 20])
@pytest.mark.parametrize("is_read_again", [True, False])
def test_what_only_the_provider_has_confirmed_waits_for_the_chain(
    bench: Bench, minutes: int, *, is_read_again: bool
) -> None:
    """Its place on the chain names the break: it is passed on when that is known, however late, and by whom."""
    ada = stranger(bench)
    sent = paid(bench, ada)
    place = bench.row(sent)["settlement"]
    later = clock.now() + timedelta(minutes=minutes)  # one of a backlog
    unseen = {"settlement.log_index": None, "is_unwitnessed": True, "updated_at": later}
    bench.raw.transactions.update_one({"_id": bench.row(sent)["_id"]}, {"$set": unseen})
    come(bench, ada)
    assert posted(bench, ada) == ("0", "0")
    if is_read_again:
        assert reconcile.go_back(bench.row(sent)["block_number"])  # as where a node was configured later
        looked(bench)
    else:
        passes(bench, 20 + minutes)  # what is not witnessed is looked up after the horizon
    assert bench.row(sent)["settlement"] == place
    assert (posted(bench, ada), external(bench)) == (("3", "3"), 0)
    bench.audit()


def test_payments_are_found_by_an_index(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many transactions there are, only those to outside addresses, and to these, are read."""
    with questions(monkeypatch) as heard:
        assert onchain.find_paid_outside([OUTSIDE], 10) == []
    (plan,) = heard.plans(bench.raw, "transactions")
    assert "'indexName': 'paid_outside'" in plan


def test_a_window_without_payments_outside_asks_for_no_wallets(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read all the time costs what it did."""
    row = minted_row(bench)
    with questions(monkeypatch) as heard:
        assert onward.pass_on([row])
    assert heard.asked == []


def test_wallets_that_the_code_before_has_looked_at_are_looked_at_again(bench: Bench) -> None:
    """It did not know of what we had paid them: all wallets of the database, once."""
    ada = stranger(bench)
    paid(bench, ada)
    bench.raw.wallets.insert_one(ada)
    bench.time.advance(3600)
    before = {"$set": {"welcome": None, "welcomed_at": clock.now()}, "$unset": {"greeted_at": ""}}
    bench.raw.controls.update_one({"_id": "reconciliation"}, before)
    looked(bench)
    assert posted(bench, ada) == ("3", "3")
