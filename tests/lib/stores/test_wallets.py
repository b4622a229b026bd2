"""Queries on wallets and links."""

from typing import Any

import pytest

from getsmart import clock
from getsmart.ids import new_id
from getsmart.models import AuditLine, Event, WalletLink, WalletRow
from getsmart.mongo import to_decimal, to_units
from getsmart.stores import transactions, wallets
from tests.edge import Raw, dump
from tests.rows import make_row

pytestmark = pytest.mark.usefixtures("system")


def link_of(client_id: str) -> WalletLink:
    """A fresh link."""
    return {"client_id": client_id, "label": None, "metadata": {}, "linked_at": clock.now()}


def event_of(client_id: str) -> Event:
    """A fresh event."""
    at = clock.now()
    return {"event_id": new_id("evt"), "client_id": client_id, "type": "wallet.created", "created_at": at, "data": "{}"}


def make(email: str = "ada@example.com", address: str = "0x" + "aB" * 20, **changes: Any) -> WalletRow:
    """A kept wallet, linked to `one`."""
    row: WalletRow = {
        "_id": new_id("wlt"),
        "email": email,
        "address": address,
        "address_key": address.lower(),
        "created_at": clock.now(),
        "links": [link_of("one")],
        "outbox": [event_of("one")],
        **changes,  # type: ignore[typeddict-item]
    }
    assert wallets.insert(row)
    return row


def test_a_wallet_is_found_by_those_who_are_linked() -> None:
    """By id, e-mail and address in any case of letters; None sees all; strangers see nothing."""
    row = make()
    for client_id in ("one", None):
        assert wallets.find(row["_id"], client_id) == row
        assert wallets.find_by_email(row["email"], client_id) == row
        assert wallets.find_by_address(row["address"].upper().replace("0X", "0x"), client_id) == row
    assert wallets.find(row["_id"], "two") is None
    assert wallets.find_by_email(row["email"], "two") is None
    assert wallets.find_by_address(row["address"], "two") is None
    assert wallets.find_with_account(row["_id"], "two") is None


def test_one_person_and_one_address_have_one_wallet(raw: Raw) -> None:
    """The unique indexes decide; the second insert changes nothing."""
    make()
    before = dump(raw)
    for email, address in (("ada@example.com", "0x" + "1" * 40), ("bob@example.com", "0x" + "Ab" * 20)):
        with pytest.raises(AssertionError):
            make(email, address)
    assert dump(raw) == before


def test_an_insert_that_landed_before_its_connection_broke_is_known() -> None:
    """Meeting our own row means that the first try had landed."""
    assert wallets.insert(make())


def test_a_link_is_made_once(raw: Raw) -> None:
    """With its event, together or not at all."""
    row = make()
    for _ in range(2):
        wallets.link(row["_id"], link_of("two"), event_of("two"))
    (kept,) = raw.wallets.find({})
    assert [link["client_id"] for link in kept["links"]] == ["one", "two"]
    assert [event["client_id"] for event in kept["outbox"]] == ["one", "two"]


def test_a_description_is_the_links_own(raw: Raw) -> None:
    """Only what is given changes, only on that client's link; without a link nothing does."""
    row = make()
    wallets.link(row["_id"], link_of("two"), event_of("two"))
    line: AuditLine = {"key_id": "key_1", "source": "", "request_id": "req_1", "at": row["created_at"]}
    wallets.describe(row["_id"], "two", {"label": "x"}, line)
    wallets.describe(row["_id"], "two", {"metadata": {"a": "1"}}, line)
    wallets.describe(row["_id"], "three", {"label": "y"}, line)
    (kept,) = raw.wallets.find({})
    seen = [(link["client_id"], link["label"], link["metadata"]) for link in kept["links"]]
    assert seen == [("one", None, {}), ("two", "x", {"a": "1"})]


def test_a_wallet_comes_with_its_account_and_what_is_on_its_way(raw: Raw) -> None:
    """One round trip for a balance."""
    row = make()
    assert wallets.find_with_account(row["_id"], "one") == (row | {"account": [], "incoming": []}, None, 0)
    account = {"_id": row["_id"], "posted": to_decimal(7), "available": to_decimal(7), "sequence": 1}
    raw.accounts.insert_one(account)
    incoming = make_row(incoming_wallet_id=row["_id"])
    transactions.insert(incoming)
    transactions.insert(make_row(incoming_wallet_id="wlt_other"))
    found = wallets.find_with_account(row["_id"], None)
    assert found is not None
    assert found[1] == account
    assert found[2] == to_units(incoming["amount"])
