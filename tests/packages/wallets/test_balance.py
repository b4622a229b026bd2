"""GET /wallets/balance at its door."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from getsmart import chain, config
from getsmart.mongo import to_decimal
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
from tests.pages import bad_times
from tests.support import Client, unique
from tests.wire import free_url

DOOR = Door("wallets/balance", "GET", "wallets:read", query=f"wallet_id={UNKNOWN_WALLET}")


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, keys and queries are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_ids_that_are_none(
    subtests: pytest.Subtests, system: Raw, app: Client, wallet: dict[str, Any], make_client: MakeClient
) -> None:
    """An id has one form; unknown and foreign wallets are the same 404."""
    queries = ("", *(f"wallet_id={quote(bad)}" for bad in BAD_WALLET_IDS))
    foreign = f"wallet_id={wallet['wallet_id']}"
    cases = [
        *(Case(q or "none", DOOR.event(app.token, query=q), 400, "invalid_request", "wallet_id") for q in queries),
        Case("unknown", DOOR.event(app.token), 404, "not_found"),
        Case("foreign", DOOR.event(make_client("other").token, query=foreign), 404, "not_found"),
    ]
    check(subtests, system, DOOR, cases)


def test_a_wallet_that_never_moved_stands_at_zero(app: Client, wallet: dict[str, Any], make_client: MakeClient) -> None:
    """All sums are "0"; what is on its way is seen at once, by an admin too."""
    query = f"wallet_id={wallet['wallet_id']}"
    answer = app.get(DOOR.path, query)
    assert_headers(answer)
    assert answer.data["as_of"].endswith("Z")
    zero = {"posted": "0", "pending_in": "0", "pending_out": "0", "available": "0", "ledger_sequence": 0}
    assert answer.data == {"wallet_id": wallet["wallet_id"], **zero, "as_of": answer.data["as_of"]}
    app.post("tokens/mint", {"wallet_id": wallet["wallet_id"], "amount": "0.25"}, key=unique("key"))
    for client in (app, make_client("boss", scopes=["admin"])):
        seen = client.get(DOOR.path, query).data
        assert (seen["posted"], seen["pending_in"], seen["available"]) == ("0", "0.25", "0")


def test_a_moment_that_cannot_be_asked_about(
    subtests: pytest.Subtests, system: Raw, app: Client, wallet: dict[str, Any], make_client: MakeClient
) -> None:
    """Not a time, not yet, not together with the chain, not of a foreign wallet."""
    base = f"wallet_id={wallet['wallet_id']}"
    past = f"{base}&at=2026-01-01T00:00:00Z"
    cases = [
        *bad_times(DOOR, app.token, ("at",), base),
        Case("future", DOOR.event(app.token, query=f"{base}&at=2999-01-01T00:00:00Z"), 400, "invalid_request", "at"),
        Case(
            "end", DOOR.event(app.token, query=f"{base}&at=9999-12-31T23:59:59.999999Z"), 400, "invalid_request", "at"
        ),
        *(
            Case(f"source {bad}", DOOR.event(app.token, query=f"{base}&source={bad}"), 400, "invalid_request", "source")
            for bad in ("", "Chain", "node")
        ),
        Case("both", DOOR.event(app.token, query=f"{past}&source=chain"), 400, "invalid_request", "source"),
        Case("foreign", DOOR.event(make_client("other").token, query=past), 404, "not_found"),
        Case("unknown", DOOR.event(app.token, query=f"{DOOR.query}&at=2026-01-01T00:00:00Z"), 404, "not_found"),
    ]
    check(subtests, system, DOOR, cases)


def test_a_balance_of_the_past_stays_what_it_was(bench: Bench) -> None:
    """Before, at and after each booking, to the millisecond; what came later changes nothing of it."""
    query = f"wallet_id={bench.wallet['wallet_id']}"
    for _ in range(2):
        bench.funded("10")
    lines = bench.app.get("wallets/statement", query).data["items"]
    before = (datetime.fromisoformat(lines[0]["at"]) - timedelta(milliseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    expected = {before: ("0", 0), lines[0]["at"]: ("10", 1), lines[1]["at"]: ("20", 2)}
    for _ in range(2):
        for moment, (posted, sequence) in expected.items():
            seen = bench.app.get(DOOR.path, f"{query}&at={moment}").data
            assert (seen["posted"], seen["ledger_sequence"]) == (posted, sequence)
            assert seen["as_of"] == moment[:23] + "Z"
            assert (seen["pending_in"], seen["pending_out"], seen["available"]) == (None, None, None)
        bench.burn("5")
        bench.settle()
    assert bench.balance()["posted"] == "10"


def test_the_chain_is_asked_beside_the_books(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the contract says, after which block, and how far the books are from it."""
    query = f"wallet_id={bench.wallet['wallet_id']}&source=chain"
    bench.funded("10")
    seen = bench.app.get(DOOR.path, query).data
    assert seen == {**bench.balance(), "as_of": seen["as_of"], "chain": seen["chain"]}
    assert seen["chain"] == {"balance": "10", "block_number": chain.head(), "difference": "0"}
    bench.raw.accounts.update_one({"_id": bench.wallet["wallet_id"]}, {"$set": {"posted": to_decimal(12 * 10**18)}})
    assert bench.app.get(DOOR.path, query).data["chain"]["difference"] == "-2"
    assert bench.app.get(DOOR.path, f"wallet_id={UNKNOWN_WALLET}&source=chain").code == "not_found"


def test_a_node_that_is_away_is_said_so(
    subtests: pytest.Subtests, system: Raw, app: Client, wallet: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 where a node is configured and does not answer, 400 where none is; the books are read all the same."""
    query = f"wallet_id={wallet['wallet_id']}"
    event = DOOR.event(app.token, query=f"{query}&source=chain")
    monkeypatch.setenv("CHAIN_RPC_URL", free_url())
    config.forget()
    check(subtests, system, DOOR, [Case("away", event, 503, "provider_unavailable")])
    monkeypatch.delenv("CHAIN_RPC_URL")
    config.forget()
    check(subtests, system, DOOR, [Case("none", event, 400, "invalid_request", "source")])
    assert app.get(DOOR.path, query).status == 200
