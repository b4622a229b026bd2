"""Events reach the receiver: signed, at least once, in the manner that was ordered."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from getsmart.errors import SignatureInvalid
from getsmart.metakeep import webhook
from local.sandbox import webhooks
from tests.local.sandbox.support import MINT, TRANSFER, Caller, Json, wait_for

ALICE, HOST, PATH = "alice@example.com", "api.getsmart.example", "/v1/webhooks/metakeep"


@dataclass
class Receiver:
    """Takes deliveries and answers with the statuses it is given, then with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        """One delivery."""
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.taken.append(({name.lower(): value for name, value in handler.headers.items()}, body))
        handler.send_response(self.statuses.pop(0) if self.statuses else 200)
        handler.send_header("Location", "http://127.0.0.1:1/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    @property
    def events(self) -> list[Json]:
        """The bodies."""
        return [json.loads(body) for _, body in self.taken]

    def verified(self, caller: Caller) -> list[Json]:
        """The bodies of the deliveries that the project's own receiver accepts."""
        return [json.loads(body) for headers, body in self.taken if is_genuine(caller, headers, body)]


def is_genuine(caller: Caller, headers: dict[str, str], body: bytes) -> bool:
    """Whether the project's own verification passes."""
    keys = [caller.facts["webhook_sender_key"]]
    now = time.time_ns() // 1_000_000
    try:
        webhook.verify_p256(headers, body, host=HOST, path=PATH, sender_keys=keys, now_ms=now)
    except SignatureInvalid:
        return False
    return True


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on a port of its own."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            made.take(self)

        def log_message(self, *_: Any) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}{PATH}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without the real pauses."""
    monkeypatch.setattr(webhooks, "RETRY_MS", (20, 30))


@pytest.fixture
def caller(start: Callable[..., Caller], receiver: Receiver, quick: None) -> Caller:
    """A caller of a sandbox that tells the receiver."""
    return start(webhook_url=receiver.url, webhook_host=HOST)


def delivered(caller: Caller, count: int) -> list[Json]:
    """Wait until that many attempts are written down and nothing is pending, and return them."""

    def look() -> list[Json]:
        view = caller.see("/webhooks")
        found: list[Json] = view["deliveries"]
        return found if len(found) >= count and not view["pending"] else []

    found: list[Json] = wait_for(look)
    assert len(found) == count
    return found


def test_a_completed_transaction_is_told(caller: Caller, receiver: Receiver) -> None:
    """Signed for the configured host and path, with the fields of the status reply."""
    queued = caller.mint(ALICE)
    caller.tell("/clock", advance_ms=2000)
    (attempt,) = delivered(caller, 1)
    (event,) = receiver.verified(caller)
    status = caller.status(queued["transactionId"])
    data = status | {"transactionId": queued["transactionId"], "appId": caller.facts["app_id"]}
    assert (event["type"], event["data"]) == ("transaction.completed", data)
    assert event["createdAt"].endswith("Z")
    headers = receiver.taken[0][0]
    assert (headers["idempotency-key"], headers["content-type"]) == (event["id"], "application/json")
    assert attempt["eventId"] == event["id"]
    assert (attempt["transactionId"], attempt["httpStatus"]) == (queued["transactionId"], 200)


def test_failed_and_cancelled_are_told(caller: Caller, receiver: Receiver) -> None:
    """Every final state has its type."""
    for kind in ("failed", "cancelled"):
        caller.tell("/faults", path=MINT, kind=kind)
        caller.fund(ALICE)
    delivered(caller, 2)
    assert {event["type"] for event in receiver.events} == {"transaction.failed", "transaction.cancelled"}


def test_consent_is_told(caller: Caller, receiver: Receiver) -> None:
    """Approved with the transaction, denied, expired."""
    body = {"coin": caller.coin(), "from": {"email": ALICE}, "to": {"email": "bob@example.com"}, "amount": "2"}
    tokens = [caller.ok(TRANSFER, body)["consentToken"] for _ in range(3)]
    approved = caller.tell("/consent", consentToken=tokens[0], action="approve")
    caller.tell("/consent", consentToken=tokens[1], action="deny")
    delivered(caller, 2)
    caller.tell("/clock", advance_ms=600_000)
    delivered(caller, 4)
    told = {event["type"]: event["data"] for event in receiver.verified(caller)}
    assert told["consent.approved"]["transactionId"] == approved["transactionId"]
    assert told["consent.denied"]["consentToken"] == tokens[1]
    assert told["consent.expired"]["consentToken"] == tokens[2]
    assert told["transaction.failed"]["failureReason"]


def test_it_is_tried_until_it_is_heard(caller: Caller, receiver: Receiver) -> None:
    """Any 2xx ends it, a redirect does not; each attempt is signed anew under the same event id."""
    receiver.statuses += [500, 301, 204]
    caller.fund(ALICE)
    attempts = delivered(caller, 3)
    assert [attempt["httpStatus"] for attempt in attempts] == [500, 301, 204]
    assert len({headers["idempotency-key"] for headers, _ in receiver.taken}) == 1
    assert len({headers["x-timestamp"] for headers, _ in receiver.taken}) == 3
    assert len(receiver.verified(caller)) == 3


def test_an_unreachable_receiver_harms_nobody(start: Callable[..., Caller], quick: None) -> None:
    """Requests go on; the event waits."""
    caller = start(webhook_url=f"http://127.0.0.1:1{PATH}")
    caller.fund(ALICE)
    attempts = wait_for(lambda: caller.see("/webhooks")["deliveries"][1:])
    assert attempts[0]["httpStatus"] is None
    assert caller.see("/webhooks")["pending"][0]["attempts"] >= 1
    assert caller.balance(ALICE) == "10"


def test_after_many_attempts_it_is_given_up(
    start: Callable[..., Caller], quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that is never there ends the retries."""
    monkeypatch.setattr(webhooks, "MAX_ATTEMPTS", 2)
    caller = start(webhook_url=f"http://127.0.0.1:1{PATH}")
    caller.fund(ALICE)
    delivered(caller, 2)


