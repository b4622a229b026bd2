"""POST /tokens/consent at its door."""

import pytest

from tests.edge import UNKNOWN_TRANSACTION, Case, Door, MakeClient, Raw, assert_plain_main, check, common, wrong_values
from tests.support import Client

DOOR = Door(
    "tokens/consent",
    "POST",
    "tokens:transfer",
    {"transaction_id": UNKNOWN_TRANSACTION, "metakeep_transaction_id": "3f0c2a52-7a55-4d35-8b51-5a5d3bb1a9f2"},
)


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, keys, bodies and queries are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_ids_that_are_none(subtests: pytest.Subtests, system: Raw, app: Client) -> None:
    """Each id has one form; a transaction that does not exist is 404."""
    cases = [
        *wrong_values(DOOR, app.token, "transaction_id", ("", "txn_1", UNKNOWN_TRANSACTION + "\n", 7, None, [])),
        *wrong_values(DOOR, app.token, "metakeep_transaction_id", ("", "x" * 65, "a b", "a\n", "\u00e4", 7, None, {})),
        Case("unknown", DOOR.event(app.token), 404, "not_found"),
    ]
    check(subtests, system, DOOR, cases)
