"""POST /tokens/mint at its door."""

import json
from typing import Any

import pytest

from tests.edge import (
    BAD_AMOUNTS,
    BAD_BADGE_TEXTS,
    BAD_REASONS,
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
    wrong_values,
)
from tests.support import Client, call, unique


@pytest.fixture
def door(wallet: dict[str, Any]) -> Door:
    """The door, with a mint that it would take."""
    body = {"wallet_id": wallet["wallet_id"], "amount": "10"}
    return Door("tokens/mint", "POST", "tokens:mint", body, is_money=True)


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main("tokens/mint")


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient, door: Door) -> None:
    """Wrong methods, keys, bodies, queries and idempotency keys are refused by code and change nothing."""
    check(subtests, system, door, common(door, make_client))


def test_amounts_that_are_none(subtests: pytest.Subtests, system: Raw, app: Client, door: Door) -> None:
    """Whatever is not a decimal string of whole GETS above zero is 400 naming `amount`, and changes nothing."""
    check(subtests, system, door, wrong_values(door, app.token, "amount", BAD_AMOUNTS))


def test_other_fields_that_are_wrong(subtests: pytest.Subtests, system: Raw, app: Client, door: Door) -> None:
    """Wallet, reason and badge are checked too, by name."""
    badge = Door(door.path, door.method, door.scope, _badge(door, {"badge_id": "b", "claimant": "c"}), is_money=True)
    cases = [
        *wrong_values(door, app.token, "wallet_id", (*BAD_WALLET_IDS, 7, None, True, [], {})),
        *wrong_values(door, app.token, "reason", BAD_REASONS),
        *wrong_values(badge, app.token, "badge_claim.badge_id", BAD_BADGE_TEXTS),
        *wrong_values(badge, app.token, "badge_claim.claimant", BAD_BADGE_TEXTS),
        *wrong_values(badge, app.token, "badge_claim.surprise", ["x"]),
        *wrong_values(badge, app.token, "badge_claim", ["b", 7, True, []]),
        *wrong_values(badge, app.token, "amount", ["1"]),
        _case(door, app, {"wallet_id": UNKNOWN_WALLET}, "amount"),
        _case(door, app, {"amount": "1"}, "wallet_id"),
        _case(door, app, {**(badge.body or {}), "badge_claim": {"badge_id": "b"}}, "badge_claim.claimant"),
    ]
    check(subtests, system, door, cases)


def test_wallets_that_are_not_the_clients(
    subtests: pytest.Subtests, system: Raw, make_client: MakeClient, door: Door
) -> None:
    """A wallet that does not exist and one that the client is not linked to are the same 404."""
    other = make_client("other").token
    unknown = json.dumps({**(door.body or {}), "wallet_id": UNKNOWN_WALLET})
    cases = [
        Case("unknown", door.event(other, body=unknown), 404, "not_found"),
        Case("another client's", door.event(other), 404, "not_found"),
    ]
    check(subtests, system, door, cases)


def test_more_than_the_supply_has_left(subtests: pytest.Subtests, system: Raw, app: Client, door: Door) -> None:
    """A mint beyond the cap is 409 and reserves nothing."""
    body = json.dumps({**(door.body or {}), "amount": "9999999999999.999999999999999999"})
    check(subtests, system, door, [Case("supply", door.event(app.token, body=body), 409, "supply_exhausted")])


def test_the_largest_key_and_texts_are_taken(app: Client, door: Door) -> None:
    """255 visible characters are a key; 128 and 500 characters are texts, in any script."""
    badge = {"badge_id": "\u5b66" * 128, "claimant": "\u00fc" * 128}
    body = {**_badge(door, badge), "reason": "\U0001f393" * 500}
    minted = app.post("tokens/mint", body, key="!" + "~" * 254)
    assert minted.status == 202, minted.text
    assert (minted.data["badge_claim"], minted.data["reason"]) == (badge, body["reason"])
    assert (minted.data["amount"], minted.data["kind"]) == ("1000", "mint")


def test_base64_carries_the_same_request(app: Client, door: Door) -> None:
    """However the platform carried the body, it is the same request: the second call is a replay of the first."""
    import base64

    key = {"idempotency-key": unique("key")}
    first = call("tokens/mint", door.event(app.token, headers=key))
    packed = base64.b64encode(json.dumps(door.body).encode()).decode()
    second = call("tokens/mint", door.event(app.token, headers=key, body=packed, is_base64=True))
    assert (first.status, second.status) == (202, 202)
    assert first.text == second.text
    assert (first.headers["Idempotent-Replayed"], second.headers["Idempotent-Replayed"]) == ("false", "true")
    assert_headers(second)


def test_missing_variables_are_named_in_the_log_only(
    subtests: pytest.Subtests, system: Raw, app: Client, door: Door, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Without the contract's address the door is misconfigured: 503, the variable in the log, nothing kept."""
    from getsmart import config

    monkeypatch.delenv("TOKEN_CONTRACT_ADDRESS")
    config.forget()
    check(subtests, system, door, [Case("misconfigured", door.event(app.token), 503, "misconfigured")])
    answer = call("tokens/mint", door.event(app.token))
    assert "TOKEN_CONTRACT_ADDRESS" not in answer.text
    assert answer.headers["Retry-After"] == "30"
    assert "TOKEN_CONTRACT_ADDRESS (missing)" in capsys.readouterr().out


def _badge(door: Door, claim: dict[str, str]) -> dict[str, Any]:
    return {"wallet_id": (door.body or {})["wallet_id"], "badge_claim": claim}


def _case(door: Door, app: Client, body: dict[str, Any], field: str) -> Case:
    return Case(f"only {sorted(body)}", door.event(app.token, body=json.dumps(body)), 400, "invalid_request", field)
