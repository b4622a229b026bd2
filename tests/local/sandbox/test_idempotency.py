"""The same key means the same effect."""

import threading
from collections.abc import Callable

import requests

from tests.local.sandbox.support import BURN, MINT, TRANSFER, Caller, Json

ALICE = "alice@example.com"


def body(caller: Caller, amount: str = "1") -> Json:
    """A mint."""
    return {"coin": caller.coin(), "to": {"email": ALICE}, "amount": amount}


def test_a_replay_is_the_first_reply_byte_for_byte(caller: Caller) -> None:
    """QUEUED stays QUEUED, even after the block, and nothing happens twice."""
    first = caller.post(MINT, body(caller), "key")
    caller.tell("/clock", advance_ms=2000)
    again = caller.post(MINT, body(caller), "key")
    assert (again.status_code, again.content) == (200, first.content)
    slash = caller.post(MINT + "/", body(caller), "key")
    assert slash.content == first.content
    assert caller.balance(ALICE) == "1"
    calls = [call for call in caller.see("/requests")["requests"] if call["path"] == MINT]
    assert [(call["replayed"], call["idempotencyKey"], call["httpStatus"]) for call in calls] == [
        (False, "key", 200),
        (True, "key", 200),
        (True, "key", 200),
    ]


def test_another_body_under_the_same_key_is_refused(caller: Caller) -> None:
    """Nothing is executed, and the first reply still replays."""
    first = caller.post(MINT, body(caller), "key")
    assert caller.refused(MINT, body(caller, "2"), "key") == (400, "INVALID_REQUEST")
    assert caller.post(MINT, body(caller), "key").content == first.content
    assert caller.see("/info")["transactions"] == {"QUEUED": 1}


def test_the_path_belongs_to_the_scope(caller: Caller) -> None:
    """One key on two endpoints is two requests."""
    minted = caller.ok(MINT, body(caller), "key")
    sent = caller.ok(TRANSFER, body(caller), "key")
    assert minted["transactionId"] != sent["transactionId"]


def test_calls_without_a_key_are_all_new(caller: Caller) -> None:
    """Without the header nothing is remembered."""
    assert caller.ok(MINT, body(caller)) != caller.ok(MINT, body(caller))


def test_an_error_is_not_remembered(caller: Caller) -> None:
    """After a refusal the same key may carry a corrected request."""
    assert caller.refused(MINT, body(caller, "0"), "key") == (400, "INVALID_REQUEST")
    assert caller.ok(MINT, body(caller, "1"), "key")["status"] == "QUEUED"


def test_a_consent_reply_replays_with_its_token(caller: Caller) -> None:
    """Also once the token is used."""
    asked = body(caller) | {"from": {"email": "bob@example.com"}}
    first = caller.post(TRANSFER, asked, "key")
    caller.tell("/consent", consentToken=first.json()["consentToken"], action="deny")
    assert caller.post(TRANSFER, asked, "key").content == first.content


def test_a_crowd_with_one_key_causes_one_effect(start: Callable[..., Caller]) -> None:
    """Concurrent twins wait for the first and get its reply."""
    caller = start(mine_after_ms=0)
    replies: list[bytes] = []

    def call() -> None:
        headers = caller.headers(MINT, raw, "key")
        with requests.Session() as session:
            replies.append(session.post(caller.facts["base_url"] + MINT, data=raw, headers=headers, timeout=10).content)

    raw = requests.Request(json=body(caller), method="POST", url="http://x").prepare().body
    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(replies) == 16
    assert len(set(replies)) == 1
    assert caller.balance(ALICE) == "1"


def test_a_call_that_is_refused_inside_leaves_no_trace(caller: Caller) -> None:
    """A fault meant for a transaction is not used up by a call that makes none."""
    caller.tell("/faults", path=BURN, kind="failed")
    wrong = {"coin": {"currency": "0x" + "ab" * 20}, "from": {"email": ALICE}, "amount": "1"}
    assert caller.refused(BURN, wrong) == (400, "INVALID_REQUEST")
    assert caller.see("/faults")["pending"][0]["times"] == 1
