"""Mint, transfer and burn from call to confirmation, over the real database, provider sandbox and chain."""

from typing import Any

from getsmart.services import tick
from local.sandbox import Sandbox
from tests.support import Client, Provider, unique


def settle(provider: Provider) -> None:
    """Let the chain mine, then let the tick look."""
    from getsmart import clock
    from datetime import timedelta

    provider.advance(3)
    later = clock.now() + timedelta(seconds=30)
    clock.set_clock(lambda: later)
    tick.run()
    clock.set_clock(None)


def test_badge_mint_is_confirmed_and_booked(
    app: Client, wallet: dict[str, Any], provider: Provider, sandbox: Sandbox
) -> None:
    """A badge claim mints 1,000 GETS on chain, and the books say the same."""
    body = {"wallet_id": wallet["wallet_id"], "badge_claim": {"badge_id": "b1", "claimant": unique("c")}}
    minted = app.post("tokens/mint", body, key="k1")
    assert minted.status == 202, minted.text
    assert minted.data["status"] == "submitted"
    settle(provider)
    transaction = app.get("tokens/transaction", f"transaction_id={minted.data['transaction_id']}").data
    assert transaction["status"] == "confirmed"
    balance = app.get("wallets/balance", f"wallet_id={wallet['wallet_id']}").data
    assert (balance["posted"], balance["ledger_sequence"]) == ("1000", 1)
    assert provider.balance_of(sandbox.token_address, wallet["address"]) == 1000 * 10**18
    assert len(provider.transfers_to(sandbox.token_address, wallet["address"])) == 1
