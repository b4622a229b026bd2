"""POST /tokens/airdrop at its door."""

import json
from typing import Any

import pytest

from getsmart import rows
from tests.edge import (
    BAD_AMOUNTS,
    BAD_BADGE_TEXTS,
    BAD_WALLET_IDS,
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

NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture
def door(wallet: dict[str, Any]) -> Door:
    """The door, with an airdrop that it would take."""
    rows = [{"wallet_id": wallet["wallet_id"], "amount": "10"}]
    return Door("tokens/airdrop", "POST", "tokens:mint", {"reference": "r", "rows": rows}, is_money=True)


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main("tokens/airdrop")


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient, door: Door) -> None:
    """Wrong methods, keys, bodies, queries and idempotency keys are refused by code and change nothing."""
    check(subtests, system, door, common(door, make_client))


def test_rows_that_are_wrong(subtests: pytest.Subtests, system: Raw, app: Client, door: Door) -> None:
    """Each field of a row is checked by name; the reference too."""
    good = (door.body or {})["rows"][0]
    cases = list(wrong_values(door, app.token, "reference", BAD_BADGE_TEXTS))
    for name, values in (("amount", BAD_AMOUNTS), ("wallet_id", (*BAD_WALLET_IDS, 7, True, [], {}))):
        for value in values:
            body = json.dumps({"reference": "r", "rows": [good, {**good, name: value}]})
            what = f"{name}={value!r:.40}"
            cases.append(Case(what, door.event(app.token, body=body), 400, "invalid_request", f"rows[1].{name}"))
    check(subtests, system, door, cases)


def test_lines_that_are_wrong(subtests: pytest.Subtests, system: Raw, app: Client, door: Door) -> None:
    """NDJSON: the reference stands in the query, alone; every line is a row."""
    good = json.dumps((door.body or {})["rows"][0])

    def event(query: str, body: str) -> dict[str, Any]:
        return door.event(app.token, query=query, body=body, headers=NDJSON)

    cases = [
        Case("no reference", event("", good), 400, "invalid_request", "reference"),
        Case("more names", event("reference=r&more=1", good), 400, "invalid_request", "more"),
        Case("rows in the query", event("reference=r&reference=s", good), 400, "invalid_request", "reference"),
        Case("no line", event("reference=r", "\n\n"), 400, "invalid_request", "rows"),
        Case("too many lines", event("reference=r", good + "\n" * 20_001), 400, "invalid_request", "rows"),
        Case("a list", event("reference=r", f"{good}\n[]"), 400, "invalid_request", "rows[1]"),
        Case("duplicate names", event("reference=r", good[:-1] + ',"a":1,"a":1}'), 400, "invalid_request", "rows[0]"),
    ]
    check(subtests, system, door, cases)


def test_lines_of_a_stranger_are_not_read(
    subtests: pytest.Subtests, system: Raw, app: Client, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has no key is refused before the first of them costs anything."""
    monkeypatch.setattr(rows, "_line", None)
    secret = "0" * 64  # pragma: allowlist secret
    stranger = f"{app.token.rpartition('_')[0]}_{secret}"
    event = door.event(stranger, query="reference=r", body="1\n" * 9, headers=NDJSON)
    check(subtests, system, door, [Case("no such key", event, 401, "unauthenticated")])
