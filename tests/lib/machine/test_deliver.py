"""Deliveries: in sequence, at least once, whoever dies; a failing endpoint is probed, and nobody waits for it."""

from datetime import datetime
from typing import Any

import pytest

from getsmart import clock
from getsmart.hooks import PATIENCE, SCHEDULE
from getsmart.machine import deliver, number
from getsmart.services import tick
from getsmart.stores import endpoints
from tests.crashes import Crashes
from tests.edge import MakeClient
from tests.hooks import ENDPOINTS, LEASES, deliveries, happen, patch, post, statuses, subscribe
from tests.money import Bench, Raw, in_parallel
from tests.receiver import Receiver, receiving
from tests.support import Client, Time


def endpoint_of(app: Client) -> dict[str, Any]:
    """The client's oldest endpoint as it reads it."""
    found: dict[str, Any] = app.get(ENDPOINTS).data["items"][-1]
    return found


def take_your_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine needs more real seconds with one endpoint than a courier has."""
    monkeypatch.setattr(deliver, "SLICE_SECONDS", 60.0)
    monkeypatch.setattr(tick, "_LIFE_SECONDS", (120.0, 120.0))


def test_in_sequence_each_once_and_signed(
    app: Client, system: Raw, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than are read at a time, in one pass; each is the event as the log shows it."""
    take_your_time(monkeypatch)
    made = subscribe(app, receiver.url)
    happen(system, 220)
    post()
    assert receiver.sequences == list(range(1, 221))
    assert set(statuses(app)) == {"delivered"}
    logged = app.get("webhooks/events", "limit=200").data["items"]
    assert [one.verify(made["secret"]) for one in receiver.got[:200]] == logged
    assert [one.headers["webhook-id"] for one in receiver.got[:200]] == [event["event_id"] for event in logged]
    (attempt,) = deliveries(app)[0]["attempts"]
    assert (attempt["http_status"], attempt["excerpt"]) == (200, "ok")
    assert 0 <= attempt["duration_ms"] < 10_000


def test_a_failing_endpoint_is_probed_at_the_times_of_the_schedule(
    app: Client, system: Raw, receiver: Receiver, time: Time
) -> None:
    """One call at each, whatever is added meanwhile; then all that waited follows in sequence."""
    time.stand()
    subscribe(app, receiver.url)
    receiver.status = 500
    happen(system, 3)
    post()
    for calls, pause in enumerate((*SCHEDULE, SCHEDULE[-1]), 1):
        assert receiver.sequences == [1] * calls
        due_at = datetime.fromisoformat(deliveries(app)[0]["next_attempt_at"])
        assert pause - 5 <= (due_at - clock.now()).total_seconds() <= pause * 1.1
        happen(system)
        post()
        time.advance((due_at - clock.now()).total_seconds() - 1)
        post()
        assert len(receiver.got) == calls
        time.advance(1.5)
        post()
    assert endpoint_of(app)["failing_since"] is not None
    receiver.status = 200
    time.advance(SCHEDULE[-1] * 1.1)
    post()
    assert receiver.firsts == list(range(1, 12))
    assert receiver.sequences[-11:] == receiver.firsts
    assert endpoint_of(app)["failing_since"] is None
    happen(system)
    post()
    assert receiver.sequences[-1] == 12


def test_a_failure_in_the_middle_stops_the_line(app: Client, system: Raw, receiver: Receiver, time: Time) -> None:
    """What comes after it is not told before it."""
    subscribe(app, receiver.url)
    receiver.answer = lambda one: 500 if one.sequence == 3 and len(receiver.got) < 4 else 200
    happen(system, 5)
    post()
    assert receiver.sequences == [1, 2, 3]
    time.advance(6)
    post()
    assert receiver.sequences == [1, 2, 3, 3, 4, 5]
    assert len({one.headers["webhook-id"] for one in receiver.got}) == 5


@pytest.mark.parametrize("status", [301, 307, 404, 429, 503])
def test_retry_after_is_honoured(app: Client, system: Raw, receiver: Receiver, time: Time, status: int) -> None:
    """Where it asks for longer than the schedule says; whatever is no 2xx is a failure."""
    subscribe(app, receiver.url)
    receiver.status, receiver.extra = status, {"Retry-After": "120", "Location": "http://127.0.0.1:9/"}
    happen(system)
    post()
    time.advance(110)
    post()
    assert len(receiver.got) == 1
    receiver.status = 200
    time.advance(11)
    post()
    assert statuses(app) == ["delivered"]
    assert [one["http_status"] for one in deliveries(app)[0]["attempts"]] == [status, 200]


