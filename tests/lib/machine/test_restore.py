"""A restore takes minutes of the books away; the chain gives them back, and a repeated call has no second effect."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from getsmart import clock, mongo
from getsmart.amounts import UNIT
from getsmart.machine import reconcile
from getsmart.models import TREASURY
from getsmart.services import tick
from getsmart.stores import controls, progress, transactions
from ops import recovery, resolve
from ops.verification import verify
from tests.chainbook import found
from tests.crashes import frozen
from tests.money import MINT_PATH, Bench, Row, in_parallel
from tests.restoring import put_back, taken
from tests.support import Answer, unique

Call = Callable[[], Answer]


@pytest.fixture
def key() -> Callable[[str], str]:
    """Keys that no earlier test has used: the sandbox never forgets one."""
    prefix = unique("restore")
    return lambda name: f"{prefix}-{name}"


@dataclass
class Callers:
    """Applications that repeat every call until it is accepted, and remember what they asked for."""

    bench: Bench
    asked: dict[str, Call] = field(default_factory=dict)
    accepted: dict[str, Answer] = field(default_factory=dict)

    def ask(self, name: str, call: Call) -> Answer:
        """Ask for the first time."""
        self.asked[name] = call
        answer = call()
        assert answer.status in (200, 201, 202), answer.text
        return answer

    def retry(self) -> set[tuple[int, str]]:
        """Repeat all of them, side by side; how those that were not accepted were refused."""
        answers = dict(zip(self.asked, in_parallel(list(self.asked.values())), strict=True))
        self.accepted |= {name: answer for name, answer in answers.items() if answer.status < 300}
        return {(answer.status, answer.code) for answer in answers.values() if answer.status >= 300}


def transfers(bench: Bench, first: int) -> list[Row]:
    """All Transfers of the contract since a block."""
    criteria = {"address": bench.sandbox.token_address, "fromBlock": hex(first)}
    return [log for log in bench.provider.rpc("eth_getLogs", criteria) if len(log["topics"]) == 3]


def orders(bench: Bench, key: Callable[[str], str]) -> dict[str, Call]:
    """Calls of every kind, by name; a caller that knows a person by e-mail asks for the wallet each time."""
    other, email = bench.new_wallet(), f"{unique('learner')}@example.com"
    rows = [{"wallet_id": other["wallet_id"], "amount": amount} for amount in ("1", "2", "2")]

    def to_new() -> Answer:
        created = bench.app.post("wallets/create", {"owner": {"email": email}})
        body = {"wallet_id": created.data["wallet_id"], "amount": "5"}
        return bench.app.post("tokens/mint", body, key=key("to-new"))

    return {
        "mint": lambda: bench.mint("10", key=key("mint")),
        "like-1": lambda: bench.mint("3", key=key("like-1")),
        "like-2": lambda: bench.mint("3", key=key("like-2")),
        "badge": lambda: bench.claim_badge("rust", "ada", key=key("badge")),
        "pay": lambda: bench.transfer("4", key=key("pay")),
        "to-new": to_new,
        "airdrop": lambda: bench.app.post("tokens/airdrop", {"reference": "lost", "rows": rows}, key=key("airdrop")),
        "burn": lambda: bench.burn("100", key=key("burn")),
    }


def assert_books_are_the_chains(bench: Bench) -> None:
    """Every promise of the books, and every wallet has what the contract says."""
    assert not list(verify(lambda _name, _number: None))
    for wallet in bench.raw.wallets.find():
        account: Any = bench.raw.accounts.find_one({"_id": wallet["_id"]})
        assert bench.on_chain(wallet["address"]) == (mongo.to_units(account["posted"]) if account else 0)


def ask_in_the_last_moment(callers: Callers, key: Callable[[str], str]) -> None:
    """One call on its way when the disk dies, and one that MetaKeep has and whose answer got lost."""
    bench = callers.bench
    callers.ask("late", lambda: bench.mint("2", key=key("late")))
    bench.provider.fault(MINT_PATH, "reply_lost", times=20)
    callers.ask("unheard", lambda: bench.mint("6", key=key("unheard")))
    bench.provider.clear()


def recover(bench: Bench) -> None:
    """One run of the tick: nothing is sent, the books catch up, and the API answers again by itself."""
    sent = bench.mark()
    bench.time.advance(10)
    tick.run()
    assert bench.calls(MINT_PATH, sent) == []
    assert not controls.is_recovering()
    bench.audit_of_books()
    assert_books_are_the_chains(bench)


def test_everything_comes_back_and_nothing_twice(bench: Bench, pauses: list[float], key: Callable[[str], str]) -> None:
    """Ten minutes of every kind of call are lost while callers retry: the same effects, each once, all in the books."""
    bench.catch_up()
    bench.time.advance(1)
    bench.funded("100")
    first, treasury = int(bench.provider.rpc("eth_blockNumber"), 16) + 1, bench.on_chain(bench.sandbox.treasury_address)
    callers, calls = Callers(bench), orders(bench, key)
    known = callers.ask("known", lambda: bench.mint("7", key=key("known")))  # the backup has it, on its way
    backup, taken_at = taken(bench.raw), clock.now()
    for name, call in calls.items():
        callers.ask(name, call)
        bench.settle(1)
    bench.settle(7)
    assert bench.raw.transactions.count_documents({"status": {"$ne": "confirmed"}}) == 0
    ask_in_the_last_moment(callers, key)
    effects = transfers(bench, first)
    assert clock.now() - taken_at >= timedelta(minutes=10)

    put_back(bench.raw, backup)
    assert callers.retry() == {(503, "recovering")}
    assert callers.accepted.keys() == {"known"}
    recover(bench)
    assert len(found(bench)["missing_in_ledger"]) == 12  # all but the one that the backup knew
    for _ in range(6):
        refused = callers.retry()
        bench.settle(1)
    assert refused == set()
    assert callers.accepted["known"].data["transaction_id"] == known.data["transaction_id"]
    bench.settle(2)
    after = transfers(bench, first)
    assert [log["transactionHash"] for log in after[: len(effects)]] == [log["transactionHash"] for log in effects]
    assert len(after) == 13
    assert bench.on_chain(bench.sandbox.treasury_address) == treasury - 4 * UNIT
    assert_all_is_explained(bench)


def assert_all_is_explained(bench: Bench) -> None:
    """Everything is confirmed, no break is left, and the books are the chain's."""
    assert {row["status"] for row in bench.raw.transactions.find()} == {"confirmed"}
    assert found(bench) == {}
    bench.audit()
    assert_books_are_the_chains(bench)


