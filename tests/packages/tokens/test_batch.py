"""GET /tokens/batch at its door."""

import pytest

from tests.edge import Case, Door, MakeClient, Raw, assert_plain_main, check, common
from tests.support import Client

UNKNOWN = "bat_01ARZ3NDEKTSV4RRFFQ69G5FAV"
DOOR = Door("tokens/batch", "GET", "tokens:read", query=f"batch_id={UNKNOWN}")


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, keys and queries are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_queries_that_are_wrong(subtests: pytest.Subtests, system: Raw, app: Client) -> None:
    """An id has one form, `rows` two words, and a page its bounds."""
    wrong = {"batch_id": "batch_id=txn_1"} | {
        name: f"batch_id={UNKNOWN}&{name}={value}" for name, value in (("rows", "yes"), ("limit", "0"), ("cursor", ""))
    }
    cases = [Case(q, DOOR.event(app.token, query=q), 400, "invalid_request", name) for name, q in wrong.items()]
    cases.append(Case("unknown", DOOR.event(app.token), 404, "not_found"))
    check(subtests, system, DOOR, cases)
