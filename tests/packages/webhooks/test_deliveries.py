"""webhooks/deliveries: the log of every attempt, and replays of one, of an event, of a span, of all that failed."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from getsmart import clock
from getsmart.hooks import MOST_REPLAYS
from getsmart.machine import replay
from getsmart.stores import deliveries as rows
from getsmart.stores import endpoints
from tests.crashes import Crashes
from tests.edge import Door, MakeClient, Raw, assert_plain_main, assert_refused, check, common, wrong_bodies, wrong_keys
from tests.hooks import DELIVERIES, LEASES, deliveries, happen, patch, post, statuses, subscribe
from tests.money import in_parallel
from tests.pages import bad_pages, bad_times, items
from tests.receiver import Receiver, receiving
from tests.support import Answer, Client, Time

UNKNOWN = {"delivery_id": "dlv_01ARZ3NDEKTSV4RRFFQ69G5FAV", "event_id": "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV"}
UNKNOWN_ENDPOINT, UNKNOWN_REPLAY = "whe_01ARZ3NDEKTSV4RRFFQ69G5FAV", "rpl_01ARZ3NDEKTSV4RRFFQ69G5FAV"
STEP = 60.0  # seconds that a pass may take: as many as it needs
READ = Door(DELIVERIES, "GET", "webhooks:read", allow=("GET", "POST"))
REPLAYED = Door(DELIVERIES, "POST", "webhooks:write", body={"action": "replay", "all_failed": True})


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn of a replay is about a single delivery."""
    monkeypatch.setattr(replay, "_CHUNK", 1)


def ask(client: Client, **selection: Any) -> Answer:
    """A replay."""
    return client.post(DELIVERIES, {"action": "replay", **selection})


def progress(client: Client, made: Answer) -> dict[str, Any]:
    """How far a replay is."""
    found: dict[str, Any] = client.get(DELIVERIES, f"replay_id={made.data['replay_id']}").data["replay"]
    return found


def test_main_is_plain() -> None:
    """The runtime calls it with two arguments."""
    assert_plain_main(DELIVERIES)


def test_what_is_refused(subtests: pytest.Subtests, system: Raw, make_client: MakeClient, app: Client) -> None:
    """Strangers, wrong pages, times and bodies; nothing is put in line."""
    check(subtests, system, READ, common(READ, make_client))
    check(subtests, system, READ, bad_pages(READ, app.token))
    check(subtests, system, READ, bad_times(READ, app.token, ("created_after", "created_before")))
    check(subtests, system, REPLAYED, wrong_keys(REPLAYED, make_client))
    check(subtests, system, REPLAYED, wrong_bodies(REPLAYED, app.token or ""))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=lost", "status"),
        ("endpoint_id=evt_1", "endpoint_id"),
        ("event_id=", "event_id"),
        ("replay_id=rpl_", "replay_id"),
        ("type=test.ping", "type"),
    ],
)
def test_an_unknown_filter_is_named(app: Client, query: str, field: str) -> None:
    """Never ignored."""
    assert_refused(app.get(DELIVERIES, query), 400, "invalid_request", field)


@pytest.mark.parametrize(
    "selection",
    [
        {},
        {"endpoint_id": UNKNOWN_ENDPOINT},
        {"all_failed": True, "created_after": "2026-01-01T00:00:00Z"},
        {**UNKNOWN},
        {"created_after": "2026-01-01T00:00:00Z"},
        {"event_id": UNKNOWN["event_id"], "all_failed": True},
    ],
)
def test_a_selection_is_one_of_four(app: Client, selection: dict[str, Any]) -> None:
    """Nothing is guessed."""
    assert_refused(ask(app, **selection), 400, "invalid_request", "delivery_id")


