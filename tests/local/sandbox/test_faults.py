"""Every fault kind does what it says, as often as it was ordered, and is gone afterwards."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from tests.local.sandbox.support import BALANCE, BURN, MINT, STATUS, Caller, Json, wait_for

ALICE = "alice@example.com"


def body(caller: Caller) -> Json:
    """A mint of one."""
    return {"coin": caller.coin(), "to": {"email": ALICE}, "amount": "1"}


@contextmanager
def in_background(caller: Caller, key: str) -> Iterator[list[bytes]]:
    """A mint whose reply may be late; the list holds the reply once it is there."""
    replies: list[bytes] = []
    other = Caller(caller.facts)
    thread = threading.Thread(target=lambda: replies.append(other.post(MINT, body(caller), key, 30).content))
    thread.start()
    try:
        yield replies
    finally:
        thread.join()
        other.close()


def test_failed_is_mined_and_reverted(caller: Caller) -> None:
    """FAILED with the reason that was ordered; the next one is fine again."""
    caller.tell("/faults", path=MINT, kind="failed", reason="no luck")
    first, second = caller.mint(ALICE), caller.mint(ALICE)
    caller.tell("/clock", advance_ms=2000)
    view = caller.status(first["transactionId"])
    assert (view["status"], view["failureReason"], view["events"]) == ("FAILED", "no luck", [])
    assert caller.status(second["transactionId"])["status"] == "COMPLETED"
    assert caller.see("/faults") == {"pending": [], "held": []}


def test_cancelled_never_reaches_a_block(caller: Caller) -> None:
    """CANCELLED, and the chain does not grow."""
    before = caller.see("/info")["block_number"]
    caller.tell("/faults", path=MINT, kind="cancelled")
    queued = caller.mint(ALICE)
    caller.tell("/clock", advance_ms=2000)
    assert caller.status(queued["transactionId"])["status"] == "CANCELLED"
    assert caller.see("/info")["block_number"] == before


def test_stuck_stays_queued_until_the_faults_are_cleared(caller: Caller) -> None:
    """No time frees it; clearing does."""
    caller.tell("/faults", path=MINT, kind="stuck")
    queued = caller.mint(ALICE)
    caller.tell("/clock", advance_ms=10**9)
    assert caller.status(queued["transactionId"])["status"] == "QUEUED"
    caller.private("DELETE", "/faults")
    assert caller.status(queued["transactionId"])["status"] == "COMPLETED"


def test_500_and_429_do_nothing(caller: Caller) -> None:
    """The request is refused without effect; 429 says when to come back."""
    caller.tell("/faults", path=MINT, kind="500", times=2)
    caller.tell("/faults", path=MINT, kind="429", retry_after=7)
    for _ in range(2):
        assert caller.refused(MINT, body(caller), "key") == (500, "SOMETHING_WENT_WRONG")
    reply = caller.post(MINT, body(caller), "key")
    assert (reply.status_code, reply.headers["Retry-After"]) == (429, "7")
    assert caller.see("/info")["transactions"] == {}
    assert caller.ok(MINT, body(caller), "key")["status"] == "QUEUED"


def test_a_star_means_any_path(caller: Caller) -> None:
    """The next call, whatever it is."""
    caller.tell("/faults", path="*", kind="500")
    assert caller.refused("/v3/getWallet", {"user": {"email": ALICE}})[0] == 500
    assert caller.post(MINT, body(caller)).status_code == 200


def test_slow_answers_late(caller: Caller) -> None:
    """The effect is there long before the reply."""
    caller.tell("/faults", path=MINT, kind="slow", delay_ms=60)
    started = time.monotonic()
    assert caller.post(MINT, body(caller), "key").status_code == 200
    assert time.monotonic() - started >= 0.06


def test_reply_lost_commits_and_cuts_the_connection(caller: Caller) -> None:
    """The caller sees a broken connection; a retry with the same key gets the first reply."""
    caller.tell("/faults", path=MINT, kind="reply_lost")
    with pytest.raises(requests.ConnectionError):
        caller.post(MINT, body(caller), "key")
    assert caller.see("/info")["transactions"] == {"QUEUED": 1}
    assert caller.ok(MINT, body(caller), "key")["status"] == "QUEUED"
    assert caller.see("/info")["transactions"] == {"QUEUED": 1}


def test_hold_keeps_the_reply_until_it_is_released(caller: Caller) -> None:
    """The effect is committed, the held request is visible, others go on, and clearing releases it."""
    caller.tell("/faults", path=MINT, kind="hold")
    with in_background(caller, "key") as replies:
        held = wait_for(lambda: caller.see("/faults")["held"])
        assert [(item["path"], item["idempotencyKey"], item["kind"]) for item in held] == [(MINT, "key", "hold")]
        assert caller.see("/info")["transactions"] == {"QUEUED": 1}
        twin = caller.post(MINT, body(caller), "key").content
        assert replies == []
        caller.private("DELETE", "/faults?kind=hold")
    assert replies == [twin]
    assert caller.see("/faults")["held"] == []


def test_balance_lag_shows_the_past(caller: Caller) -> None:
    """The next reads show the state of some time ago: 35 s unless said otherwise."""
    caller.fund(ALICE, "10")
    caller.tell("/clock", advance_ms=20_000)
    caller.fund(ALICE, "5")
    caller.tell("/faults", path=BALANCE, kind="balance_lag", times=2)
    caller.tell("/faults", path=BALANCE, kind="balance_lag", delay_ms=5_000)
    assert [caller.balance(ALICE) for _ in range(4)] == ["0", "0", "10", "15"]


def test_reorg_takes_a_completed_transaction_off_the_chain(caller: Caller) -> None:
    """MetaKeep's COMPLETED stays, the chain forgets; later transactions are mined again."""
    caller.tell("/faults", path=MINT, kind="reorg", delay_ms=5_000)
    gone = caller.mint(ALICE, "7")
    caller.tell("/clock", advance_ms=2000)
    assert caller.balance(ALICE) == "7"
    caller.fund(ALICE, "1")
    height = caller.see("/info")["block_number"]
    caller.tell("/clock", advance_ms=5_000)
    assert caller.balance(ALICE) == "1"
    assert caller.status(gone["transactionId"])["status"] == "COMPLETED"
    assert caller.see("/info")["block_number"] == height


