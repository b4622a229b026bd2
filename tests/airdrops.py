"""What tests of airdrops share: five rows for two wallets, the call, and the clockwork by hand."""

from typing import Any

import pytest

from getsmart.machine import airdrop
from getsmart.services import tick
from tests.money import QUIET, Bench, units
from tests.support import Answer, Client, unique

Rows = list[dict[str, Any]]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, so that a few rows need several."""
    monkeypatch.setattr(airdrop, "CHUNK", 2)
    monkeypatch.setattr(airdrop, "UNFOLD", 2)


@pytest.fixture
def rows(bench: Bench) -> Rows:
    """Five rows for two wallets."""
    bench.catch_up()
    wallets = [bench.wallet, bench.new_wallet()]
    return [{"wallet_id": wallets[number % 2]["wallet_id"], "amount": str(number + 1)} for number in range(5)]


def drop(bench: Bench, rows: Rows, *, reference: str = "r", key: str | None = None, by: Client | None = None) -> Answer:
    """POST tokens/airdrop."""
    return (by or bench.app).post("tokens/airdrop", {"reference": reference, "rows": rows}, key=key or unique("drop"))


def read(bench: Bench, batch: Answer, query: str = "") -> dict[str, Any]:
    """GET tokens/batch."""
    return bench.app.get("tokens/batch", f"batch_id={batch.data['batch_id']}{query}").data


def work_off(bench: Bench, passes: int = 12) -> None:
    """Let the tick work until everything is final."""
    for _ in range(passes):
        bench.settle(1)
    bench.time.advance(QUIET)
    tick.run()


def paid_once(bench: Bench, rows: Rows) -> None:
    """A Transfer for each row, the books agree, nothing is held any more."""
    made = list(bench.raw.transactions.find({"batch_id": {"$exists": True}}).sort("batch_row", 1))
    assert [row["batch_row"] for row in made] == list(range(len(rows)))
    assert {row["status"] for row in made} == {"confirmed"}
    addresses = {row["target"]["address"] for row in made}
    assert sum(bench.logs(address) for address in addresses) == len(rows)
    assert sum(bench.on_chain(address) for address in addresses) == sum(units(row["amount"]) for row in rows)
    bench.audit()