@pytest.mark.parametrize("kind", ["burn", "transfer"])
def test_all_that_was_spent_is_asked_for_again(bench: Bench, key: Callable[[str], str], kind: str) -> None:
    """Nothing is left to set aside, as the books know that it is gone: the repeated call is accepted all the same."""
    bench.catch_up()
    bench.time.advance(1)
    bench.funded("10")
    amount = "10"
    if kind == "transfer":
        bench.limit(TREASURY, "10")
    backup = taken(bench.raw)
    lost: Answer = getattr(bench, kind)(amount, key=key("all"))
    bench.settle()
    assert bench.status(lost) == "confirmed"
    put_back(bench.raw, backup)
    tick.run()
    assert bench.available(TREASURY if kind == "transfer" else bench.wallet["wallet_id"]) == 0
    again: Answer = getattr(bench, kind)(amount, key=key("all"))
    assert again.status == 202, again.text
    bench.audit_of_books()
    bench.settle()
    assert bench.status(again) == "confirmed"
    assert found(bench) == {}
    bench.audit_of_books()
    other: Answer = getattr(bench, kind)(amount, key=key("more"))
    assert (other.status, other.code) == (409, "insufficient_balance")


def test_another_order_for_what_is_gone_gives_it_back_to_its_break(bench: Bench, key: Callable[[str], str]) -> None:
    """A new burn of the same amount is let through, fails on the chain, and the lost one is booked again."""
    bench.catch_up()
    bench.time.advance(1)
    bench.funded("10")
    backup = taken(bench.raw)
    bench.burn("10", key=key("lost"))
    bench.settle()
    put_back(bench.raw, backup)
    tick.run()
    other = bench.burn("10", key=key("other"))
    assert other.status == 202
    (booked,) = found(bench)["missing_in_ledger"]
    assert (booked["standing"], booked["due"]) == ([["external", "burned"]], "stand")
    bench.settle(3)
    assert bench.status(other) == "failed"
    (booked,) = found(bench)["missing_in_ledger"]
    assert sorted(booked["standing"]) == sorted([["external", "burned"], [bench.wallet["wallet_id"], "external"]])
    assert bench.balance()["posted"] == bench.balance()["available"] == "0"
    bench.audit()


