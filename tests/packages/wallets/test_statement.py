"""GET /wallets/statement at its door."""

import csv
import io
import random
from typing import Any
from urllib.parse import quote

import pytest

from tests.books import book, book_at_random
from tests.edge import (
    BAD_WALLET_IDS,
    UNKNOWN_WALLET,
    Case,
    Door,
    MakeClient,
    Raw,
    assert_headers,
    assert_plain_main,
    check,
    common,
)
from tests.money import Bench
from tests.pages import bad_pages, items, walk
from tests.support import Client, Time

BASE = f"wallet_id={UNKNOWN_WALLET}"
DOOR = Door("wallets/statement", "GET", "wallets:read", query=BASE)


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, keys and queries are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_queries_that_are_wrong(
    subtests: pytest.Subtests, system: Raw, app: Client, wallet: dict[str, Any], make_client: MakeClient
) -> None:
    """Each by name; unknown and foreign wallets are the same 404."""
    queries = ("", *(f"wallet_id={quote(bad)}" for bad in BAD_WALLET_IDS))
    foreign = f"wallet_id={wallet['wallet_id']}"
    cases = [
        *(Case(q or "none", DOOR.event(app.token, query=q), 400, "invalid_request", "wallet_id") for q in queries),
        *bad_pages(DOOR, app.token, foreign),
        Case("format", DOOR.event(app.token, query=f"{foreign}&format=pdf"), 400, "invalid_request", "format"),
        Case("unknown", DOOR.event(app.token), 404, "not_found"),
        Case("foreign", DOOR.event(make_client("other").token, query=foreign), 404, "not_found"),
    ]
    check(subtests, system, DOOR, cases)


def test_a_wallet_that_never_moved_has_no_lines(app: Client, wallet: dict[str, Any]) -> None:
    """An empty page, and an empty table with its headers."""
    query = f"wallet_id={wallet['wallet_id']}"
    answer = app.get(DOOR.path, query)
    assert_headers(answer)
    assert answer.data == {"items": [], "next_cursor": None}
    assert app.get(DOOR.path, f"{query}&format=csv").text.count("\n") == 1


def test_pages_join_without_gap_or_repetition(
    app: Client, wallet: dict[str, Any], time: Time, make_client: MakeClient
) -> None:
    """The oldest first, whatever the page's size, also while entries are added; its cursor is this wallet's."""
    wallet_id = wallet["wallet_id"]
    other_id = app.post("wallets/create", {"owner": {"email": "second@example.com"}}).data["wallet_id"]
    book_at_random([wallet_id, other_id], 25, time, random.Random(3))
    query = f"wallet_id={wallet_id}"
    whole = items(app, DOOR.path, query, 200)
    assert [line["sequence"] for line in whole] == list(range(1, len(whole) + 1))
    assert items(app, DOOR.path, query, 1) == whole
    pages = walk(app, DOOR.path, query, 3)
    seen = next(pages)["items"]
    book("issuance", wallet_id, 5)
    seen += [line for page in pages for line in page["items"]]
    assert seen[:-1] == whole
    assert seen[-1]["sequence"] == len(whole) + 1
    cursor = app.get(DOOR.path, f"{query}&limit=1").data["next_cursor"]
    assert app.get(DOOR.path, f"wallet_id={other_id}&cursor={cursor}").fields == ["cursor"]
    assert make_client("boss", scopes=["admin"]).get(DOOR.path, f"{query}&cursor={cursor}").fields == ["cursor"]


def test_the_table_has_the_same_lines(app: Client, wallet: dict[str, Any]) -> None:
    """Headers are field names; a reason that a spreadsheet would run is a text."""
    wallet_id = wallet["wallet_id"]
    row = book("issuance", wallet_id, 15 * 10**17, reason="=1+1")
    book(wallet_id, "burned", 5 * 10**17, client_id="other", reason="theirs")
    query = f"wallet_id={wallet_id}"
    lines = list(csv.DictReader(io.StringIO(app.get(DOOR.path, f"{query}&format=csv").text, newline="")))
    (mine, theirs) = items(app, DOOR.path, query)
    assert lines[0]["transaction_id"] == row["_id"] == mine["transaction_id"]
    assert (lines[0]["amount"], lines[0]["reason"], lines[0]["counterparty.account"]) == ("1.5", "'=1+1", "issuance")
    assert (lines[1]["direction"], lines[1]["amount"], lines[1]["balance"]) == ("debit", "0.5", "1")
    assert lines[1]["transaction_id"] == lines[1]["reason"] == lines[1]["counterparty.account"] == ""
    assert {name.split(".")[0] for name in lines[0]} == mine.keys() == theirs.keys()


def test_a_real_mint_stands_in_the_statement(bench: Bench) -> None:
    """Once it is confirmed, with the moment of its confirmation."""
    minted = bench.mint("3", reason="well done")
    query = f"wallet_id={bench.wallet['wallet_id']}"
    assert items(bench.app, DOOR.path, query) == []
    bench.settle()
    confirmed = bench.app.get("tokens/transaction", f"transaction_id={minted.data['transaction_id']}").data
    (line,) = items(bench.app, DOOR.path, query)
    assert line == {
        "sequence": 1,
        "at": confirmed["updated_at"],
        "direction": "credit",
        "amount": "3",
        "balance": "3",
        "transaction_id": minted.data["transaction_id"],
        "kind": "mint",
        "reason": "well done",
        "counterparty": {"account": "issuance"},
    }
