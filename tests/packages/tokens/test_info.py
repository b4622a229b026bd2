"""GET /tokens/info at its door."""

import pytest

from local.sandbox import Sandbox
from tests.edge import Door, MakeClient, Raw, assert_headers, assert_plain_main, check, common
from tests.support import Client

DOOR = Door("tokens/info", "GET", "tokens:read")


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, keys and queries are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_the_token_after_genesis(app: Client, sandbox: Sandbox) -> None:
    """The whole token object, by the names callers see."""
    answer = app.get(DOOR.path)
    assert answer.status == 200
    assert_headers(answer)
    assert answer.data == {
        "name": "GetSmart Token",
        "symbol": "GETS",
        "decimals": 18,
        "contract_address": sandbox.token_address,
        "network": "polygon-amoy",
        "chain_id": 80002,
        "max_supply": "1000000000000",
        "minted": "20000000",
        "reserved": "0",
        "burned": "0",
        "circulating": "20000000",
        "treasury": {"address": sandbox.treasury_address, "balance": "20000000"},
        "reconciled_to_block": None,
    }