@pytest.fixture
def shadowed(bench: Bench, key: Callable[[str], str]) -> Bench:
    """A mint of 3 GETS was carried out 20 minutes ago, and a restore has taken it away."""
    bench.catch_up()
    bench.time.advance(1)
    backup = taken(bench.raw)
    bench.mint("3", key=key("lost"))
    bench.settle()
    bench.time.advance(20 * 60)
    put_back(bench.raw, backup)
    tick.run()
    assert not controls.is_recovering()
    assert list(found(bench)) == ["missing_in_ledger"]
    return bench


def test_what_metakeep_may_have_forgotten_is_not_asked_for_again(shadowed: Bench, key: Callable[[str], str]) -> None:
    """Later than 15 minutes a repeated call is kept and not sent: a person says whether the Transfer is its own."""
    bench, sent = shadowed, shadowed.mark()
    answer = bench.mint("3", key=key("lost"))
    assert (answer.status, answer.data["status"]) == (202, "unknown")
    bench.settle(3)
    assert bench.calls(MINT_PATH, sent) == []
    raised = found(bench)
    assert raised["ambiguous"][0]["candidates"] == [answer.data["transaction_id"]]
    (booked,) = raised["missing_in_ledger"]
    words = ["--to", "confirmed", "--evidence", f"tx_hash={booked['tx_hash']}"]
    assert resolve.main([answer.data["transaction_id"], *words]) == 0
    bench.time.advance(61)
    tick.run()
    assert found(bench) == {}
    assert bench.logs() == 1
    bench.audit()


@pytest.mark.parametrize("is_left", [True, False])
def test_what_froze_and_is_held_back_holds_its_amount(
    shadowed: Bench, key: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, is_left: bool
) -> None:
    """A repair took its amount for a leak: it is set aside once more, or where that is not left never given back."""
    bench = shadowed
    if not is_left:
        bench.limit("supply", "3")
    before = bench.available("supply")
    frozen(bench, monkeypatch, transactions, "insert", tuple if is_left else partial(bench.mint, "1"))
    answer = bench.mint("3", key=key("lost"))
    assert answer.data["status"] == "unknown"
    bench.time.advance(16 * 60)
    assert bench.available("supply") == before - (3 * UNIT if is_left else UNIT)
    statement = "statement=the caller says that this was a new order"
    assert resolve.main([answer.data["transaction_id"], "--to", "cancelled", "--evidence", statement]) == 0
    assert bench.available("supply") == before - (0 if is_left else UNIT)
    bench.time.advance(61)
    tick.run()
    bench.audit_of_books()


def test_what_was_mined_before_the_backup_is_no_lost_call(shadowed: Bench) -> None:
    """An open break of another day holds back no order like it, nor does it keep others held back."""
    bench = shadowed
    (lost,) = bench.raw.breaks.find()
    bench.raw.breaks.update_one({"_id": lost["_id"]}, {"$set": {"mined_at": lost["mined_at"] - timedelta(hours=1)}})
    minted = bench.mint("3")
    bench.settle()
    assert bench.status(minted) == "confirmed"
    bench.time.advance(61 * 60)
    tick.run()
    assert not controls.read_recovery()["is_overshadowed"]
    bench.audit_of_books()


def test_what_strangers_paid_may_be_the_lost_call(shadowed: Bench) -> None:
    """Whoever had no wallet in the backup: a Transfer of theirs was closed as such, and counts all the same."""
    bench = shadowed
    (lost,) = bench.raw.breaks.find()
    closed = {"who": "reconciliation", "why": "nothing of ours moved", "at": lost["updated_at"]}
    sides = {
        "sender": bench.sandbox.treasury_address.lower(),
        **{name: lost["found"][name] for name in ("recipient", "amount")},
    }
    bench.raw.breaks.update_one(
        {"_id": lost["_id"]}, {"$set": {"status": "resolved", "resolution": closed, "found": sides}}
    )
    sent = bench.mark()
    assert bench.transfer("3").data["status"] == "unknown"
    assert bench.calls("/v2/app/coin/transfer", sent) == []


def test_another_order_goes_its_way(shadowed: Bench) -> None:
    """Of another amount, it cannot be what was lost."""
    other = shadowed.mint("4")
    shadowed.settle()
    assert shadowed.status(other) == "confirmed"
    shadowed.audit_of_books()


