"""webhooks/endpoints: made, listed, changed, tested, rotated, removed; its secret shown once; twenty at most."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from getsmart import clock, config
from getsmart.hooks import OVERLAP
from getsmart.machine import deliver
from getsmart.stores import endpoints
from tests.edge import Door, MakeClient, Raw, assert_plain_main, assert_refused, check, wrong_bodies, wrong_keys
from tests.hooks import ENDPOINTS, deliveries, happen, patch, post, send, statuses, subscribe
from tests.money import in_parallel
from tests.receiver import Receiver
from tests.support import Client, Time

URL = "https://hooks.example.com/getsmart"
UNKNOWN = "whe_01ARZ3NDEKTSV4RRFFQ69G5FAV"
MADE = Door(ENDPOINTS, "POST", "webhooks:write", body={"url": URL})
CHANGED = Door(ENDPOINTS, "PATCH", "webhooks:write", body={"endpoint_id": UNKNOWN, "status": "paused"})
LISTED = Door(ENDPOINTS, "GET", "webhooks:read")
REMOVED = Door(ENDPOINTS, "DELETE", "webhooks:write", query=f"endpoint_id={UNKNOWN}")


def test_main_is_plain() -> None:
    """The runtime calls it with two arguments."""
    assert_plain_main(ENDPOINTS)


def test_what_is_refused(subtests: pytest.Subtests, system: Raw, make_client: MakeClient, app: Client) -> None:
    """Strangers, wrong bodies, what is nobody's; nothing is made."""
    for door in (MADE, CHANGED, LISTED, REMOVED):
        check(subtests, system, door, wrong_keys(door, make_client))
    check(subtests, system, MADE, wrong_bodies(MADE, app.token or ""))
    check(subtests, system, CHANGED, wrong_bodies(CHANGED, app.token or ""))
    for door in (CHANGED, REMOVED):
        assert_refused(
            send(app, door.method, ENDPOINTS, dict(door.body) if door.body else None, door.query), 404, "not_found"
        )
    assert_refused(app.get(ENDPOINTS, f"endpoint_id={UNKNOWN}"), 404, "not_found")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"url": ""}, "url"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://user@example.com"}, "url"),
        ({"url": "x" * 2_001}, "url"),
        ({"url": None}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["transaction.lost"]}, "event_types.0"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_value_is_named(app: Client, more: dict[str, Any], field: str) -> None:
    """Each field that is wrong stands in the details."""
    assert_refused(app.post(ENDPOINTS, {"url": URL, **more}), 400, "invalid_request", field)
    made = subscribe(app, URL)
    assert_refused(patch(app, made, **more), 400, "invalid_request", field)


def test_a_change_says_something(app: Client) -> None:
    """An endpoint alone changes nothing."""
    made = subscribe(app, URL)
    assert_refused(patch(app, made), 400, "invalid_request", "action")
    assert_refused(patch(app, made, status="disabled"), 400, "invalid_request", "status")


def test_made_read_changed_removed(app: Client) -> None:
    """What was given is what is read; the secret stands in the first reply alone."""
    made = subscribe(app, URL, event_types=["transaction.failed", "transaction.confirmed", "transaction.failed"])
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made["event_types"] == ["transaction.confirmed", "transaction.failed"]
    assert (made["url"], made["status"], made["mode"], made["failing_since"]) == (URL, "enabled", "test", None)
    query = f"endpoint_id={made['endpoint_id']}"
    assert app.get(ENDPOINTS, query).data == made
    assert app.get(ENDPOINTS).data == {"items": [made], "next_cursor": None}
    changed = patch(app, made, url=URL + "?more=1", event_types=None, status="paused").data
    assert changed == {**made, "url": URL + "?more=1", "event_types": None, "status": "paused"}
    assert app.get(ENDPOINTS, query).data == changed
    assert patch(app, made, status="enabled").data["status"] == "enabled"
    assert send(app, "DELETE", ENDPOINTS, query=query).data == {**changed, "status": "disabled"}
    assert app.get(ENDPOINTS).data["items"] == []
    for answer in (
        app.get(ENDPOINTS, query),
        patch(app, made, status="enabled"),
        send(app, "DELETE", ENDPOINTS, None, query),
    ):
        assert_refused(answer, 404, "not_found")


