"""What a key may mint, or pay from the treasury, in a day: exact under concurrency, and not eaten up by refusals."""

from functools import partial
from typing import Any

import pytest

from ops import keys
from tests.crashes import Crashes
from tests.money import Bench, in_parallel, units
from tests.support import Client, unique


def limited(**limits: str) -> Client:
    """A key of the application with ceilings in GETS."""
    ceilings: Any = {name: str(units(amount)) for name, amount in limits.items()}
    return Client(keys.create(client_id="app", scopes=keys.SCOPES[:-1], limits={**keys.NO_LIMITS, **ceilings}).token)


def test_20_mints_at_once_under_a_ceiling_of_seven(bench: Bench) -> None:
    """Exactly seven of one GETS pass; the others claim nothing, and their keys are free."""
    client = limited(mint_per_day="7")
    names = [unique("mint") for _ in range(20)]
    answers = in_parallel([partial(bench.mint, "1", key=name, client=client) for name in names])
    assert sorted(answer.status for answer in answers) == [202] * 7 + [409] * 13
    assert {answer.code for answer in answers if answer.status == 409} == {"limit_exceeded"}
    assert bench.raw.transactions.count_documents({}) == 7
    refused = next(name for name, answer in zip(names, answers, strict=True) if answer.status == 409)
    assert bench.mint("1", key=refused).status == 202
    bench.audit()


def test_the_treasury_has_a_ceiling_of_its_own(bench: Bench) -> None:
    """Mints do not count for it, and burns for none."""
    client = limited(mint_per_day="5", treasury_per_day="0.5")
    body = {"to_wallet_id": bench.wallet["wallet_id"], "amount": "0.5"}
    assert bench.mint("5", client=client).status == 202
    assert client.post("tokens/transfer", body, key=unique("t")).status == 202
    assert client.post("tokens/transfer", body, key=unique("t")).code == "limit_exceeded"
    bench.settle()
    burn = {"wallet_id": bench.wallet["wallet_id"], "amount": "1", "reason": "test"}
    assert client.post("tokens/burn", burn, key=unique("b")).status == 202
    bench.audit()


def test_refusals_give_back(bench: Bench) -> None:
    """A supply that is too small, a badge that was claimed, a replay: none of them uses up the day."""
    client = limited(mint_per_day="1000")
    badge = {"wallet_id": bench.wallet["wallet_id"], "badge_claim": {"badge_id": "b", "claimant": unique("c")}}
    assert bench.app.post("tokens/mint", badge, key=unique("m")).status == 202
    assert client.post("tokens/mint", badge, key=unique("m")).code == "badge_already_claimed"
    bench.limit("supply", "1")
    assert bench.mint("999", client=client).code == "supply_exhausted"
    key = unique("m")
    assert {bench.mint("1", key=key, client=client).status for _ in range(2)} == {202}
    row = bench.raw.ceilings.find_one()
    assert row is not None
    assert int(row["mint"].to_decimal()) == units("1")
    bench.audit()


def test_a_crash_errs_downwards(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between counting and claiming: the rest of the day has that much less, never more."""
    client = limited(mint_per_day="2")
    crashes = Crashes(monkeypatch)
    crashes.die("after getsmart.stores.ceilings.take", partial(bench.mint, "1", client=client))
    assert [bench.mint("1", client=client).status for _ in range(2)] == [202, 409]
    bench.audit()
