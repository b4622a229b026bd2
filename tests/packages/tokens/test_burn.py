"""POST /tokens/burn at its door."""

import json
from typing import Any

import pytest

from tests.edge import (
    BAD_AMOUNTS,
    BAD_REASONS,
    BAD_WALLET_IDS,
    UNKNOWN_WALLET,
    Case,
    Door,
    MakeClient,
    Raw,
    assert_plain_main,
    check,
    common,
    wrong_values,
)
from tests.support import Client


@pytest.fixture
def door(wallet: dict[str, Any]) -> Door:
    """The door, with a burn of well-formed fields; the wallet is empty."""
    body = {"wallet_id": wallet["wallet_id"], "amount": "10", "reason": "test"}
    return Door("tokens/burn", "POST", "tokens:burn", body, is_money=True)


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main("tokens/burn")


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient, door: Door) -> None:
    """Wrong methods, keys, bodies, queries and idempotency keys are refused by code and change nothing."""
    check(subtests, system, door, common(door, make_client))


def test_fields_that_are_wrong(subtests: pytest.Subtests, system: Raw, app: Client, door: Door) -> None:
    """Each field is checked by name; the reason is required, since the holder is not asked."""
    without = {name: value for name, value in (door.body or {}).items() if name != "reason"}
    cases = [
        *wrong_values(door, app.token, "amount", BAD_AMOUNTS),
        *wrong_values(door, app.token, "wallet_id", (*BAD_WALLET_IDS, 7, None, True, [], {})),
        *wrong_values(door, app.token, "reason", (*BAD_REASONS, None)),
        Case("no reason", door.event(app.token, body=json.dumps(without)), 400, "invalid_request", "reason"),
    ]
    check(subtests, system, door, cases)


def test_what_cannot_be_burned(
    subtests: pytest.Subtests, system: Raw, make_client: MakeClient, app: Client, door: Door
) -> None:
    """Unknown and foreign wallets are 404; more than a wallet has is 409 and holds nothing."""
    other = make_client("other").token
    unknown = json.dumps({**(door.body or {}), "wallet_id": UNKNOWN_WALLET})
    cases = [
        Case("unknown", door.event(app.token, body=unknown), 404, "not_found"),
        Case("another client's", door.event(other), 404, "not_found"),
        Case("empty wallet", door.event(app.token), 409, "insufficient_balance"),
    ]
    check(subtests, system, door, cases)
