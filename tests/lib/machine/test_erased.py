"""An order and an erasure of one person at the same moment: one is refused, and nothing names who is gone."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.collection import Collection

from getsmart.services import tick
from getsmart.stores import batches, transactions, wallets
from tests.crashes import Crashes
from tests.money import BURN_PATH, MINT_PATH, TRANSFER_PATH, Bench, in_parallel
from tests.support import Answer, unique

KINDS = {"mint": MINT_PATH, "transfer": TRANSFER_PATH, "burn": BURN_PATH}


def erase(bench: Bench) -> Answer:
    """Ask for it."""
    return bench.app.post("wallets/erase", {"wallet_id": bench.wallet["wallet_id"]})


def order(bench: Bench, kind: str) -> Answer:
    """A mint, a payment or a burn of 1 GETS."""
    return {"mint": bench.mint, "transfer": bench.transfer, "burn": bench.burn}[kind]("1")


def between(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, work: Callable[[], Any], *, after: bool = False
) -> list[Any]:
    """Do `work` just before (or after) the next call of this step; what it returned."""
    real, done = getattr(module, name), []

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(module, name, real)
        result = real(*arguments, **options) if after else None
        done.append(work())
        return result if after else real(*arguments, **options)

    monkeypatch.setattr(module, name, meanwhile)
    return done


def is_named(bench: Bench) -> bool:
    """Whether the person's address stands anywhere in the database."""
    rows = {name: list(bench.raw[name].find()) for name in bench.raw.list_collection_names()}
    return bench.wallet["owner"]["email"] in json.dumps(rows, default=str)


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_between_the_look_and_the_erasure_stops_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It is accepted and confirmed; the erasure is 409, and possible later."""
    bench.funded("5")
    orders = between(monkeypatch, wallets, "erase", lambda: order(bench, kind))
    refused = erase(bench)
    assert (refused.status, refused.code) == (409, "invalid_state")
    assert (orders[0].status, orders[0].data["status"]) == (202, "submitted")
    bench.settle()
    assert bench.status(orders[0]) == "confirmed"
    assert erase(bench).status == 200
    assert not is_named(bench)
    bench.audit()


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_whose_owner_was_erased_before_its_claim_is_not_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It had read the wallet before, and claims after: it fails, nothing leaves, and what it held is free again."""
    bench.funded("5")
    sent = len(bench.calls(KINDS[kind]))
    free = {name: bench.available(name) for name in ("supply", "treasury", bench.wallet["wallet_id"])}
    erasures = between(monkeypatch, transactions, "insert", lambda: erase(bench))
    late = order(bench, kind)
    assert erasures[0].status == 200
    assert (late.status, late.data["status"]) == (202, "failed")
    assert late.data["failure"]["code"] == "wallet_erased"
    assert len(bench.calls(KINDS[kind])) == sent
    assert {name: bench.available(name) for name in free} == free
    assert not is_named(bench)
    bench.audit()


def test_an_erasure_that_comes_while_its_mark_is_taken_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order has seen the mark, and before it takes it the wallet is erased: it looks once more, and is not sent."""
    real, orders = wallets.erase, []

    def late(*arguments: Any) -> None:
        monkeypatch.setattr(wallets, "erase", real)
        between(monkeypatch, Collection, "update_many", lambda: real(*arguments))
        orders.append(bench.mint())
        real(*arguments)

    monkeypatch.setattr(wallets, "erase", late)
    assert erase(bench).status == 200
    assert (orders[0].status, orders[0].data["status"]) == (202, "failed")
    assert bench.calls(MINT_PATH) == []
    again = bench.mint()
    assert (again.status, again.code) == (409, "invalid_state")


def test_a_claim_that_died_before_it_looked_is_not_sent_by_the_tick(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes it over looks first; and where no erasure came between, it is sent."""
    crashes = Crashes(monkeypatch)
    key = unique("key")
    crashes.die("after getsmart.stores.transactions.insert", lambda: bench.mint(key=key))
    assert erase(bench).status == 409
    bench.settle()
    assert bench.only_row()["status"] == "confirmed"
    between(monkeypatch, transactions, "insert", lambda: erase(bench))
    crashes.die("after getsmart.stores.transactions.insert", bench.mint)
    before = len(bench.calls(MINT_PATH))
    bench.settle()
    assert {row["status"] for row in bench.raw.transactions.find()} == {"confirmed", "failed"}
    assert len(bench.calls(MINT_PATH)) == before
    assert not is_named(bench)
    bench.audit()