def test_a_look_alike_that_was_new_is_let_go_by_a_statement(shadowed: Bench, key: Callable[[str], str]) -> None:
    """A person finds that it was no repetition: it ends without effect, and under another key it is made."""
    answer = shadowed.mint("3", key=key("new"))
    shadowed.time.advance(16 * 60)
    statement = "statement=the caller says that this was a new order"
    assert resolve.main([answer.data["transaction_id"], "--to", "cancelled", "--evidence", statement]) == 0
    shadowed.time.advance(61)
    tick.run()
    assert list(found(shadowed)) == ["missing_in_ledger"]
    shadowed.audit_of_books()


def test_once_nothing_is_unexplained_nobody_is_held_back(shadowed: Bench) -> None:
    """A closed break casts no shadow, once what MetaKeep may have had queued must have been mined: after an hour."""
    shadowed.raw.breaks.update_many({}, {"$set": {"status": "resolved", "resolution": {"who": "ada"}}})
    shadowed.time.advance(59 * 60)
    tick.run()
    assert controls.read_recovery()["is_overshadowed"]
    shadowed.time.advance(61)
    tick.run()
    assert not controls.read_recovery()["is_overshadowed"]
    minted = shadowed.mint("3")
    shadowed.settle()
    assert shadowed.status(minted) == "confirmed"


def test_a_forced_end_holds_back_until_the_chain_was_read(bench: Bench, key: Callable[[str], str]) -> None:
    """Money moves before the head is reached: the shadow stays while more may come, and beyond where something came."""
    bench.catch_up()
    bench.time.advance(1)
    bench.funded("1")
    backup, place = taken(bench.raw), progress.read()
    assert place is not None
    bench.mint("3", key=key("lost"))
    bench.settle()
    bench.time.advance(20 * 60)
    put_back(bench.raw, backup)
    assert recovery.main(["off", "--force"]) == 0
    reconcile.run(5, last=place.block_number)
    assert controls.read_recovery()["is_overshadowed"]
    bench.time.advance(31)
    tick.run()
    assert list(found(bench)) == ["missing_in_ledger"]
    held_back = bench.mint("3", key=key("lost"))
    assert (held_back.status, held_back.data["status"]) == (202, "unknown")
    assert bench.logs() == 2


