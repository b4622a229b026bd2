"""Every Transfer of the chain finds its transaction or a break, every transaction its Transfer; nothing is guessed."""

from datetime import timedelta
from typing import Any

import pytest

from getsmart import chain, clock, config, mongo
from getsmart.amounts import UNIT
from getsmart.machine import reconcile
from getsmart.services import health, tick, views
from getsmart.stores import progress
from ops import reconcile as commands
from ops import resolve
from tests.chainbook import (
    OUTSIDE,
    ZERO,
    confirmed_row,
    external,
    found,
    on_chain,
    reconciled,
    unknown_row,
)
from tests.money import Bench, units
from tests.node import Node


@pytest.fixture(autouse=True)
def _present(bench: Bench) -> None:
    """What is mined now is dated now, also where an earlier test of this chain was ahead."""
    bench.catch_up()


def test_what_is_clean_raises_no_break(bench: Bench) -> None:
    """A mint, a payment and a burn: all match, and the token says how far the chain was read."""
    bench.funded("50")
    bench.transfer("3")
    bench.burn("2")
    bench.settle()
    reconciled()
    assert found(bench) == {}
    head = int(bench.provider.rpc("eth_blockNumber"), 16)
    assert views.token()["reconciled_to_block"] == head
    bench.audit()


def test_a_mint_that_nobody_ordered_is_booked_through_external(bench: Bench) -> None:
    """The wallet has what the chain says, the supply has less, and the break names the Transfer."""
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], 5 * UNIT))
    free = bench.available("supply")
    reconciled()
    (raised,) = found(bench)["missing_in_ledger"]
    assert (raised["tx_hash"], raised["log_index"], raised["block_number"]) == (
        mined["tx_hash"],
        0,
        mined["block_number"],
    )
    assert raised["found"] == {"sender": ZERO, "recipient": bench.wallet["address"].lower(), "amount": str(5 * UNIT)}
    assert raised["standing"] == [["issuance", "external"], ["external", bench.wallet["wallet_id"]]]
    assert bench.available("supply") == free - 5 * UNIT
    assert bench.balance()["posted"] == bench.balance()["available"] == "5"
    assert external(bench) == 0
    tick.run()
    assert views.token()["minted"] == "20000005"
    bench.audit()
    reconciled()
    assert bench.raw.breaks.count_documents({}) == 1
    bench.audit()


def test_what_leaves_a_wallet_by_itself_is_booked(bench: Bench) -> None:
    """A holder pays somebody outside: the wallet has less, `external` more."""
    bench.funded("10")
    on_chain(bench, (bench.wallet["address"], OUTSIDE, 4 * UNIT))
    reconciled()
    (raised,) = found(bench)["missing_in_ledger"]
    assert raised["standing"] == [[bench.wallet["wallet_id"], "external"]]
    assert (bench.balance()["posted"], bench.balance()["available"]) == ("6", "6")
    assert external(bench) == 4 * UNIT
    bench.audit()


def test_what_is_set_aside_is_booked_when_it_is_free(bench: Bench) -> None:
    """A holder spends what a burn holds: the break waits, visibly, until the burn has failed; then it is booked."""
    bench.funded("10")
    bench.provider.fault("/v2/app/coin/burn", "failed")
    burnt = bench.burn("10")
    on_chain(bench, (bench.wallet["address"], OUTSIDE, 4 * UNIT))
    reconciled()
    (raised,) = found(bench)["missing_in_ledger"]
    assert (raised["standing"], raised["due"]) == ([], "stand")
    bench.audit()
    bench.settle()
    assert bench.status(burnt) == "failed"
    assert found(bench)["missing_in_ledger"][0]["standing"] == [[bench.wallet["wallet_id"], "external"]]
    bench.audit()


@pytest.mark.parametrize("units_", [0, 7])
def test_where_nothing_of_ours_moves_nobody_is_called(bench: Bench, units_: int) -> None:
    """A Transfer of nothing, or between strangers, has its break, and it is closed at once."""
    other = "0x" + "f6" * 20
    on_chain(bench, (ZERO, OUTSIDE, 9))
    reconciled()
    on_chain(bench, (OUTSIDE, other if units_ else bench.wallet["address"], units_))
    reconciled()
    assert len(found(bench)["missing_in_ledger"]) == 1
    (closed,) = found(bench, "resolved")["missing_in_ledger"]
    assert closed["resolution"]["why"] == "nothing of ours moved"
    bench.audit()


