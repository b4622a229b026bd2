"""Reads."""

from typing import Any

import pytest

from getsmart.errors import Internal, NotFound
from getsmart.ids import new_id
from getsmart.models import Caller
from getsmart.mongo import to_decimal
from getsmart.services import views
from getsmart.stores import progress, transactions
from tests.edge import Raw
from tests.rows import make_row

APP = Caller("app", "key_1", "test", frozenset({"wallets:read"}))
OTHER = Caller("other", "key_2", "test", frozenset({"wallets:read"}))
ADMIN = Caller("boss", "key_3", "test", frozenset({"admin"}))


def test_a_wallet_by_each_of_its_names(wallet: dict[str, Any]) -> None:
    """For linked clients and admins; NotFound for all others, and where nothing is asked for."""
    names: list[dict[str, Any]] = [
        {"wallet_id": wallet["wallet_id"], "email": None, "address": None},
        {"wallet_id": None, "email": wallet["owner"]["email"], "address": None},
        {"wallet_id": None, "email": None, "address": wallet["address"]},
    ]
    for name in names:
        assert views.wallet(APP, **name) == wallet
        assert views.wallet(ADMIN, **name)["wallet_id"] == wallet["wallet_id"]
        with pytest.raises(NotFound):
            views.wallet(OTHER, **name)
    with pytest.raises(NotFound):
        views.wallet(APP, wallet_id=None, email=None, address=None)


def test_a_balance_adds_what_is_on_its_way(system: Raw, wallet: dict[str, Any]) -> None:
    """Posted and available from the account, pending_in from the open rows."""
    wallet_id = wallet["wallet_id"]
    account = {"_id": wallet_id, "posted": to_decimal(5 * 10**18), "available": to_decimal(3 * 10**18), "sequence": 2}
    system.accounts.insert_one(account)
    for _ in range(2):
        transactions.insert(make_row(incoming_wallet_id=wallet_id, amount=to_decimal(10**17)))
    seen = views.balance(APP, wallet_id)
    assert [seen[name] for name in ("posted", "pending_in", "pending_out", "available", "ledger_sequence")] == [
        *("5", "0.2", "2", "3"),
        2,
    ]
    with pytest.raises(NotFound):
        views.balance(OTHER, wallet_id)


def test_a_transaction_is_its_clients(system: Raw) -> None:
    """Or an admin's to see."""
    row = make_row()
    transactions.insert(row)
    assert views.transaction(APP, row["_id"])["transaction_id"] == row["_id"]
    assert views.transaction(ADMIN, row["_id"])["transaction_id"] == row["_id"]
    for caller, transaction_id in ((OTHER, row["_id"]), (APP, new_id("txn"))):
        with pytest.raises(NotFound):
            views.transaction(caller, transaction_id)


def test_the_token_says_what_is_set_aside(system: Raw) -> None:
    """Reserved is what is neither free nor minted; burned leaves circulation and frees nothing."""
    unit = 10**18
    system.controls.update_one({"_id": "supply"}, {"$inc": {"available": to_decimal(-7 * unit)}})
    moved = {"issuance": -5 * unit, "wallets": 3 * unit, "burned": 2 * unit}
    system.controls.update_one({"_id": "books"}, {"$inc": {name: to_decimal(value) for name, value in moved.items()}})
    progress.note({"to_block": 42})
    token = views.token()
    assert [token[name] for name in ("minted", "reserved", "burned", "circulating", "reconciled_to_block")] == [
        *("20000005", "2", "2", "20000003"),
        42,
    ]


@pytest.mark.parametrize("name", ["supply", "treasury", "books"])
def test_a_database_without_genesis_is_our_bug(system: Raw, name: str) -> None:
    """Said as such in the log."""
    system.controls.delete_one({"_id": name})
    with pytest.raises(Internal, match="migrations are missing"):
        views.token()
