"""GET /wallets/export at its door."""

from typing import Any
from urllib.parse import quote

import pytest

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
from tests.pages import bad_pages
from tests.rows import kept
from tests.support import Client

DOOR = Door("wallets/export", "GET", "wallets:read", query=f"wallet_id={UNKNOWN_WALLET}")


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
    foreign = f"wallet_id={wallet['wallet_id']}"
    queries = ("", *(f"wallet_id={quote(bad)}" for bad in BAD_WALLET_IDS))
    cases = [
        *(Case(q or "none", DOOR.event(app.token, query=q), 400, "invalid_request", "wallet_id") for q in queries),
        *bad_pages(DOOR, app.token, foreign),
        Case("unknown", DOOR.event(app.token), 404, "not_found"),
        Case("foreign", DOOR.event(make_client("other").token, query=foreign), 404, "not_found"),
    ]
    check(subtests, system, DOOR, cases)


def test_all_that_a_client_keeps_of_a_person(bench: Bench, make_client: MakeClient) -> None:
    """The wallet as the client sees it, what it holds, and the client's own transactions of it, no one else's."""
    bench.app.post("wallets/create", {"owner": bench.wallet["owner"], "label": "Ada", "metadata": {"a": "1"}})
    bench.funded("10")
    pending = bench.mint("5").data
    other = make_client("other")
    other.post("wallets/create", {"owner": bench.wallet["owner"], "label": "theirs"})
    query = f"wallet_id={bench.wallet['wallet_id']}"
    answer = bench.app.get(DOOR.path, query)
    assert_headers(answer)
    data = answer.data
    assert data["wallet"] == {**bench.wallet, "label": "Ada", "metadata": {"a": "1"}}
    assert {**data["balance"], "as_of": None} == {**bench.balance(), "as_of": None}
    assert data["balance"]["pending_in"] == "5"
    assert data["transactions"] == bench.app.get("tokens/transactions", query).data
    assert data["transactions"]["items"][0] == pending
    theirs = other.get(DOOR.path, query).data
    assert (theirs["wallet"]["label"], theirs["transactions"]["items"]) == ("theirs", [])
    boss = make_client("boss", scopes=["admin"]).get(DOOR.path, query).data
    assert len(boss["transactions"]["items"]) == 2


def test_long_histories_come_in_pages(app: Client, wallet: dict[str, Any]) -> None:
    """Each page can be carried, and together they are everything."""
    side = {"account": wallet["wallet_id"], "wallet_id": wallet["wallet_id"], "address": wallet["address"]}
    made = {kept(target=side, reason="\U0001f600" * 500)["_id"] for _ in range(150)}
    query, cursor, seen = f"wallet_id={wallet['wallet_id']}&limit=200", "", []
    while cursor is not None:
        answer = app.get(DOOR.path, f"{query}{cursor and f'&cursor={cursor}'}")
        assert len(answer.text.encode()) < 768 * 1024
        assert answer.data["wallet"] == wallet
        page = answer.data["transactions"]
        seen += [item["transaction_id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert len(seen) == 150
    assert set(seen) == made
