"""GET and POST /tokens/transaction at their door."""

from typing import Any

import pytest

from tests.edge import (
    UNKNOWN_TRANSACTION,
    Case,
    Door,
    MakeClient,
    Raw,
    assert_headers,
    assert_plain_main,
    check,
    common,
    wrong_values,
)
from tests.support import Client, unique

METHODS = ("GET", "POST")
DOOR = Door("tokens/transaction", "GET", "tokens:read", query=f"transaction_id={UNKNOWN_TRANSACTION}", allow=METHODS)
CANCEL = Door(
    "tokens/transaction",
    "POST",
    "tokens:mint",
    {"transaction_id": UNKNOWN_TRANSACTION, "action": "cancel"},
    allow=METHODS,
    also=("tokens:transfer", "treasury:transfer", "tokens:burn"),
)
BAD_IDS = (
    "",
    UNKNOWN_TRANSACTION.replace("txn", "wlt"),
    UNKNOWN_TRANSACTION.lower(),
    UNKNOWN_TRANSACTION + "%0A",
    UNKNOWN_TRANSACTION[:-1],
    "%00",
)


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, keys, bodies and queries are refused by code and change nothing."""
    for door in (DOOR, CANCEL):
        check(subtests, system, door, common(door, make_client))


def test_what_cannot_be_cancelled(subtests: pytest.Subtests, system: Raw, app: Client) -> None:
    """Ids have one form, there is one action, and an unknown transaction is 404."""
    cases = [
        *wrong_values(CANCEL, app.token, "transaction_id", ("", "txn_1", UNKNOWN_TRANSACTION + "\n", 7, None, [])),
        *wrong_values(CANCEL, app.token, "action", ("", "stop", "CANCEL", 7, None, [])),
        Case("unknown", CANCEL.event(app.token), 404, "not_found"),
    ]
    check(subtests, system, CANCEL, cases)


def test_ids_that_are_none(subtests: pytest.Subtests, system: Raw, app: Client) -> None:
    """An id has one form; a well-formed one that does not exist is 404."""
    queries = ("", *(f"transaction_id={bad}" for bad in BAD_IDS))
    cases = [
        *(Case(q, DOOR.event(app.token, query=q), 400, "invalid_request", "transaction_id") for q in queries),
        Case("unknown", DOOR.event(app.token), 404, "not_found"),
    ]
    check(subtests, system, DOOR, cases)


def test_a_transaction_is_its_clients(app: Client, wallet: dict[str, Any], make_client: MakeClient) -> None:
    """Its client sees the whole object, an admin too, everybody else 404."""
    minted = app.post("tokens/mint", {"wallet_id": wallet["wallet_id"], "amount": "0.5"}, key=unique("key")).data
    query = f"transaction_id={minted['transaction_id']}"
    answer = app.get(DOOR.path, query)
    assert (answer.status, answer.data) == (200, minted)
    assert_headers(answer)
    assert make_client("boss", scopes=["admin"]).get(DOOR.path, query).data == minted
    assert make_client("other").get(DOOR.path, query).code == "not_found"
    assert minted.keys() == {
        *("transaction_id", "kind", "status", "amount", "from", "to", "tx_hash", "block_number", "explorer_url"),
        *("metakeep_transaction_id", "badge_claim", "reason", "batch_id", "failure", "created_at", "updated_at"),
        "timeline",
    }
