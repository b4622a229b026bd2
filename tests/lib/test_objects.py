"""Records as callers see them."""

from datetime import UTC, datetime
from typing import Any

from getsmart import objects
from getsmart.models import AccountRow, WalletRow
from getsmart.mongo import to_decimal

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
WIRE = "2026-01-02T03:04:05.678Z"
WALLET: WalletRow = {
    "_id": "wlt_1",
    "email": "ada@example.com",
    "address": "0xAb",
    "address_key": "0xab",
    "created_at": AT,
    "links": [{"client_id": "one", "label": "Ada", "metadata": {"a": "1"}, "linked_at": AT}],
}


def test_a_party_shows_system_accounts_by_name_and_wallets_by_id() -> None:
    """A wallet's ledger account is its id and not said twice; another client's wallet shows its address only."""
    assert objects.party({"account": "issuance"}) == {"account": "issuance"}
    assert objects.party({"account": "wlt_1", "wallet_id": "wlt_1", "address": "0x"}) == {
        "wallet_id": "wlt_1",
        "address": "0x",
    }
    assert objects.party({"account": "wlt_2", "address": "0x"}) == {"address": "0x"}
    assert objects.party({"account": "external", "address": "0x"}) == {"account": "external", "address": "0x"}


def test_a_fresh_transaction_has_nulls_for_what_it_has_not_yet() -> None:
    """The shape never changes; inner facts (request, hold, lease, client) are not in it."""
    row: Any = {
        "_id": "txn_1",
        "client_id": "one",
        "kind": "mint",
        "status": "queued",
        "amount": to_decimal(5 * 10**17),
        "origin": {"account": "issuance"},
        "target": {"account": "wlt_1", "wallet_id": "wlt_1", "address": "0xAb"},
        "request": {"body": "ada@example.com"},
        "created_at": AT,
        "updated_at": AT,
        "timeline": [{"status": "queued", "at": AT}],
    }
    seen = objects.transaction(row)
    values = {name: value for name, value in seen.items() if value is not None}
    assert values == {
        "transaction_id": "txn_1",
        "kind": "mint",
        "status": "queued",
        "amount": "0.5",
        "from": {"account": "issuance"},
        "to": {"wallet_id": "wlt_1", "address": "0xAb"},
        "created_at": WIRE,
        "updated_at": WIRE,
        "timeline": [{"status": "queued", "at": WIRE}],
    }
    assert seen.keys() - values.keys() == {
        *("tx_hash", "block_number", "explorer_url", "metakeep_transaction_id", "badge_claim", "reason", "batch_id"),
        "failure",
    }


def test_a_wallet_is_seen_with_ones_own_label() -> None:
    """By a linked client, by one that is not, and without anything that somebody wrote in events."""
    assert objects.wallet(WALLET, "one") == {
        "wallet_id": "wlt_1",
        "address": "0xAb",
        "label": "Ada",
        "metadata": {"a": "1"},
        "created_at": WIRE,
        "owner": {"email": "ada@example.com"},
        "erased_at": None,
    }
    stranger = objects.wallet(WALLET, "two")
    assert (stranger["label"], stranger["metadata"]) == (None, {})
    assert objects.wallet_event(WALLET) == {"wallet_id": "wlt_1", "address": "0xAb", "created_at": WIRE}


def test_a_balance_says_what_is_held() -> None:
    """Pending out is what is posted and not available; a wallet without an account stands at zero."""
    account: AccountRow = {"_id": "wlt_1", "posted": to_decimal(10**18), "available": to_decimal(1), "sequence": 7}
    assert objects.balance("wlt_1", account, 2 * 10**18, WIRE) == {
        "wallet_id": "wlt_1",
        "posted": "1",
        "pending_in": "2",
        "pending_out": "0.999999999999999999",
        "available": "0.000000000000000001",
        "ledger_sequence": 7,
        "as_of": WIRE,
    }
    empty = objects.balance("wlt_1", None, 0, WIRE)
    assert [empty[name] for name in ("posted", "pending_out", "available", "ledger_sequence")] == ["0", "0", "0", 0]
