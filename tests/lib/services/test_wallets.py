"""Creating wallets; the races and the provider's failures are tested at the door."""

import json

import pytest

from getsmart.errors import Internal
from getsmart.models import Caller
from getsmart.services import wallets
from getsmart.stores import wallets as store
from tests.edge import Raw, dump
from tests.support import Provider

ONE = Caller("one", "key_1", "test", frozenset({"wallets:write"}))
TWO = Caller("two", "key_2", "test", frozenset({"wallets:write"}))
ADA = "ada@example.com"


def test_a_wallet_is_new_once(system: Raw) -> None:
    """The address is MetaKeep's; the client that made it is linked and told, without a word about the person."""
    seen, is_new = wallets.create(ONE, email=ADA, label="Ada", metadata={"a": "1"})
    assert is_new
    (row,) = system.wallets.find({})
    assert (row["address"], row["address_key"]) == (seen["address"], seen["address"].lower())
    (event,) = row["outbox"]
    assert (event["type"], event["client_id"]) == ("wallet.created", "one")
    assert json.loads(event["data"]) == {name: seen[name] for name in ("wallet_id", "address", "created_at")}
    assert wallets.create(ONE, email=ADA, label=None, metadata=None) == (seen, False)


def test_a_known_wallet_asks_nobody(system: Raw, provider: Provider) -> None:
    """While MetaKeep is away, people who have a wallet can still be linked."""
    wallets.create(ONE, email=ADA, label=None, metadata=None)
    provider.fault("/v3/getWallet", "500", times=50)
    seen, is_new = wallets.create(TWO, email=ADA, label="theirs", metadata=None)
    assert (is_new, seen["label"]) == (False, "theirs")
    (row,) = system.wallets.find({})
    assert [event["client_id"] for event in row["outbox"]] == ["one", "two"]
    assert [link["label"] for link in row["links"]] == [None, "theirs"]


def test_a_label_that_is_given_replaces_and_one_that_is_not_stays(system: Raw) -> None:
    """So does metadata, as a whole; an empty one empties it."""
    wallets.create(ONE, email=ADA, label="a", metadata={"a": "1"})
    changed, _ = wallets.create(ONE, email=ADA, label="b", metadata=None)
    assert (changed["label"], changed["metadata"]) == ("b", {"a": "1"})
    emptied, _ = wallets.create(ONE, email=ADA, label=None, metadata={})
    assert (emptied["label"], emptied["metadata"]) == ("b", {})


def test_a_lost_race_answers_with_the_winners_wallet(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looked before the winner had inserted, and inserts after, is linked to the same wallet."""
    winner, _ = wallets.create(ONE, email=ADA, label=None, metadata=None)
    real, looks = store.find_by_email, []

    def late(email: str, client_id: str | None = None) -> object:
        looks.append(email)
        return None if len(looks) == 1 else real(email, client_id)

    monkeypatch.setattr(store, "find_by_email", late)
    seen, is_new = wallets.create(TWO, email=ADA, label=None, metadata=None)
    assert (seen["wallet_id"], is_new) == (winner["wallet_id"], False)


def test_an_address_that_belongs_to_somebody_else_is_our_bug(system: Raw) -> None:
    """Two people with one address must not exist; nothing is kept."""
    seen, _ = wallets.create(ONE, email=ADA, label=None, metadata=None)
    system.wallets.update_one({"_id": seen["wallet_id"]}, {"$set": {"email": "other@example.com"}})
    before = dump(system)
    with pytest.raises(Internal, match="another owner"):
        wallets.create(ONE, email=ADA, label=None, metadata=None)
    assert dump(system) == before


def test_a_link_that_vanishes_is_our_bug(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was linked a moment ago has to be there."""
    wallets.create(ONE, email=ADA, label=None, metadata=None)
    monkeypatch.setattr(store, "find", lambda wallet_id, client_id: None)
    with pytest.raises(Internal, match="lost its link"):
        wallets.create(ONE, email=ADA, label=None, metadata=None)
