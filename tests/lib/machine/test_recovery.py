"""While a restore is not reconciled no money moves; what was answered is still answered, and polling goes on."""

from typing import Any

import pytest

from getsmart import config
from getsmart.services import tick
from getsmart.stores import controls
from tests.money import MINT_PATH, Bench
from tests.support import unique


def test_money_stands_still_until_it_is_over(
    bench: Bench, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each money endpoint: 503 recovering with Retry-After, nothing claimed; afterwards the same calls work.

    Without a node only a person can say that it is over.
    """
    bench.funded("50")
    target, wallet_id = bench.new_wallet()["wallet_id"], bench.wallet["wallet_id"]
    key = unique("replayed")
    first = bench.mint(key=key)
    asked = bench.app.post(
        "tokens/transfer", {"from_wallet_id": wallet_id, "to_wallet_id": target, "amount": "1"}, key=unique("t")
    ).data
    airdrop = {"reference": "r", "rows": [{"wallet_id": wallet_id, "amount": "1"}]}
    assert bench.app.post("tokens/airdrop", airdrop, key=unique("a")).status == 202
    monkeypatch.delenv("CHAIN_RPC_URL")
    config.forget()
    controls.set_recovering(is_recovering=True)
    calls: list[tuple[str, dict[str, Any], str | None]] = [
        ("tokens/mint", {"wallet_id": wallet_id, "amount": "1"}, unique("k")),
        ("tokens/transfer", {"to_wallet_id": target, "amount": "1"}, unique("k")),
        ("tokens/transfer", {"from_wallet_id": wallet_id, "to_wallet_id": target, "amount": "1"}, unique("k")),
        ("tokens/burn", {"wallet_id": wallet_id, "amount": "1", "reason": "test"}, unique("k")),
        ("tokens/airdrop", {**airdrop, "reference": "s"}, unique("k")),
        ("tokens/consent", {"transaction_id": asked["transaction_id"], "metakeep_transaction_id": "x"}, None),
    ]
    before = bench.raw.transactions.count_documents({})
    for path, body, its_key in calls:
        refused = bench.app.post(path, body, key=its_key)
        assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "recovering", "30"), path
    assert bench.mint(key=key).text == first.text
    mark = bench.mark()
    bench.settle()
    assert bench.status(first) == "confirmed"
    assert bench.calls(MINT_PATH, mark) == []
    assert bench.raw.transactions.count_documents({}) == before
    controls.set_recovering(is_recovering=False)
    for path, body, its_key in calls[:-1]:
        assert bench.app.post(path, body, key=its_key).status == 202, path
    tick.run()
    bench.audit()