def test_what_is_not_there(app: Client, make_client: MakeClient, system: Raw, receiver: Receiver) -> None:
    """Unknown, or another client's: the same 404."""
    made = subscribe(app, receiver.url)
    happen(system)
    post()
    (own,) = deliveries(app)
    other = make_client("other")
    for client, ids in ((app, UNKNOWN), (other, own)):
        assert_refused(ask(client, delivery_id=ids["delivery_id"]), 404, "not_found")
        assert_refused(ask(client, event_id=ids["event_id"]), 404, "not_found")
    span = {"created_after": "2026-01-01T00:00:00Z"}
    assert_refused(ask(app, endpoint_id=UNKNOWN_ENDPOINT, **span), 404, "not_found")
    assert_refused(ask(other, endpoint_id=made["endpoint_id"], **span), 404, "not_found")
    assert_refused(app.get(DELIVERIES, f"replay_id={UNKNOWN_REPLAY}"), 404, "not_found")
    assert items(other, DELIVERIES) == []


def test_filters_and_pages(app: Client, system: Raw, receiver: Receiver, time: Time) -> None:
    """Newest first; each filter, and all of them together."""
    made = subscribe(app, receiver.url)
    with receiving(status=500) as failing:
        down = subscribe(app, failing.url)
        happen(system, 3)
        post()
    time.advance(0.1)  # little: the failing one is due again after five seconds
    border = clock.to_wire(clock.now())
    time.advance(0.1)
    happen(system, 2)
    post()
    assert len(items(app, DELIVERIES)) == 10
    listed = [one["sequence"] for one in items(app, DELIVERIES, f"endpoint_id={made['endpoint_id']}")]
    assert (set(listed[:2]), set(listed[2:])) == ({4, 5}, {1, 2, 3})
    waiting = f"status=pending&endpoint_id={down['endpoint_id']}"
    assert {one["sequence"] for one in items(app, DELIVERIES, waiting)} == {1, 2, 3, 4, 5}
    assert len(items(app, DELIVERIES, f"created_before={border}")) == 6
    assert len(items(app, DELIVERIES, f"created_after={border}&status=delivered")) == 2
    event_id = deliveries(app)[0]["event_id"]
    assert {one["endpoint_id"] for one in items(app, DELIVERIES, f"event_id={event_id}")} == {
        made["endpoint_id"],
        down["endpoint_id"],
    }
    tried = [one for one in items(app, DELIVERIES, waiting) if one["attempts"]]
    assert [attempt["http_status"] for one in tried for attempt in one["attempts"]] == [500]
    assert all(one["next_attempt_at"] is not None for one in items(app, DELIVERIES, waiting))


def test_one_delivery_again(app: Client, system: Raw, receiver: Receiver) -> None:
    """The same event under the same id, to that endpoint alone; its attempts are all kept."""
    subscribe(app, receiver.url)
    with receiving() as second:
        subscribe(app, second.url)
        happen(system, 2)
        post()
        one = next(one for one in deliveries(app) if one["sequence"] == 1)
        made = ask(app, delivery_id=one["delivery_id"])
        assert (made.status, made.data["total"], made.data["queued"]) == (202, 1, 1)
        post()
        assert sorted([len(receiver.got), len(second.got)]) == [2, 3]
        told = receiver if len(receiver.got) == 3 else second
    assert told.got[-1].body == told.got[0].body
    assert told.got[-1].headers["webhook-id"] == told.got[0].headers["webhook-id"]
    again = next(row for row in deliveries(app) if row["delivery_id"] == one["delivery_id"])
    assert (again["status"], len(again["attempts"])) == ("delivered", 2)
    assert progress(app, made)["counts"] == {"pending": 0, "delivered": 1, "dead": 0}


def test_an_event_again_also_to_an_endpoint_that_came_later(app: Client, system: Raw, receiver: Receiver) -> None:
    """To all that want it now."""
    happen(system)
    post()
    subscribe(app, receiver.url)
    subscribe(app, receiver.url, event_types=["transaction.failed"])
    event_id = app.get("webhooks/events").data["items"][0]["event_id"]
    made = ask(app, event_id=event_id)
    assert (made.data["total"], made.data["queued"]) == (1, 1)
    post()
    assert [one.event["event_id"] for one in receiver.got] == [event_id]


