"""GET /wallets/get at its door."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.edge import (
    BAD_EMAILS,
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
from tests.support import Client

ADDRESS = "0x00000000000000000000000000000000000000aA"
DOOR = Door("wallets/get", "GET", "wallets:read", query=f"wallet_id={UNKNOWN_WALLET}")


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, keys and queries are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_queries_that_name_no_wallet(subtests: pytest.Subtests, system: Raw, app: Client) -> None:
    """Each of the three ways has its form, exactly one is to be given, and an unknown wallet is 404."""
    emails = [email for email in BAD_EMAILS if isinstance(email, str)]
    bad = [
        *(("wallet_id", f"wallet_id={quote(value)}") for value in BAD_WALLET_IDS),
        *(("email", f"email={quote(value)}") for value in emails),
        *(("address", f"address={value}") for value in ("", "0x", ADDRESS[:-1], ADDRESS + "0", ADDRESS + "%0A")),
        ("wallet_id", ""),
        ("wallet_id", f"wallet_id={UNKNOWN_WALLET}&address={ADDRESS}"),
        ("wallet_id", f"email=a%40example.com&address={ADDRESS}"),
    ]
    unknown = (f"wallet_id={UNKNOWN_WALLET}", "email=a%40example.com", f"address={ADDRESS}")
    cases = [
        *(Case(query[:60], DOOR.event(app.token, query=query), 400, "invalid_request", field) for field, query in bad),
        *(Case(f"unknown {query}", DOOR.event(app.token, query=query), 404, "not_found") for query in unknown),
    ]
    check(subtests, system, DOOR, cases)


def test_a_linked_wallet_is_found_three_ways(app: Client, wallet: dict[str, Any]) -> None:
    """By id, by e-mail in any case, by address in any case: the same object."""
    email = quote(wallet["owner"]["email"].upper())
    for query in (
        f"wallet_id={wallet['wallet_id']}",
        f"email={email}",
        f"address={wallet['address']}",
        f"address=0x{wallet['address'][2:].upper()}",
    ):
        answer = app.get(DOOR.path, query)
        assert (answer.status, answer.data) == (200, wallet)
        assert_headers(answer)


def test_a_wallet_is_hidden_from_clients_that_are_not_linked(
    subtests: pytest.Subtests, system: Raw, wallet: dict[str, Any], make_client: MakeClient
) -> None:
    """Without a link it is not_found, three ways; an admin sees it, without anybody's label."""
    other = make_client("other")
    queries = (
        f"wallet_id={wallet['wallet_id']}",
        f"email={wallet['owner']['email']}",
        f"address={wallet['address']}",
    )
    check(subtests, system, DOOR, [Case(q, DOOR.event(other.token, query=q), 404, "not_found") for q in queries])
    admin = make_client("boss", scopes=["admin"])
    for query in queries:
        assert admin.get(DOOR.path, query).data == {**wallet, "label": None, "metadata": {}}
    assert other.post("wallets/create", {"owner": wallet["owner"]}).status == 200
    assert other.get(DOOR.path, queries[0]).data["wallet_id"] == wallet["wallet_id"]
