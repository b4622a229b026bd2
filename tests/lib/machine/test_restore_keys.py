"""What is paid once whatever key it is asked for under is paid once after a restore too (docs/adr/0099)."""

import pytest

from getsmart.services import tick
from getsmart.stores import controls
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