def test_a_confirmed_row_that_the_chain_does_not_have(bench: Bench) -> None:
    """Its books stand, as absence cancels nothing; a person has to look."""
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    row = confirmed_row(bench, {**mined, "tx_hash": "0x" + "ab" * 32})
    reconciled()
    (raised,) = found(bench)["missing_on_chain"]
    assert raised["transaction_id"] == row["_id"]
    assert bench.status(row["_id"]) == "confirmed"
    assert len(found(bench)["missing_in_ledger"]) == 1


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"amount": mongo.to_decimal(2 * UNIT)}, "amount_mismatch"),
        ({"target": {"account": "external", "address": OUTSIDE}}, "party_mismatch"),
        ({"origin": {"account": "treasury"}}, "party_mismatch"),
    ],
)
def test_a_row_that_says_something_else_than_the_chain(bench: Bench, change: dict[str, object], kind: str) -> None:
    """The break has both versions; the books are a person's to mend."""
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    row = confirmed_row(bench, mined)
    bench.raw.transactions.update_one({"_id": row["_id"]}, {"$set": change})
    reconciled()
    (raised,) = found(bench)[kind]
    assert raised["transaction_id"] == row["_id"]
    assert raised["found"]["amount"] == str(UNIT)
    assert raised["expected"] != raised["found"]
    assert list(found(bench)) == [kind]


def test_one_candidate_and_one_transfer_are_each_others(bench: Bench) -> None:
    """An unknown row without a hash is confirmed by the only Transfer that can be its own."""
    row = unknown_row(bench)
    bench.time.advance(16 * 60)
    bench.raw.transactions.update_one(
        {"_id": row["_id"]}, {"$set": {"send_started_at": clock.now() - timedelta(minutes=16)}}
    )
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    reconciled()
    settled = bench.row(row["_id"])
    assert (settled["status"], settled["tx_hash"], settled["block_number"]) == (
        "confirmed",
        mined["tx_hash"],
        mined["block_number"],
    )
    assert found(bench) == {}
    bench.audit()


@pytest.mark.parametrize(("rows", "transfers"), [(2, 1), (1, 2), (2, 2)])
def test_look_alikes_are_never_guessed(bench: Bench, rows: int, transfers: int) -> None:
    """More than one of either: each Transfer is an `ambiguous` break that names the candidates; nothing is booked."""
    made = [unknown_row(bench) for _ in range(rows)]
    bench.time.advance(16 * 60)
    on_chain(bench, *[(ZERO, bench.wallet["address"], UNIT)] * transfers)
    reconciled()
    raised = found(bench)["ambiguous"]
    assert len(raised) == transfers
    assert all(one["candidates"] == sorted(row["_id"] for row in made) for one in raised)
    assert {bench.status(row["_id"]) for row in made} == {"unknown"}
    assert list(found(bench)) == ["ambiguous"]
    bench.audit()


def test_nobody_is_chosen_while_some_of_the_chain_is_unread(bench: Bench) -> None:
    """The first of two equal Transfers is not the only one because reading has come no further; it waits."""
    row = unknown_row(bench)
    bench.time.advance(16 * 60)
    first, second = on_chain(bench, *[(ZERO, bench.wallet["address"], UNIT)] * 2)
    assert first["block_number"] < second["block_number"]
    reconcile.run(60.0, last=first["block_number"])
    assert (found(bench), bench.status(row["_id"])) == ({}, "unknown")
    reconciled()
    bench.time.advance(60)
    reconciled()
    assert [one["candidates"] for one in found(bench)["ambiguous"]] == [[row["_id"]]] * 2
    assert (list(found(bench)), bench.status(row["_id"])) == (["ambiguous"], "unknown")
    bench.audit()


