"""Verification finds every kind of corruption, names it, and is silent where all is well."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from getsmart import clock, mongo
from getsmart.mongo import to_decimal
from ops import verify
from ops.verification import verify as violations
from tests.money import Bench, Raw

Spoil = Callable[[Raw, Bench], Any]


def kinds() -> set[tuple[str, str]]:
    """(invariant, kind) of all that is wrong."""
    return {(found.invariant, found.kind) for found in violations(lambda _name, _number: None)}


def _row(raw: Raw) -> Any:
    return raw.transactions.find_one({"status": "confirmed"})


def _double(raw: Raw, _: Bench) -> None:
    entry = raw.entries.find_one({"transaction_id": _row(raw)["_id"], "direction": "credit"})
    assert entry is not None
    number = raw.entries.count_documents({"account": entry["account"]}) + 1
    raw.entries.insert_one({**entry, "_id": f"{entry['_id']}:again", "account_sequence": number})


def _change(collection: str, query: dict[str, Any], field: str, by: int) -> Spoil:
    def spoil(raw: Raw, bench: Bench) -> None:
        found = raw[collection].find_one(query or {"_id": bench.wallet["wallet_id"]})
        assert found is not None
        value = to_decimal(mongo.to_units(found[field]) + by)
        done = raw.command(
            "update", collection, bypassDocumentValidation=True,
            updates=[{"q": {"_id": found["_id"]}, "u": {"$set": {field: value}}}],
        )  # fmt: skip
        assert done["nModified"] == 1

    return spoil


def _negative(raw: Raw, bench: Bench) -> None:
    raw.command("collMod", "accounts", validationLevel="off")
    try:
        _change("accounts", {}, "available", -(10**30))(raw, bench)
    finally:
        raw.command("collMod", "accounts", validationLevel="strict")


def _set(collection: str, change: dict[str, Any]) -> Spoil:
    return lambda raw, _: raw[collection].update_one({"_id": _row(raw)["_id"]}, {"$set": change})


SPOILED: dict[str, tuple[Spoil, tuple[str, str]]] = {
    "an entry is missing": (
        lambda raw, _: raw.entries.delete_one({"_id": f"{_row(raw)['_id']}:debit"}),
        ("I3", "entry_missing"),
    ),
    "an entry is doubled": (_double, ("I3", "entry_doubled")),
    "an entry has another amount": (
        lambda raw, _: raw.entries.update_one(
            {"_id": f"{_row(raw)['_id']}:credit"}, {"$set": {"amount": to_decimal(1)}}
        ),
        ("I3", "entry_differs"),
    ),
    "an entry is in another account": (
        lambda raw, _: raw.entries.update_one({"_id": f"{_row(raw)['_id']}:debit"}, {"$set": {"account": "burned"}}),
        ("I3", "entry_differs"),
    ),
    "an entry is of nobody": (
        lambda raw, _: raw.transactions.delete_one({"_id": _row(raw)["_id"]}),
        ("I3", "entry_orphaned"),
    ),
    "an entry is of one that never was confirmed": (
        _set("transactions", {"status": "failed"}),
        ("I3", "entry_unfounded"),
    ),
    "a balance is one base unit too high": (_change("accounts", {}, "posted", 1), ("I3", "account_balance")),
    "a balance is one base unit too low": (_change("accounts", {}, "posted", -1), ("I3", "account_balance")),
    "a running balance is off": (
        lambda raw, bench: raw.entries.update_one(
            {"account": bench.wallet["wallet_id"]}, {"$set": {"balance_after": to_decimal(3)}}
        ),
        ("I3", "running_balance"),
    ),
    "a line is not there": (
        lambda raw, bench: raw.entries.delete_one({"account": bench.wallet["wallet_id"], "account_sequence": 1}),
        ("I3", "entry_gap"),
    ),
    "an account counts wrongly": (
        lambda raw, bench: raw.accounts.update_one({"_id": bench.wallet["wallet_id"]}, {"$inc": {"sequence": 1}}),
        ("I3", "account_sequence"),
    ),
    "one base unit too much is available": (_change("accounts", {}, "available", 1), ("I3", "available_too_much")),
    "something is available below zero": (_negative, ("I3", "available_negative")),
    "the treasury has one base unit too many": (
        _change("controls", {"_id": "treasury"}, "available", 1),
        ("I3", "available_too_much"),
    ),
    "the supply has one base unit too many": (
        _change("controls", {"_id": "supply"}, "available", 1),
        ("I2", "available_too_much"),
    ),
    "more was minted than there may be": (
        lambda raw, _: raw.controls.update_one(
            {"_id": "books"}, {"$inc": {"issuance": to_decimal(-(10**30)), "external": to_decimal(10**30)}}
        ),
        ("I2", "supply_exceeded"),
    ),
    "the books are off": (_change("controls", {"_id": "books"}, "wallets", 1), ("I3", "books_differ")),
    "a state was skipped": (
        lambda raw, _: raw.transactions.update_one(
            {"_id": _row(raw)["_id"]}, {"$set": {"timeline.1.status": "expired"}}
        ),
        ("I4", "move_not_drawn"),
    ),
    "a timeline ends elsewhere": (
        lambda raw, _: raw.transactions.update_one({"_id": _row(raw)["_id"]}, {"$pop": {"timeline": 1}}),
        ("I4", "timeline_ends"),
    ),
    "a hold is kept": (_set("transactions", {"hold.state": "held"}), ("I4", "hold_differs")),
    "an event is missing": (lambda raw, _: raw.events.delete_one({"sequence": 2}), ("I5", "event_gap")),
    "the first event is missing": (lambda raw, _: raw.events.delete_one({"sequence": 1}), ("I5", "event_gap")),
}


@pytest.fixture
def lived(bench: Bench) -> Bench:
    """A system in which something of each kind has happened."""
    bench.funded("50")
    for act in (bench.transfer, bench.burn):
        act("3")
    bench.settle()
    return bench


def test_all_is_well(lived: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is wrong, also with transactions under way; the command says so and ends with 0."""
    lived.mint()
    lived.burn("1")
    assert kinds() == set()
    assert verify.main(["--quiet"]) == 0
    assert "I2, I3, I4 and I5 hold: 1 accounts, 5 transactions, 0 corrections, 8 entries" in capsys.readouterr().out


@pytest.mark.parametrize(("spoil", "kind"), SPOILED.values(), ids=SPOILED.keys())
def test_each_kind_of_corruption_is_found(
    lived: Bench, spoil: Spoil, kind: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, and the command ends with 1."""
    spoil(lived.raw, lived)
    assert kind in kinds()
    assert verify.main(["--quiet"]) == 1
    assert f"{kind[0]} {kind[1]} " in capsys.readouterr().out


def test_a_reserve_that_leaked_is_only_wrong_when_nobody_mends_it(lived: Bench) -> None:
    """A call that died leaves less available for a while; after that it is wrong."""
    _change("accounts", {}, "available", -1)(lived.raw, lived)
    lived.raw.accounts.update_one({"_id": lived.wallet["wallet_id"]}, {"$set": {"taken_at": clock.now()}})
    assert kinds() == set()
    lived.raw.accounts.update_one(
        {"_id": lived.wallet["wallet_id"]}, {"$set": {"taken_at": clock.now() - timedelta(minutes=11)}}
    )
    assert kinds() == {("I3", "available_too_little")}