def test_events_survive_a_restart(start: Callable[..., Caller], receiver: Receiver, quick: None, tmp_path: Any) -> None:
    """What could not be told before is told by the next process."""
    first = start(webhook_url=f"http://127.0.0.1:1{PATH}", webhook_host=HOST, data=tmp_path / "first")
    first.fund(ALICE)
    wait_for(lambda: first.see("/webhooks")["deliveries"])
    copy = tmp_path / "second"
    copy.mkdir()
    for item in (tmp_path / "first").glob("sandbox.sqlite3*"):
        (copy / item.name).write_bytes(item.read_bytes())
    second = start(webhook_url=receiver.url, webhook_host=HOST, data=copy)
    (event,) = wait_for(lambda: receiver.verified(second))
    assert event["type"] == "transaction.completed"


def test_off_tells_nothing(caller: Caller, receiver: Receiver) -> None:
    """What happens while they are off is never told."""
    caller.tell("/webhooks", mode="off")
    caller.fund(ALICE)
    caller.tell("/webhooks", mode="normal")
    caller.fund(ALICE)
    delivered(caller, 1)
    assert len(receiver.taken) == 1


def test_duplicate_tells_twice_under_one_id(caller: Caller, receiver: Receiver) -> None:
    """Both deliveries are genuine."""
    caller.tell("/webhooks", mode="duplicate")
    caller.fund(ALICE)
    delivered(caller, 2)
    first, second = receiver.verified(caller)
    assert first == second


def test_late_waits(caller: Caller, receiver: Receiver) -> None:
    """The event is pending for its delay, in real time."""
    caller.tell("/webhooks", mode="late", delay_ms=600_000)
    caller.fund(ALICE)
    assert receiver.taken == []
    assert len(caller.see("/webhooks")["pending"]) == 1
    caller.tell("/webhooks", mode="late", delay_ms=300)
    began = time.time_ns() // 1_000_000
    caller.fund(ALICE)
    ((headers, _),) = wait_for(lambda: receiver.taken)
    assert int(headers["x-timestamp"]) >= began + 300


def test_reorder_turns_the_order_round(caller: Caller, receiver: Receiver) -> None:
    """Events that happen close together arrive newest first."""
    caller.tell("/webhooks", mode="reorder")
    queued = [caller.mint(ALICE)["transactionId"] for _ in range(3)]
    caller.tell("/clock", advance_ms=2000)
    delivered(caller, 3)
    told = [event["data"]["transactionId"] for event in receiver.verified(caller)]
    assert told == queued[::-1]


def test_forge_sends_what_must_not_be_believed(caller: Caller, receiver: Receiver) -> None:
    """Each kind of forgery fails verification, tells the opposite, and is not repeated; the truth comes too."""
    caller.tell("/webhooks", mode="forge")
    for kind in ("failed", "", ""):
        if kind:
            caller.tell("/faults", path=MINT, kind=kind)
        caller.fund(ALICE)
    attempts = delivered(caller, 6)
    assert sorted(attempt["kind"] for attempt in attempts) == ["forged"] * 3 + ["genuine"] * 3
    assert len(receiver.verified(caller)) == 3
    forged = {attempt["eventId"]: attempt["type"] for attempt in attempts if attempt["kind"] == "forged"}
    assert forged.keys().isdisjoint(event["id"] for event in receiver.verified(caller))
    assert sorted(forged.values()) == ["transaction.completed", "transaction.failed", "transaction.failed"]


def test_without_a_url_there_are_no_events(start: Callable[..., Caller]) -> None:
    """Nothing is collected for nobody."""
    caller = start()
    caller.fund(ALICE)
    view = caller.see("/webhooks")
    assert (view["mode"], view["deliveries"], view["pending"]) == ("normal", [], [])
