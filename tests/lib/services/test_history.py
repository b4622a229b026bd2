"""Statements and balances of the past against a replay of the ledger."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from getsmart import clock
from getsmart.amounts import format_units
from getsmart.errors import InvalidRequest, NotFound
from getsmart.models import Caller
from getsmart.mongo import to_units
from getsmart.paging import Page
from getsmart.services import history, views
from tests.books import Row, book, book_at_random, wallet_row
from tests.edge import Raw
from tests.support import Time

APP = Caller("app", "key_1", "test", frozenset({"wallets:read"}))
OTHER = Caller("other", "key_2", "test", frozenset({"wallets:read"}))
ADMIN = Caller("boss", "key_3", "test", frozenset({"admin"}))
WHOLE = Page(200, None, "")


def signed(entry: Row) -> int:
    """What an entry adds to its account."""
    return to_units(entry["amount"]) * (1 if entry["direction"] == "credit" else -1)


def replayed(entries: list[Row], moment: datetime) -> tuple[int, int]:
    """(balance, number of entries) by adding up, in order, all that was booked up to the moment."""
    until = [entry for entry in entries if entry["at"] <= moment]
    return sum(map(signed, until)), len(until)


def moments(entries: list[Row], count: int, chance: random.Random) -> list[datetime]:
    """Times between before the first entry and after the last; a third of them exactly at one."""
    first = min(entry["at"] for entry in entries) - timedelta(hours=1)
    seconds = (clock.now() - first).total_seconds()
    anywhere = [first + timedelta(seconds=chance.uniform(0, seconds)) for _ in range(count - count // 3)]
    return anywhere + [chance.choice(entries)["at"] for _ in range(count // 3)]


def compare(raw: Raw, time: Time, bookings: int, count: int) -> None:
    """Book, then ask for the balance of one of the wallets at each of `count` moments."""
    chance = random.Random(bookings * count)
    rows = [wallet_row("app") for _ in range(3)]
    raw.wallets.insert_many(rows)
    names = [row["_id"] for row in rows]
    book_at_random(names, bookings, time, chance)
    entries = {name: list(raw.entries.find({"account": name}).sort("account_sequence", 1)) for name in names}
    every = [entry for own in entries.values() for entry in own]
    for moment in moments(every, count, chance):
        name = chance.choice(names)
        seen = views.balance_at(APP, name, moment)
        posted, number = replayed(entries[name], moment)
        assert (seen["posted"], seen["ledger_sequence"]) == (format_units(posted), number), moment


def test_balances_of_the_past_equal_a_replay(system: Raw, time: Time) -> None:
    """At 150 random moments of a ledger of 120 bookings: exactly what adding up its entries gives."""
    compare(system, time, 120, 150)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_balances_of_the_past_equal_a_replay_at_length(system: Raw, time: Time) -> None:
    """At 1,000 random moments of a ledger of 400 bookings."""
    compare(system, time, 400, 1_000)


def test_time_never_goes_back_along_an_account(system: Raw, time: Time) -> None:
    """By whatever clocks the confirmations were made: the order of an account is that of time."""
    row = wallet_row("app")
    system.wallets.insert_one(row)
    late = clock.now()
    for behind in (0, 5_000, 10, 0):
        book("issuance", row["_id"], 7, updated_at=late - timedelta(milliseconds=behind))
    entries = list(system.entries.find({"account": row["_id"]}).sort("account_sequence", 1))
    assert [entry["at"] for entry in entries] == [late] * 4
    assert [entry["sequence"] for entry in history.statement(APP, row["_id"], WHOLE)["items"]] == [1, 2, 3, 4]


def test_before_everything_a_balance_is_zero(system: Raw) -> None:
    """Before the wallet was, and before it ever moved; what was under way then is not kept."""
    row = wallet_row("app")
    system.wallets.insert_one(row)
    moment = datetime(1970, 1, 1, tzinfo=UTC)
    unknown = dict.fromkeys(("pending_in", "pending_out", "available"))
    zero = {"wallet_id": row["_id"], "posted": "0", "ledger_sequence": 0, "as_of": "1970-01-01T00:00:00.000Z"}
    assert views.balance_at(APP, row["_id"], moment) == {**zero, **unknown}
    with pytest.raises(InvalidRequest):
        views.balance_at(APP, row["_id"], clock.now() + timedelta(seconds=60))
    with pytest.raises(NotFound):
        views.balance_at(OTHER, row["_id"], moment)


def test_a_statement_adds_up(system: Raw, time: Time) -> None:
    """The lines of an account in order, each balance the one before and its amount; the last one what is posted."""
    rows = [wallet_row("app") for _ in range(2)]
    system.wallets.insert_many(rows)
    book_at_random([row["_id"] for row in rows], 40, time, random.Random(1))
    for row in rows:
        lines = history.statement(APP, row["_id"], WHOLE)["items"]
        entries = list(system.entries.find({"account": row["_id"]}).sort("account_sequence", 1))
        assert [line["sequence"] for line in lines] == list(range(1, len(entries) + 1))
        balance = 0
        for line, entry in zip(lines, entries, strict=True):
            balance += signed(entry)
            assert (line["amount"], line["balance"]) == (format_units(to_units(entry["amount"])), format_units(balance))
        assert lines[-1]["balance"] == views.balance(APP, row["_id"])["posted"]


def test_a_line_tells_of_ones_own_transactions_only(system: Raw) -> None:
    """Amount and balance are everybody's who is linked; cause and counterparty are its client's, and an admin's."""
    row, payer = wallet_row("app", "other"), wallet_row("other")
    system.wallets.insert_many([row, payer])
    mine = book("issuance", row["_id"], 10, reason="mine")
    book("issuance", payer["_id"], 10, client_id="other")
    theirs = book(payer["_id"], row["_id"], 4, client_id="other", reason="theirs", kind="transfer")
    spent = book(row["_id"], "burned", 1, client_id="other", kind="burn")

    def told(caller: Caller) -> list[tuple[Any, ...]]:
        lines = history.statement(caller, row["_id"], WHOLE)["items"]
        return [tuple(line[name] for name in ("transaction_id", "kind", "reason", "counterparty")) for line in lines]

    nothing = (None, None, None, None)
    of_mine = (mine["_id"], "mint", "mine", {"account": "issuance"})
    of_theirs = (theirs["_id"], "transfer", "theirs", {"wallet_id": payer["_id"]})
    of_spent = (spent["_id"], "burn", None, {"account": "burned"})
    assert told(APP) == [of_mine, nothing, nothing]
    assert told(OTHER) == [nothing, of_theirs, of_spent]
    assert told(ADMIN) == [of_mine, of_theirs, of_spent]


@pytest.mark.parametrize(
    "place", ["x", "1", "1.2.3", "a.b", "99999999999999999999.1", "-99999999999999999.1", f"1.{'9' * 100}"]
)
def test_a_place_that_is_none_is_a_bad_cursor(system: Raw, place: str) -> None:
    """Even one whose digest somebody has worked out."""
    row = wallet_row("app")
    system.wallets.insert_one(row)
    with pytest.raises(InvalidRequest):
        history.statement(APP, row["_id"], Page(10, place, ""))