def test_a_client_has_twenty_at_most(app: Client, make_client: MakeClient) -> None:
    """Also when they are made at once; a removed one makes room, and another client has its own twenty."""
    answers = in_parallel([lambda: app.post(ENDPOINTS, {"url": URL})] * 24)
    assert sorted(answer.status for answer in answers) == [201] * 20 + [409] * 4
    refused = next(answer for answer in answers if answer.status == 409)
    assert_refused(refused, 409, "limit_exceeded")
    assert "20 endpoints" in refused.json["error"]["message"]
    assert make_client("other").post(ENDPOINTS, {"url": URL}).status == 201
    gone = next(answer.data for answer in answers if answer.status == 201)
    send(app, "DELETE", ENDPOINTS, query=f"endpoint_id={gone['endpoint_id']}")
    assert app.post(ENDPOINTS, {"url": URL}).status == 201


def test_no_secret_is_kept_or_said_again(app: Client, system: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    """I6: neither the database, nor a log line, nor another reply has it."""
    made = subscribe(app, URL)
    secrets = [made["secret"], patch(app, made, action="rotate").data["secret"]]
    assert len(set(secrets)) == 2
    seen = [str(list(system[name].find({}))) for name in system.list_collection_names()]
    seen += [capsys.readouterr().out, app.get(ENDPOINTS).text]
    assert not any(secret.removeprefix("whsec_") in text for secret in secrets for text in seen)


def test_it_is_told_what_it_wants(app: Client, system: Raw, receiver: Receiver) -> None:
    """Only its types, only from now on, and only its client's."""
    happen(system)
    post()
    subscribe(app, receiver.url, event_types=["transaction.confirmed"])
    happen(system, kind="transaction.failed")
    happen(system, client_id="other")
    happen(system)
    post()
    assert [(one.event["type"], one.sequence) for one in receiver.got] == [("transaction.confirmed", 3)]


def test_a_test_event_comes_at_once(app: Client, receiver: Receiver) -> None:
    """To this endpoint alone, whatever its filter, before the call is answered, and signed."""
    subscribe(app, URL)
    made = subscribe(app, receiver.url, event_types=["transaction.confirmed"])
    assert patch(app, made, action="test").status == 200
    (ping,) = receiver.got
    assert ping.verify(made["secret"])["data"] == {"endpoint_id": made["endpoint_id"]}
    assert ping.event["type"] == "test.ping"
    assert [one["endpoint_id"] for one in deliveries(app)] == [made["endpoint_id"]]
    patch(app, made, status="paused")
    assert_refused(patch(app, made, action="test"), 409, "invalid_state")


def test_paused_holds_back_and_resumed_catches_up(app: Client, system: Raw, receiver: Receiver) -> None:
    """Nothing is told meanwhile, and nothing is lost."""
    made = subscribe(app, receiver.url)
    patch(app, made, status="paused")
    happen(system, 3)
    post()
    assert receiver.got == []
    assert statuses(app) == ["pending"] * 3
    assert all(one["next_attempt_at"] is None for one in deliveries(app))
    patch(app, made, status="enabled")
    post()
    assert receiver.sequences == [1, 2, 3]


def test_a_removed_endpoint_is_told_nothing(app: Client, system: Raw, receiver: Receiver) -> None:
    """What waited is dead, also what a sequencer was just about to add."""
    made = subscribe(app, receiver.url)
    patch(app, made, status="paused")
    happen(system, 2)
    post()
    send(app, "DELETE", ENDPOINTS, query=f"endpoint_id={made['endpoint_id']}")
    assert statuses(app) == ["dead", "dead"]
    system.deliveries.update_many({}, {"$set": {"status": "pending"}})
    endpoints.wake([made["endpoint_id"]], clock.now())
    assert deliver.bury() == 2
    post()
    assert (receiver.got, statuses(app)) == ([], ["dead", "dead"])


def test_rotation_overlaps(app: Client, system: Raw, receiver: Receiver, time: Time) -> None:
    """For 24 hours either secret verifies, then the old one no longer does; more than five at once are refused."""
    made = subscribe(app, receiver.url)
    old, new = made["secret"], patch(app, made, action="rotate").data["secret"]
    happen(system)
    post()
    assert receiver.got[-1].verify(old) == receiver.got[-1].verify(new)
    system.endpoints.update_one({}, {"$set": {"secrets.0.expires_at": clock.now()}})
    happen(system)
    post()
    receiver.got[-1].verify(new)
    with pytest.raises(WebhookVerificationError):
        receiver.got[-1].verify(old)
    for _ in range(4):
        assert patch(app, made, action="rotate").status == 200
    assert_refused(patch(app, made, action="rotate"), 409, "invalid_state")
    time.advance(OVERLAP.total_seconds())
    assert patch(app, made, action="rotate").status == 200


def test_the_master_key_can_be_replaced(
    app: Client, system: Raw, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    """A secret goes on under the key it was made with; without that key what happens waits, and is told later."""
    made = subscribe(app, receiver.url)
    old, new = environment["WEBHOOK_SECRET_KEYS"], "made-up-" * 8
    monkeypatch.setenv("WEBHOOK_SECRET_KEYS", new)
    config.forget()
    happen(system)
    post()
    assert receiver.got == []
    system.endpoints.update_one({}, {"$unset": {"lease_until": ""}})
    monkeypatch.setenv("WEBHOOK_SECRET_KEYS", f"{new},{old}")
    config.forget()
    post()
    receiver.got[-1].verify(made["secret"])
    second = patch(app, made, action="rotate").data["secret"]
    happen(system)
    post()
    assert receiver.got[-1].verify(made["secret"]) == receiver.got[-1].verify(second)


@pytest.mark.parametrize(
    ("mode", "allowed", "status"), [("live", "test", 400), ("test", "never", 400), ("test", "test", 201)]
)
def test_this_network_is_for_test_mode(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, mode: str, allowed: str, status: int
) -> None:
    """And there only where the deployment allows it."""
    client = make_client("moded", mode=mode)
    monkeypatch.setenv("WEBHOOK_PRIVATE_TARGETS", allowed)
    config.forget()
    assert client.post(ENDPOINTS, {"url": "http://127.0.0.1:8080/hook"}).status == status


@contextmanager
def pouring(raw: Raw) -> Iterator[None]:
    """Events happen and are told, without a pause, until the end of the block."""
    stop = threading.Event()

    def pour() -> None:
        while not stop.is_set():
            happen(raw, 5)
            post()

    thread = threading.Thread(target=pour)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def wait_for_more(receiver: Receiver, more: int = 20) -> None:
    """Until so many further deliveries came."""
    reached, deadline = len(receiver.got) + more, monotonic() + 30
    while len(receiver.got) < reached:
        assert monotonic() < deadline
        sleep(0.01)


def test_rotation_under_load(app: Client, system: Raw, receiver: Receiver) -> None:
    """No delivery fails with a secret that is known when it is made; an old one ends with the overlap."""
    made = subscribe(app, receiver.url)
    known = [(made["secret"], 0)]
    with pouring(system):
        for _ in range(3):
            wait_for_more(receiver)
            secret = patch(app, made, action="rotate").data["secret"]
            # The call under way was signed before, so it and the next that arrives may not know it yet.
            known.append((secret, len(receiver.got) + 2))
        wait_for_more(receiver)
    for place, one in enumerate(receiver.got):
        for secret, since in known:
            if place >= since:
                one.verify(secret)
    system.endpoints.update_one({}, {"$set": {f"secrets.{place}.expires_at": clock.now() for place in range(3)}})
    happen(system)
    post()
    receiver.got[-1].verify(known[-1][0])
    for secret, _ in known[:-1]:
        with pytest.raises(WebhookVerificationError):
            receiver.got[-1].verify(secret)
