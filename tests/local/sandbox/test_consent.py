"""A user's transfer waits for the user."""

import pytest

from tests.local.sandbox.support import TRANSFER, Caller

ALICE, BOB = "alice@example.com", "bob@example.com"


@pytest.fixture
def token(caller: Caller) -> str:
    """The consent token of a transfer of 2 from Alice, who has 10, to Bob."""
    caller.fund(ALICE)
    body = {"coin": caller.coin(), "from": {"email": ALICE}, "to": {"email": BOB}, "amount": "2"}
    reply = caller.ok(TRANSFER, body)
    assert reply.keys() == {"status", "consentToken"}
    assert reply["status"] == "USER_CONSENT_NEEDED"
    assert len(reply["consentToken"]) >= 64
    return str(reply["consentToken"])


def test_approval_queues_the_transfer(caller: Caller, token: str) -> None:
    """The id appears only now; the transfer moves the user's own tokens."""
    reply = caller.tell("/consent", consentToken=token, action="approve")
    assert reply["status"] == "QUEUED"
    assert caller.balance(BOB) == "0"
    caller.tell("/clock", advance_ms=2000)
    view = caller.status(reply["transactionId"])
    assert view["events"][0]["args"]["from"] == caller.address(ALICE)
    assert (caller.balance(ALICE), caller.balance(BOB)) == ("8", "2")


def test_denial_moves_nothing(caller: Caller, token: str) -> None:
    """The token is used up without a transaction."""
    assert caller.tell("/consent", consentToken=token, action="deny") == {"status": "USER_CONSENT_DENIED"}
    caller.tell("/clock", advance_ms=2000)
    assert (caller.balance(ALICE), caller.balance(BOB)) == ("10", "0")


@pytest.mark.parametrize("action", ["approve", "deny"])
def test_a_token_serves_once(caller: Caller, token: str, action: str) -> None:
    """A second answer is refused and changes nothing."""
    caller.tell("/consent", consentToken=token, action=action)
    reply = caller.private("POST", "/consent", {"consentToken": token, "action": "approve"})
    assert reply.status_code == 400
    assert "already" in reply.json()["message"]


def test_a_token_lives_ten_minutes(caller: Caller, token: str) -> None:
    """At its end it serves no more."""
    caller.tell("/clock", advance_ms=10 * 60 * 1000)
    reply = caller.private("POST", "/consent", {"consentToken": token, "action": "approve"})
    assert (reply.status_code, reply.json()["message"]) == (400, "the consent is already expired")


def test_an_unknown_token_is_refused(caller: Caller) -> None:
    """With a clear word."""
    reply = caller.private("POST", "/consent", {"consentToken": "x", "action": "approve"})
    assert (reply.status_code, reply.json()["message"]) == (400, "unknown consentToken")


def test_a_fault_reaches_the_transaction_after_consent(caller: Caller) -> None:
    """What was ordered for the transfer happens to what the user approves."""
    caller.fund(ALICE)
    caller.tell("/faults", path=TRANSFER, kind="failed", reason="out of luck")
    body = {"coin": caller.coin(), "from": {"email": ALICE}, "to": {"email": BOB}, "amount": "2"}
    token = caller.ok(TRANSFER, body)["consentToken"]
    reply = caller.tell("/consent", consentToken=token, action="approve")
    caller.tell("/clock", advance_ms=2000)
    assert caller.status(reply["transactionId"])["failureReason"] == "out of luck"