def test_410_disables_at_once(app: Client, system: Raw, receiver: Receiver) -> None:
    """What waits is dead, the client's other endpoints are told, nothing goes there any more."""
    with receiving(status=410) as gone:
        made = subscribe(app, gone.url)
        subscribe(app, receiver.url, event_types=["endpoint.failing"])
        happen(system, 3)
        post()
        happen(system)
        post()
        assert len(gone.got) == 1
    assert endpoint_of(app)["status"] == "disabled"
    assert statuses(app, f"endpoint_id={made['endpoint_id']}") == ["dead"] * 3
    (told,) = [one.event["data"] for one in receiver.got]
    assert (told["endpoint_id"], told["reason"], told["last_status"]) == (made["endpoint_id"], "gone", 410)


def test_after_five_days_it_is_disabled_and_can_come_back(
    app: Client, system: Raw, receiver: Receiver, time: Time
) -> None:
    """The dead letters are kept, and told once they are asked for, in sequence."""
    made = subscribe(app, receiver.url)
    receiver.status = 500
    happen(system, 3)
    began = clock.now()
    post()
    while endpoint_of(app)["status"] == "enabled":
        time.advance(3600)
        post()
    assert PATIENCE.total_seconds() <= (clock.now() - began).total_seconds() <= PATIENCE.total_seconds() + 7_200
    assert statuses(app) == ["dead"] * 3
    post()
    assert app.get("webhooks/events", "type=endpoint.failing").data["items"][0]["data"]["reason"] == "failing"
    receiver.status = 200
    receiver.got.clear()
    happen(system)
    post()
    assert receiver.got == []
    assert patch(app, made, status="enabled").status == 200
    happen(system)
    post()
    assert len(receiver.got) == 1
    replay = app.post("webhooks/deliveries", {"action": "replay", "all_failed": True})
    assert (replay.status, replay.data["total"], replay.data["queued"]) == (202, 3, 3)
    post()
    assert receiver.sequences[1:] == [1, 2, 3]
    done = app.get("webhooks/deliveries", f"replay_id={replay.data['replay_id']}").data["replay"]
    assert (done["status"], done["counts"]) == ("completed", {"pending": 0, "delivered": 3, "dead": 0})