def test_a_transaction_is_taken_off_the_chain_once(caller: Caller) -> None:
    """When another reorganisation was first, there is nothing left to do."""
    caller.tell("/faults", path=MINT, kind="reorg", delay_ms=5_000)
    caller.fund(ALICE)
    caller.fund(ALICE)
    caller.tell("/reorg", depth=2)
    blocks = caller.see("/info")["block_number"]
    caller.tell("/clock", advance_ms=5_000)
    assert (caller.see("/info")["block_number"], caller.balance(ALICE)) == (blocks, "0")


def test_faults_of_several_kinds_can_meet_one_request(caller: Caller) -> None:
    """A transaction that will fail, and whose reply is lost besides."""
    caller.tell("/faults", path=MINT, kind="failed")
    caller.tell("/faults", path=MINT, kind="reply_lost")
    with pytest.raises(requests.ConnectionError):
        caller.post(MINT, body(caller), "key")
    queued = caller.ok(MINT, body(caller), "key")
    caller.tell("/clock", advance_ms=2000)
    assert caller.status(queued["transactionId"])["failureReason"] == "execution reverted"


def test_clearing_one_kind_leaves_the_others(caller: Caller) -> None:
    """With `kind` only that kind is forgotten."""
    caller.tell("/faults", path=MINT, kind="500")
    caller.tell("/faults", path=MINT, kind="failed")
    left = caller.private("DELETE", "/faults?kind=500").json()["pending"]
    assert left == [{"path": MINT, "kind": "failed", "times": 1}]
    assert caller.private("DELETE", "/faults?kind=nonsense").status_code == 400
    assert caller.private("DELETE", "/faults").json()["pending"] == []


@pytest.mark.parametrize(
    ("order", "word"),
    [
        ({"path": MINT, "kind": "fire"}, "kind"),
        ({"path": "/v2/nothing", "kind": "500"}, "unknown path"),
        ({"path": STATUS, "kind": "failed"}, "makes no transaction"),
        ({"path": BURN, "kind": "balance_lag"}, "concerns"),
        ({"path": MINT, "kind": "500", "times": 0}, "times"),
        ({"path": MINT}, "kind"),
    ],
)
def test_an_impossible_order_is_refused_with_a_clear_word(caller: Caller, order: Json, word: str) -> None:
    """400 says what is wrong."""
    reply = caller.private("POST", "/faults", order)
    assert reply.status_code == 400
    assert word in reply.json()["message"]