def test_a_row_under_way_is_waited_for(bench: Bench) -> None:
    """A Transfer that a row may still name is nobody's break; once the row has ended otherwise, it is."""
    minted = bench.mint("1")
    bench.time.advance(3)
    on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    reconciled()
    assert found(bench) == {}
    assert bench.raw.sightings.count_documents({}) == 2
    bench.settle()
    assert bench.status(minted) == "confirmed"
    bench.settle()
    assert [row["found"]["amount"] for row in found(bench)["missing_in_ledger"]] == [str(UNIT)]
    assert bench.raw.sightings.count_documents({}) == 0
    bench.audit()


def test_a_row_that_failed_although_the_chain_has_it(bench: Bench) -> None:
    """MetaKeep said failed, the chain shows the Transfer: booked, and the break names the row."""
    minted = bench.mint("1")
    bench.time.advance(3)
    bench.settle(1)
    row = bench.row(minted)
    failed = {"status": "failed", "timeline.2.status": "failed", "hold.state": "settled"}
    assert row["status"] == "confirmed"
    bench.raw.transactions.update_one({"_id": row["_id"]}, {"$set": failed})
    reconcile.go_back(row["block_number"])
    reconciled()
    assert found(bench)["missing_in_ledger"][0]["transaction_id"] == row["_id"]


def test_a_row_that_only_metakeep_has_confirmed_is_looked_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, sandbox: object
) -> None:
    """Confirmed without a node: once there is one, the row gets its place, or a break."""
    node = str(config.read(config.ChainSettings).rpc_url)
    monkeypatch.delenv("CHAIN_RPC_URL")
    config.forget()
    bench.funded("3")
    (row,) = bench.raw.transactions.find()
    assert row["is_unwitnessed"]
    monkeypatch.setenv("CHAIN_RPC_URL", node)
    config.forget()
    reconciled()
    row = bench.row(row["_id"])
    assert row["settlement"]["log_index"] == 0
    assert row["block_hash"]
    assert "is_unwitnessed" not in row
    lost = {"tx_hash": "0x" + "cd" * 32, "settlement": {"tx_hash": "0x" + "cd" * 32, "log_index": None}}
    bench.raw.transactions.update_one(
        {"_id": row["_id"]},
        {"$set": {**lost, "is_unwitnessed": True}, "$unset": {"block_number": "", "block_hash": ""}},
    )
    bench.time.advance(16 * 60)
    reconciled()
    assert found(bench)["missing_on_chain"][0]["transaction_id"] == row["_id"]