def test_nobody_waits_for_an_endpoint_that_hangs(
    app: Client, system: Raw, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the others are told, they are told before the first call to it is over."""
    take_your_time(monkeypatch)
    with receiving() as hanging:
        held = hanging.hold_until(lambda: len(receiver.got) == 30, 500)
        subscribe(app, hanging.url)
        subscribe(app, receiver.url)
        happen(system, 30)
        post()
        assert receiver.sequences == list(range(1, 31))
        assert held[0]


def test_many_endpoints_that_hang_have_threads_of_their_own(
    app: Client, make_client: MakeClient, system: Raw, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty that hang, more than there are threads for doubtful ones: a good one is not kept waiting."""
    take_your_time(monkeypatch)
    other = make_client("other")
    subscribe(other, receiver.url)
    happen(system, client_id="other")
    post()
    with receiving() as hanging:
        held = hanging.hold_until(lambda: len(receiver.got) == 11, 500)
        for _ in range(20):
            subscribe(app, hanging.url)
        happen(system)
        happen(system, 10, client_id="other")
        post()
        assert len(held) >= deliver._DOUBTFUL_THREADS
        assert all(held)
    assert receiver.sequences == list(range(1, 12))


def test_an_event_that_is_gone_holds_nothing_up(app: Client, system: Raw, receiver: Receiver) -> None:
    """Forgotten at the moment it was put in line again: its delivery is dead, and what follows is told."""
    subscribe(app, receiver.url)
    happen(system, 3)
    number.number_events(100)
    (second,) = system.events.find({"sequence": 2})
    system.events.delete_one({"_id": second["_id"]})
    post()
    happen(system)
    post()
    ends = [row["status"] for row in system.deliveries.find().sort("sequence", 1)]
    assert ends == ["delivered", "dead", "delivered", "delivered"]
    assert receiver.sequences == [1, 3, 4]


def test_two_couriers_tell_nothing_twice(app: Client, system: Raw, receiver: Receiver) -> None:
    """An endpoint is one courier's at a time."""
    subscribe(app, receiver.url)
    happen(system, 40)
    in_parallel([post] * 6)
    assert receiver.sequences == list(range(1, 41))


def test_a_courier_killed_anywhere_is_followed_by_the_next(
    app: Client, system: Raw, receiver: Receiver, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it was at: all is told in sequence, and what is told twice carries the same id."""
    subscribe(app, receiver.url)
    crashes = Crashes(monkeypatch)
    happen(system, 2)
    boundaries = crashes.boundaries(post)
    names = {boundary.split(".")[-2] + "." + boundary.split(".")[-1] for boundary in boundaries}
    assert {"events.number", "deliveries.insert_many", "deliveries.note", "before Line.post"} <= names
    assert {"endpoints.take", "endpoints.note", "endpoints.note_and_rest"} <= names
    for boundary in boundaries:
        happen(system, 2)
        crashes.die(boundary, post)
        time.advance(LEASES)
        post()
        assert set(statuses(app)) == {"delivered"}, boundary
    assert receiver.firsts == list(range(1, 2 * len(boundaries) + 3))
    assert len({(one.headers["webhook-id"], one.sequence) for one in receiver.got}) == len(receiver.firsts)


def test_paused_while_it_is_told_stops_there(app: Client, system: Raw, receiver: Receiver) -> None:
    """The call under way is the last."""
    made = subscribe(app, receiver.url)

    def pause_at_third(one: Any) -> int:
        if one.sequence == 3:
            assert patch(app, made, status="paused").status == 200
        return 200

    receiver.answer = pause_at_third
    happen(system, 6)
    post()
    assert receiver.sequences == [1, 2, 3]
    patch(app, made, status="enabled")
    post()
    assert receiver.firsts == [1, 2, 3, 4, 5, 6]


def test_first_attempts_are_made_before_the_call_is_answered(bench: Bench, receiver: Receiver) -> None:
    """A receiver that answers at once has heard of the wallet when its maker does."""
    post()  # what happened before has its number: an endpoint may hear of what waits for one while it is made
    subscribe(bench.app, receiver.url, event_types=["wallet.created"])
    made = bench.new_wallet()
    assert [one.event["data"]["wallet_id"] for one in receiver.got] == [made["wallet_id"]]


def test_first_attempts_share_half_a_second(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many endpoints hang, the caller has its answer while they still do; the tick tells what is left."""
    post()
    monkeypatch.setattr(deliver, "BOX_SECONDS", 3.0)  # a busy machine needs more than half a second for six
    released: list[bool] = []
    with receiving() as hanging:
        held = hanging.hold_until(lambda: bool(released))
        for _ in range(6):
            subscribe(bench.app, hanging.url, event_types=["wallet.created"])
        made = bench.new_wallet()
        assert (len(hanging.got), held) == (6, [])
        released.append(True)
        monkeypatch.setattr(deliver, "BOX_SECONDS", 60.0)
        bench.new_wallet()
        bench.time.advance(LEASES)
        post()
    told = [one.event["data"]["wallet_id"] for one in hanging.got]
    assert told.count(made["wallet_id"]) == 12
    assert all(one["status"] == "delivered" for one in deliveries(bench.app))


def test_a_failed_first_attempt_harms_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The wallet is made and answered; the log says what went wrong."""
    subscribe(bench.app, "http://127.0.0.1:9/")

    def broken(*_: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(number, "number_now", broken)
    assert bench.new_wallet()["wallet_id"]
    assert "webhook.first_attempts_failed" in capsys.readouterr().out


def test_a_courier_that_breaks_for_one_goes_on_with_the_others(
    app: Client, system: Raw, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row that cannot be read is logged, and tried again after its lease."""
    made = subscribe(app, "http://127.0.0.1:9/")
    subscribe(app, receiver.url)
    system.endpoints.update_one({"_id": made["endpoint_id"]}, {"$set": {"secrets": [{}]}})
    happen(system)
    post()
    assert receiver.sequences == [1]
    assert capsys.readouterr().out.count("webhook.delivery_failed") == 1


def test_the_tick_delivers_while_it_rests(app: Client, system: Raw, receiver: Receiver) -> None:
    """What was committed without first attempts is told by the clockwork, and counted."""
    subscribe(app, receiver.url)
    happen(system, 4)
    counts = tick.run()
    assert (counts["numbered"], counts["told"], receiver.sequences) == (4, 4, [1, 2, 3, 4])


@pytest.mark.parametrize(("step", "before"), [("note_and_rest", 1), ("rest", 0)])
def test_what_is_added_while_it_comes_to_rest_is_told(
    app: Client, system: Raw, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, step: str, before: int
) -> None:
    """In the same round, after the last or where there was none."""
    made = subscribe(app, receiver.url)
    patch(app, made, status="paused")
    patch(app, made, status="enabled")  # due, with or without anything to tell
    added: list[int] = []
    real = getattr(endpoints, step)

    def late(*arguments: Any) -> bool:
        if not added:
            added.append(1)
            happen(system)
            number.number_events(10)
        return bool(real(*arguments))

    monkeypatch.setattr(endpoints, step, late)
    if before:
        happen(system, before)
    post()
    assert (receiver.sequences, added) == (list(range(1, before + 2)), [1])
