"""GET /wallets/balance at its door."""

from typing import Any
from urllib.parse import quote

from pytest import Subtests

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
from tests.support import Client, unique

DOOR = Door("wallets/balance", "GET", "wallets:read", query=f"wallet_id={UNKNOWN_WALLET}")


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, keys and queries are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_ids_that_are_none(
    subtests: Subtests, system: Raw, app: Client, wallet: dict[str, Any], make_client: MakeClient
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


def test_a_wallet_that_never_moved_stands_at_zero(
    app: Client, wallet: dict[str, Any], make_client: MakeClient
) -> None:
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