def test_an_airdrop_that_was_lost_is_held_back_row_by_row(bench: Bench, key: Callable[[str], str]) -> None:
    """Only the rows that the chain has, too long ago, wait for a person."""
    bench.catch_up()
    bench.time.advance(1)
    backup = taken(bench.raw)
    rows = [{"wallet_id": bench.wallet["wallet_id"], "amount": amount} for amount in ("1", "2")]
    order = {"reference": "r", "rows": rows}
    assert bench.app.post("tokens/airdrop", order, key=key("a")).status == 202
    bench.settle(3)
    bench.time.advance(20 * 60)
    put_back(bench.raw, backup)
    tick.run()
    more = {"reference": "r2", "rows": [*rows, {"wallet_id": bench.wallet["wallet_id"], "amount": "9"}]}
    assert bench.app.post("tokens/airdrop", more, key=key("b")).status == 202
    bench.settle(3)
    states = {mongo.to_units(row["amount"]) // UNIT: row["status"] for row in bench.raw.transactions.find()}
    assert states == {1: "unknown", 2: "unknown", 9: "confirmed"}
    assert bench.logs() == 3
    bench.audit_of_books()


def test_what_was_queued_in_the_backup_and_sent_since_is_found(
    bench: Bench, pauses: list[float], key: Callable[[str], str]
) -> None:
    """The backup knows it unsent, the chain has it, long ago: it is given its Transfer, and not sent again."""
    bench.catch_up()
    bench.time.advance(1)
    order = {"reference": "r", "rows": [{"wallet_id": bench.wallet["wallet_id"], "amount": "8"}]}
    assert bench.app.post("tokens/airdrop", order, key=key("a")).status == 202
    bench.provider.fault(MINT_PATH, "429", times=200)
    tick.run()
    row = bench.only_row()
    gone = {"send_started_at": "", "is_in_flight": ""}
    bench.raw.transactions.update_one({"_id": row["_id"]}, {"$unset": gone})
    bench.raw.transactions.update_one({"_id": row["_id"]}, {"$set": {"is_in_flight": False, "attempts": 0}})
    backup = taken(bench.raw)
    bench.provider.clear()
    bench.settle(3)
    assert bench.status(row["_id"]) == "confirmed"
    bench.time.advance(20 * 60)
    put_back(bench.raw, backup)
    sent = bench.mark()
    bench.settle(2)
    assert bench.status(row["_id"]) == "confirmed"
    assert bench.calls(MINT_PATH, sent) == []
    assert bench.logs() == 1
    assert found(bench) == {}
    bench.audit()


def test_a_transfer_with_consent_that_was_lost_is_not_called_expired(bench: Bench, key: Callable[[str], str]) -> None:
    """Asked for again after a restore it has the old token; the chain has its Transfer, so a person decides."""
    bench.catch_up()
    bench.time.advance(1)
    bench.funded("10")
    target = bench.new_wallet()
    body = {"from_wallet_id": bench.wallet["wallet_id"], "to_wallet_id": target["wallet_id"], "amount": "4"}
    backup = taken(bench.raw)
    asked = bench.app.post("tokens/transfer", body, key=key("lost")).data
    bench.provider.private("consent", consentToken=asked["consent_token"], action="approve")
    bench.settle(1)
    put_back(bench.raw, backup)
    bench.settle(1)
    assert bench.balance()["posted"] == "6"
    again = bench.app.post("tokens/transfer", body, key=key("lost")).data
    assert again["consent_token"] == asked["consent_token"]
    bench.time.advance(15 * 60)
    tick.run()
    assert bench.status(again["transaction_id"]) == "awaiting_consent"
    raised = found(bench)
    assert raised["ambiguous"][0]["transaction_id"] == again["transaction_id"]
    tx_hash = raised["missing_in_ledger"][0]["tx_hash"]
    assert resolve.main([again["transaction_id"], "--to", "confirmed", "--evidence", f"tx_hash={tx_hash}"]) == 0
    bench.time.advance(61)
    tick.run()
    assert found(bench) == {}
    assert bench.balance()["posted"] == "6"
    bench.audit_of_books()


def test_a_token_that_is_reported_late_counts(bench: Bench, key: Callable[[str], str]) -> None:
    """The front end still has the id that MetaKeep gave it: it is this transfer's, though the block is older."""
    bench.catch_up()
    bench.time.advance(1)
    bench.funded("10")
    target = bench.new_wallet()
    body = {"from_wallet_id": bench.wallet["wallet_id"], "to_wallet_id": target["wallet_id"], "amount": "4"}
    backup = taken(bench.raw)
    asked = bench.app.post("tokens/transfer", body, key=key("lost")).data
    its_id = bench.provider.private("consent", consentToken=asked["consent_token"], action="approve")["transactionId"]
    bench.time.advance(5)
    put_back(bench.raw, backup)
    bench.settle(1)
    again = bench.app.post("tokens/transfer", body, key=key("lost")).data
    report = {"transaction_id": again["transaction_id"], "metakeep_transaction_id": its_id}
    assert bench.app.post("tokens/consent", report).data["status"] == "confirmed"
    assert found(bench) == {}
    bench.audit()


def test_a_restore_during_the_reading_is_not_called_over(bench: Bench) -> None:
    """A recovery that began after the head was read is not ended by that reading."""
    controls.set_recovering(is_recovering=True)
    begun_at = controls.read_recovery()["at"]
    bench.time.advance(1)
    controls.set_recovering(is_recovering=True)
    assert not controls.end_recovery(begun_at, {})
    assert controls.is_recovering()


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)])
def test_many_orders_in_random_order(bench: Bench, pauses: list[float], key: Callable[[str], str], seed: int) -> None:
    """Mints, payments and burns among three wallets, some alike; the disk dies at a random moment of a random past."""
    chance = random.Random(seed)
    bench.catch_up()
    bench.time.advance(1)
    bench.funded("50")
    callers = Callers(bench)
    backup = taken(bench.raw)
    for number in range(24):
        kind = chance.choice(("mint", "mint", "transfer", "burn"))
        amount = str(chance.randint(1, 3))

        def call(kind: str = kind, amount: str = amount, its_key: str = key(f"r-{number}")) -> Answer:
            done: Answer = getattr(bench, kind)(amount, key=its_key)
            return done

        callers.ask(f"{number}", call)
        bench.time.advance(chance.choice((0, 1, 5, 20)))
        if chance.random() < 0.5:
            tick.run()
        if number == 4:
            backup = taken(bench.raw)
    bench.time.advance(chance.choice((0, 3, 60)))
    put_back(bench.raw, backup)
    for _ in range(8):
        refused = callers.retry()
        bench.settle(1)
    assert refused == set()
    bench.settle(2)
    bench.time.advance(61)
    tick.run()
    assert bench.raw.transactions.count_documents({"status": "confirmed"}) == 25
    assert found(bench) == {}
    bench.audit()
    assert not list(verify(lambda _name, _number: None))