def test_only_what_lies_deep_enough_is_compared(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the confirmation depth nothing counts yet."""
    monkeypatch.setenv("CONFIRMATION_DEPTH", "3")
    config.forget()
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    reconcile.run(1.0)
    assert found(bench) == {}
    on_chain(bench, *[(ZERO, OUTSIDE, 1)] * 3)
    reconcile.run(1.0)
    assert [row["tx_hash"] for row in found(bench)["missing_in_ledger"]] == [mined["tx_hash"]]


def test_it_goes_on_where_it_stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of two blocks, one a run: each Transfer once, in order."""
    monkeypatch.setattr(reconcile, "WINDOW", 2)
    mined = on_chain(bench, *[(ZERO, bench.wallet["address"], UNIT)] * 7)
    blocks = [reconcile.run(0.0).blocks for _ in range(5)]
    assert blocks == [2, 2, 2, 1, 0]
    assert [row["tx_hash"] for row in found(bench)["missing_in_ledger"]] == [one["tx_hash"] for one in mined]
    assert bench.balance()["posted"] == "7"
    bench.audit()


def test_the_genesis_mint_is_the_one_that_migration_0001_booked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from the first block on: the genesis mint is matched, a second one like it is a break."""
    monkeypatch.setenv("TOKEN_FIRST_BLOCK", "0")
    config.forget()
    reconcile.run(60.0, last=2)
    (place,) = bench.raw.controls.find({"_id": progress.NAME})
    assert place["genesis"]["block_number"] == 1
    assert found(bench).get("missing_in_ledger", []) == [] or all(
        row["block_number"] > 1 for row in found(bench)["missing_in_ledger"]
    )
    (second,) = on_chain(bench, (ZERO, bench.sandbox.treasury_address, units("20000000")))
    bench.raw.controls.update_one(
        {"_id": progress.NAME}, {"$set": {"to_block": second["block_number"] - 1, "block_hash": ""}}
    )
    reconciled()
    assert second["tx_hash"] in [row["tx_hash"] for row in found(bench)["missing_in_ledger"]]


@pytest.mark.parametrize(("depth", "is_dropped"), [(1, True), (1, False), (7, True), (64, False)])
def test_a_reorganisation_is_followed(bench: Bench, depth: int, is_dropped: bool) -> None:
    """Up to 64 blocks under what was reconciled: what is gone is booked back, what only moved stays booked."""
    kept = bench.mint("1")
    bench.settle()
    minted = bench.mint("5")
    bench.settle()
    on_chain(bench, *[(ZERO, OUTSIDE, 1)] * (depth - 1))
    reconciled()
    tx_hash = bench.row(minted)["tx_hash"]
    before = bench.row(minted)["block_hash"]
    gone = [tx_hash] if is_dropped else []
    bench.provider.private("reorg", depth=depth, drop=gone)
    reconciled()
    row = bench.row(minted)
    assert (bench.status(kept), row["status"]) == ("confirmed", "confirmed")
    assert bench.balance()["posted"] == ("1" if is_dropped else "6")
    if is_dropped:
        (raised,) = found(bench)["reorged"]
        assert raised["transaction_id"] == row["_id"]
        assert "block_number" not in row
    else:
        assert "reorged" not in found(bench)
        assert row["block_hash"] != before
    assert len(found(bench).get("missing_in_ledger", [])) == depth - 1
    bench.audit()


def test_what_comes_back_after_a_reorganisation_is_booked_again(bench: Bench) -> None:
    """Dropped, booked back, mined again: booked again, and its client is told both times."""
    bench.mint("1")
    bench.settle()
    minted = bench.mint("5")
    bench.settle()
    row = bench.row(minted)
    bench.provider.private("reorg", depth=1)
    bench.settle(1)
    assert bench.balance()["posted"] == "1"
    bench.provider.private("remine", tx_hash=row["tx_hash"])
    bench.settle(1)
    assert bench.balance()["posted"] == "6"
    back = bench.row(minted)
    assert back["block_number"] == row["block_number"] + 1
    assert found(bench) == {}
    assert found(bench, "resolved")["reorged"][0]["resolution"]["why"].startswith("mined again")
    events = [
        event["type"] for event in bench.raw.events.find({"data": {"$regex": row["_id"]}}).sort([("sequence", 1)])
    ]
    assert events[-2:] == ["transaction.reorged", "transaction.reorged"]
    bench.audit()


def test_another_chain_is_neither_read_nor_booked(bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Not by the tick, nor by a command: it would look like a reorganisation of all there is. The health fails."""
    chain.forget()  # a node of another test may have had this one's port
    minted = bench.mint("5")
    bench.settle()
    unknown = unknown_row(bench)
    before = {name: list(bench.raw[name].find()) for name in ("breaks", "sightings", "blocks", "entries")}
    place = progress.read()
    with Node({"eth_blockNumber": "0x5"}, chain_id="0x89") as node:
        monkeypatch.setenv("CHAIN_RPC_URL", node.url)
        config.forget()
        bench.time.advance(40)
        tick.run()
        assert health.report()["checks"]["chain"]["status"] == "fail"
        assert commands.main(["--quiet"]) == commands.UNTOLD
        assert commands.main(["--quiet", "--from", "1"]) == commands.UNTOLD
        assert capsys.readouterr().err.count("is a node of chain 137, and CHAIN_ID is 80002") == 2
        evidence = ["--to", "confirmed", "--evidence", f"tx_hash=0x{'ab' * 32}"]
        assert resolve.main([unknown["_id"], *evidence]) == 1
        assert "is a node of chain 137" in capsys.readouterr().err
        assert node.questions == []
    assert {name: list(bench.raw[name].find()) for name in before} == before
    assert progress.read() == place
    assert [bench.status(one) for one in (minted, unknown["_id"])] == ["confirmed", "unknown"]