def test_a_span_again_in_chunks(
    app: Client, system: Raw, receiver: Receiver, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happened between two moments, in sequence, more than fit in one chunk; the progress is seen meanwhile."""
    monkeypatch.setattr(replay, "_CHUNK", 20)
    made = subscribe(app, receiver.url, event_types=["transaction.confirmed"])
    happen(system, 3)
    post()
    time.advance(1)
    start = clock.to_wire(clock.now())
    time.advance(1)
    happen(system, 25)
    happen(system, 1, kind="transaction.failed")
    post()
    time.advance(1)
    end = clock.to_wire(clock.now())
    time.advance(1)
    happen(system, 3)
    post()
    receiver.got.clear()
    asked = ask(app, endpoint_id=made["endpoint_id"], created_after=start, created_before=end)
    assert (asked.data["total"], asked.data["queued"], asked.data["status"]) == (25, 20, "queued")
    assert replay.work_all(STEP) == 5
    assert progress(app, asked)["status"] == "running"
    post()
    assert receiver.sequences == list(range(4, 29))
    done = progress(app, asked)
    assert (done["status"], done["queued"], done["counts"]["delivered"]) == ("completed", 25, 25)
    listed = items(app, DELIVERIES, f"replay_id={asked.data['replay_id']}")
    assert len(listed) == 25


def test_all_that_failed_of_one_endpoint_again(app: Client, system: Raw, receiver: Receiver) -> None:
    """The dead of the others stay dead."""
    made, other = subscribe(app, receiver.url), subscribe(app, receiver.url)
    patch(app, made, status="paused")
    patch(app, other, status="paused")
    happen(system, 3)
    post()
    for one in (made, other):
        rows.bury(one["endpoint_id"])
        patch(app, one, status="enabled")
    asked = ask(app, endpoint_id=made["endpoint_id"], all_failed=True)
    assert (asked.data["total"], asked.data["queued"]) == (3, 3)
    post()
    assert receiver.sequences == [1, 2, 3]
    assert statuses(app, f"endpoint_id={other['endpoint_id']}") == ["dead"] * 3


def test_a_disabled_endpoint_is_enabled_first(app: Client, system: Raw) -> None:
    """409, and its dead letters are no part of a replay of all."""
    with receiving(status=410) as gone:
        made = subscribe(app, gone.url)
        happen(system)
        post()
    (one,) = deliveries(app)
    assert_refused(ask(app, delivery_id=one["delivery_id"]), 409, "invalid_state")
    assert_refused(ask(app, endpoint_id=made["endpoint_id"], all_failed=True), 409, "invalid_state")
    assert ask(app, all_failed=True).data["total"] == 0


def test_a_replay_killed_anywhere_is_finished(
    app: Client, system: Raw, receiver: Receiver, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chunk is done again, and each delivery is put in line once."""
    monkeypatch.setattr(replay, "_CHUNK", 5)
    made = subscribe(app, receiver.url)
    happen(system, 7)
    post()
    crashes = Crashes(monkeypatch)
    span = {"endpoint_id": made["endpoint_id"], "created_after": "2020-01-01T00:00:00Z"}
    first = ask(app, **span)
    boundaries = crashes.boundaries(lambda: replay.work_all(STEP))
    assert {"after getsmart.stores.deliveries.queue_again", "before getsmart.stores.deliveries.advance_replay"} <= set(
        boundaries
    )
    assert progress(app, first)["queued"] == 7
    for boundary in boundaries:
        post()
        receiver.got.clear()
        asked = ask(app, **span)
        crashes.die(boundary, lambda: replay.work_all(STEP))
        replay.work_all(STEP)
        time.advance(LEASES)
        post()
        assert receiver.sequences == list(range(1, 8)), boundary
        assert progress(app, asked)["status"] == "completed"


def a_span(client: Client, system: Raw, count: int = 3, client_id: str = "app") -> dict[str, Any]:
    """A selection of so many events, of one endpoint of a client."""
    made = subscribe(client, "http://127.0.0.1:9/nobody")
    patch(client, made, status="paused")
    happen(system, count, client_id)
    post()
    return {"endpoint_id": made["endpoint_id"], "created_after": "2020-01-01T00:00:00Z"}


@pytest.mark.usefixtures("one_by_one")
def test_a_client_has_at_most_three_replays_of_many_under_way(
    app: Client, make_client: MakeClient, system: Raw
) -> None:
    """The fourth is refused without a trace, until one is worked off; single ones and other clients are not held up."""
    span, other = a_span(app, system), make_client("other")
    begun = [ask(app, **span) for _ in range(MOST_REPLAYS)]
    assert {one.status for one in begun} == {202}
    assert_refused(ask(app, **span), 409, "limit_exceeded")
    assert_refused(ask(app, all_failed=True), 409, "limit_exceeded")
    assert system.replays.count_documents({}) == MOST_REPLAYS
    (first, *_) = deliveries(app)
    assert ask(app, event_id=first["event_id"]).status == 202
    assert ask(app, delivery_id=first["delivery_id"]).status == 202
    assert ask(other, **a_span(other, system, client_id="other")).status == 202
    while replay.work_all(STEP):
        pass
    assert [progress(app, one)["queued"] for one in begun] == [3, 3, 3]
    assert ask(app, **span).status == 202


@pytest.mark.usefixtures("one_by_one")
def test_of_calls_at_once_no_more_than_three_begin_a_replay(
    app: Client, system: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though each of them found room: who then sees too many withdraws."""
    span = a_span(app, system)
    ask(app, **span)
    together = threading.Barrier(6)
    insert = rows.insert_replay

    def insert_together(row: Any) -> None:
        together.wait(30)
        insert(row)

    monkeypatch.setattr(rows, "insert_replay", insert_together)
    answers = in_parallel([lambda: ask(app, **span)] * 6)
    accepted = [one for one in answers if one.status == 202]
    assert {one.code for one in answers if one not in accepted} == {"limit_exceeded"}
    assert 1 + len(accepted) == system.replays.count_documents({}) <= MOST_REPLAYS


@pytest.mark.usefixtures("one_by_one")
def test_replays_take_turns(app: Client, make_client: MakeClient, system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has waited longest for a turn is next, whoever began first; a pass ends when its time is over."""
    other = make_client("other")
    span = a_span(app, system, 9)
    begun = [ask(app, **span) for _ in range(3)]
    last = ask(other, **a_span(other, system, 9, "other"))
    passed, advance = [0.0], rows.advance_replay

    def slowly(row: Any, changes: Any) -> None:
        passed[0] += 1.0
        advance(row, changes)

    monkeypatch.setattr(rows, "advance_replay", slowly)
    monkeypatch.setattr(replay, "clock", SimpleNamespace(monotonic=lambda: passed[0], now=clock.now))
    assert [replay.work_all(2.0) for _ in range(2)] == [2, 2]
    assert [progress(app, one)["queued"] for one in begun] == [2, 2, 2]
    assert progress(other, last)["queued"] == 2


@pytest.mark.usefixtures("one_by_one")
def test_a_replay_that_fails_stops_no_other(app: Client, system: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    """It is logged, and waits for its next turn."""
    span = a_span(app, system)
    broken, sound = ask(app, **span), ask(app, **span)
    system.replays.update_one({"_id": broken.data["replay_id"]}, {"$set": {"queued": None}})
    assert [replay.work_all(STEP) for _ in range(2)] == [1, 1]
    assert progress(app, sound)["queued"] == 3
    assert capsys.readouterr().out.count('"event":"tick.replayed_failed"') == 2


def test_two_workers_at_a_replay(app: Client, system: Raw, receiver: Receiver) -> None:
    """The slower one changes nothing: what is put in line again is told once."""
    subscribe(app, receiver.url)
    happen(system, 2)
    post()
    event_id = deliveries(app)[0]["event_id"]
    asked = ask(app, event_id=event_id)
    row = rows.find_replay(asked.data["replay_id"], None)
    assert row is not None
    replay.work({**row, "status": "queued", "place": None})
    post()
    assert len(receiver.got) == 3
    assert endpoints.find_due(clock.now(), 10, is_doubtful=False) == []