def test_a_mark_whose_maker_died_harms_nobody(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order takes it away; without one the next erasure goes on with it."""
    for after in ("order", "erasure"):
        with monkeypatch.context() as patch:
            patch.setattr(wallets, "end_erasure", lambda *_: None)
            patch.setattr(transactions, "has_open", lambda _: True)
            assert erase(bench).status == 409
        (row,) = bench.raw.wallets.find()
        assert "erasing" in row
        if after == "order":
            assert bench.mint().data["status"] == "submitted"
            (row,) = bench.raw.wallets.find()
            assert "erasing" not in row
            bench.settle()
    assert erase(bench).status == 200


def test_rows_of_an_airdrop_and_an_erasure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepted and unfolded between the look and the erasure: refused. Erased before it is unfolded: its row fails."""
    body = {"reference": unique("r"), "rows": [{"wallet_id": bench.wallet["wallet_id"], "amount": "1"}]}

    def drop() -> Answer:
        answer = bench.app.post("tokens/airdrop", body, key=unique("airdrop"))
        tick.run()
        return answer

    dropped = between(monkeypatch, wallets, "erase", drop)
    assert erase(bench).status == 409
    assert dropped[0].status == 202
    bench.settle(3)
    assert bench.only_row()["status"] == "confirmed"
    body["reference"] = unique("r")
    real = batches.change

    def before_the_last(row: Any, changes: Any, **options: Any) -> Any:
        if changes.get("status") == "queued":
            monkeypatch.setattr(batches, "change", real)
            assert erase(bench).status == 200
        return real(row, changes, **options)

    monkeypatch.setattr(batches, "change", before_the_last)
    drop()
    bench.settle(4)
    assert sorted(row["status"] for row in bench.raw.transactions.find()) == ["confirmed", "failed"]
    assert not is_named(bench)
    bench.audit()


def test_a_batch_that_begins_to_be_worked_off_is_not_overlooked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It moves on between the two reads of open batches, or its row between the two looks: found all the same."""
    body = {"reference": unique("r"), "rows": [{"wallet_id": bench.wallet["wallet_id"], "amount": "1"}]}
    bench.app.post("tokens/airdrop", body, key=unique("airdrop"))
    database, reads = batches.database, []

    def second_read_after_a_tick() -> Any:
        reads.append(1)
        if len(reads) == 2:
            monkeypatch.setattr(batches, "database", database)
            tick.run()
        return database()

    monkeypatch.setattr(batches, "database", second_read_after_a_tick)
    assert len(batches.find_open()) == 1
    body["reference"] = unique("r")
    bench.app.post("tokens/airdrop", body, key=unique("airdrop"))
    bench.time.advance(1)
    look = batches.has_waiting
    between(monkeypatch, batches, "has_waiting", tick.run)
    assert (erase(bench).status, look(bench.wallet["wallet_id"])) == (409, False)


def test_erasures_and_orders_at_once(bench: Bench) -> None:
    """Many times: whichever won, nobody who was erased is named, and each order that was taken was carried out."""
    ends = set()
    for _ in range(12):
        bench.wallet = bench.new_wallet()
        erased, *orders = in_parallel([lambda: erase(bench), bench.mint, bench.mint])
        statuses = [one.data["status"] if one.status == 202 else one.code for one in orders]
        assert erased.status in (200, 409)
        assert set(statuses) <= ({"failed", "invalid_state"} if erased.status == 200 else {"submitted"}), statuses
        assert erased.status == 409 or not is_named(bench)
        ends.add((erased.status, *sorted(statuses)))
    bench.settle()
    bench.audit_of_books()
    assert ends
