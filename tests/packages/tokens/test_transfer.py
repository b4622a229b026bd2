"""POST /tokens/transfer at its door."""

import json
from typing import Any

import pytest

from getsmart import config
from local.sandbox import Sandbox
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
from tests.support import Client, call, unique

OUTSIDE = "0x00000000000000000000000000000000000000aA"
BAD_ADDRESSES = (
    *("", "0x", OUTSIDE[2:], OUTSIDE[:-1], OUTSIDE + "0", "0X" + OUTSIDE[2:], " " + OUTSIDE, OUTSIDE + "\n"),
    *(OUTSIDE[:-1] + "g", OUTSIDE[:-1] + "\uff11", 7, True, [], {}),
)


@pytest.fixture
def door(wallet: dict[str, Any]) -> Door:
    """The door, with a transfer that it would take."""
    body = {"to_wallet_id": wallet["wallet_id"], "amount": "10"}
    return Door("tokens/transfer", "POST", "treasury:transfer", body, is_money=True)


@pytest.fixture
def outward() -> Door:
    """The door, with a transfer to an address."""
    return Door("tokens/transfer", "POST", "treasury:transfer", {"to_address": OUTSIDE, "amount": "10"}, is_money=True)


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main("tokens/transfer")


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient, door: Door) -> None:
    """Wrong methods, keys, bodies, queries and idempotency keys are refused by code and change nothing."""
    check(subtests, system, door, common(door, make_client))


def test_fields_that_are_wrong(subtests: pytest.Subtests, system: Raw, app: Client, door: Door, outward: Door) -> None:
    """Each field is checked by name, and exactly one target has to be given."""
    neither, both = {"amount": "1"}, {**(door.body or {}), "to_address": OUTSIDE}
    cases = [
        *wrong_values(door, app.token, "amount", BAD_AMOUNTS),
        *wrong_values(door, app.token, "to_wallet_id", (*BAD_WALLET_IDS, 7, True, [], {})),
        *wrong_values(door, app.token, "reason", BAD_REASONS),
        *wrong_values(outward, app.token, "to_address", BAD_ADDRESSES),
        Case("neither", door.event(app.token, body=json.dumps(neither)), 400, "invalid_request", "to_wallet_id"),
        Case("both", door.event(app.token, body=json.dumps(both)), 400, "invalid_request", "to_wallet_id"),
    ]
    check(subtests, system, door, cases)


def test_addresses_that_cannot_be_paid(
    subtests: pytest.Subtests, system: Raw, app: Client, outward: Door, sandbox: Sandbox
) -> None:
    """The zero address, the contract and the treasury are no targets, in any case of letters."""
    targets = ("0x" + "0" * 40, sandbox.token_address, sandbox.treasury_address, sandbox.treasury_address.lower())
    check(subtests, system, outward, wrong_values(outward, app.token, "to_address", targets))


def test_addresses_where_they_are_off(
    subtests: pytest.Subtests, system: Raw, app: Client, outward: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inferred form is refused unless the deployment has turned it on."""
    monkeypatch.delenv("METAKEEP_TRANSFER_TO_ADDRESS")
    config.forget()
    check(subtests, system, outward, wrong_values(outward, app.token, "to_address", [OUTSIDE]))


def test_wallets_that_are_not_the_clients(
    subtests: pytest.Subtests, system: Raw, make_client: MakeClient, door: Door
) -> None:
    """A wallet that does not exist and one that the client is not linked to are the same 404."""
    other = make_client("other").token
    unknown = json.dumps({**(door.body or {}), "to_wallet_id": UNKNOWN_WALLET})
    cases = [
        Case("unknown", door.event(other, body=unknown), 404, "not_found"),
        Case("another client's", door.event(other), 404, "not_found"),
    ]
    check(subtests, system, door, cases)


def test_more_than_the_treasury_has(subtests: pytest.Subtests, system: Raw, app: Client, door: Door) -> None:
    """A transfer beyond the treasury is 409 and holds nothing."""
    body = json.dumps({**(door.body or {}), "amount": "20000000.000000000000000001"})
    check(subtests, system, door, [Case("treasury", door.event(app.token, body=body), 409, "insufficient_balance")])


def test_a_transfer_to_an_address_is_taken(app: Client, outward: Door) -> None:
    """An outside address is shown as it was written; the treasury by its account."""
    paid = call(outward.path, outward.event(app.token, headers={"idempotency-key": unique("key")}))
    assert paid.status == 202, paid.text
    assert paid.data["from"] == {"account": "treasury"}
    assert paid.data["to"] == {"address": OUTSIDE.lower(), "account": "external"}
