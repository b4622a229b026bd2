"""What is paid once whatever key it is asked for under is paid once after a restore too (docs/adr/0099)."""

import pytest

from getsmart.metakeep import protocol
from getsmart.services import tick
from getsmart.stores import controls, transactions
from tests.chainbook import found
from tests.money import MINT_PATH, Bench
from tests.restoring import put_back, taken
from tests.support import unique


def test_a_badge_claimed_again_under_another_key_is_one_reward(bench: Bench) -> None:
    """The first claim is lost with the disk; the second reaches MetaKeep under the first one's key."""
    bench.catch_up()
    bench.time.advance(1)
    backup = taken(bench.raw)
    assert bench.claim_badge("rust", "ada", key=unique("first")).status == 202
    bench.settle()
    put_back(bench.raw, backup)
    bench.time.advance(1)
    tick.run()
    assert not controls.is_recovering()
    again = bench.claim_badge("rust", "ada", key=unique("second"))
    assert again.status == 202
    bench.settle()
    assert (bench.status(again), bench.logs()) == ("confirmed", 1)
    assert found(bench) == {}
    bench.audit()


def test_an_airdrop_repeated_under_another_key_is_paid_once(bench: Bench) -> None:
    """Its reference and its rows are what it is: each row reaches MetaKeep under the key that it had."""
    rows = [{"wallet_id": bench.wallet["wallet_id"], "amount": amount} for amount in ("1", "2")]
    order = {"reference": "spring", "rows": rows}
    bench.catch_up()
    bench.time.advance(1)
    backup = taken(bench.raw)
    assert bench.app.post("tokens/airdrop", order, key=unique("first")).status == 202
    bench.settle(3)
    put_back(bench.raw, backup)
    bench.time.advance(1)
    tick.run()
    assert not controls.is_recovering()
    assert bench.app.post("tokens/airdrop", order, key=unique("second")).status == 202
    bench.settle(3)
    assert {row["status"] for row in bench.raw.transactions.find()} == {"confirmed"}
    assert (bench.logs(), found(bench)) == (2, {})
    bench.audit()


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_badge_whose_claim_came_to_nothing_is_a_new_order(bench: Bench, end: str) -> None:
    """The answer to the ended claim would be repeated under its key: the next one has a key of its own."""
    bench.provider.fault(MINT_PATH, end)
    first = bench.claim_badge("rust", "ada")
    bench.settle()
    assert bench.status(first) == end
    second = bench.claim_badge("rust", "ada")
    bench.settle()
    assert (bench.status(second), bench.logs()) == ("confirmed", 1)
    keys = {row["request"]["idempotency_key"] for row in bench.raw.transactions.find()}
    assert len(keys) == 2
    bench.audit()


def test_an_ended_claim_that_was_counted_too_late_is_repeated_and_pays_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended between another one's look and its insert: that one has its key, and its end; a third one is paid."""
    bench.provider.fault(MINT_PATH, "failed")
    first = bench.claim_badge("rust", "ada")
    bench.settle()
    assert bench.status(first) == "failed"
    with monkeypatch.context() as patch:
        patch.setattr(transactions, "find_claim", lambda *_: transactions.Known(None, {}))
        second = bench.claim_badge("rust", "ada")
    assert (second.status, second.data["status"]) == (202, "failed")
    assert second.data["failure"]["code"] == "execution_reverted"
    third = bench.claim_badge("rust", "ada")
    bench.settle()
    assert (bench.status(third), bench.logs()) == ("confirmed", 1)
    bench.audit()


def test_an_id_that_cannot_be_its_own_is_never_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """MetaKeep gave it to another order: the row goes on, and nothing is made up about it."""
    known = bench.mint()
    its_id = bench.row(known)["metakeep_transaction_id"]
    real = protocol.read_submission
    monkeypatch.setattr(protocol, "read_submission", lambda content: real({**content, "transactionId": its_id}))
    key = unique("other")
    assert bench.mint(key=key).status == 500
    monkeypatch.undo()
    (row,) = bench.raw.transactions.find({"idempotency_key": key})
    assert (row["status"], row["is_in_flight"]) == ("queued", True)
