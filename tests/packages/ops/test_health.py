"""GET /ops/health at its door."""

import pytest

from getsmart import config
from tests.edge import Case, Door, MakeClient, Raw, assert_headers, assert_plain_main, check, common
from tests.support import Client

DOOR = Door("ops/health", "GET", None)


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, paths and queries are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_nobody_needs_a_key(system: Raw) -> None:
    """It answers without a key, check by check, and with no rate limit."""
    answer = Client(None).get(DOOR.path)
    assert answer.status == 200
    assert_headers(answer)
    assert "RateLimit-Limit" not in answer.headers
    assert answer.data.keys() == {"status", "version", "colour", "schema_version", "checks"}
    assert all(check.keys() == {"status", "observed", "message"} for check in answer.data["checks"].values())


def test_a_failing_check_is_503(system: Raw) -> None:
    """The status is the worst check's, and a failing one is 503 for whoever balances load."""
    system.controls.delete_one({"_id": "supply"})
    answer = Client(None).get(DOOR.path)
    assert (answer.status, answer.json["data"]["status"]) == (503, "fail")
    assert answer.json["data"]["checks"]["I2"]["status"] == "fail"


def test_a_wrong_variable_is_misconfigured(
    subtests: pytest.Subtests, system: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment with a variable that is none is not healthy, and says no more."""
    monkeypatch.setenv("COLOUR", "red")
    config.forget()
    check(subtests, system, DOOR, [Case("COLOUR", DOOR.event(None), 503, "misconfigured")])
