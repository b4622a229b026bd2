"""Events are kept for their time, and longer while somebody is to be told of them."""

from datetime import timedelta

import pytest

from getsmart import clock, config
from getsmart.machine import retain
from getsmart.stores import deliveries as rows
from tests.hooks import EVENTS, happen, post, subscribe
from tests.money import Raw
from tests.pages import items
from tests.receiver import Receiver, receiving
from tests.support import Client, Time

DAY = 24 * 3600.0


def sequences(app: Client) -> list[int]:
    """The numbers that are still there."""
    return [one["sequence"] for one in items(app, EVENTS, limit=200)]


def test_old_events_go_with_their_deliveries(app: Client, system: Raw, receiver: Receiver, time: Time) -> None:
    """After 400 days, but never the newest, from which the numbers go on."""
    subscribe(app, receiver.url)
    happen(system, 3)
    post()
    time.advance(399 * DAY)
    happen(system, 1)
    post()
    assert retain.purge() == 0
    time.advance(2 * DAY)
    assert retain.purge() == 3
    assert sequences(app) == [4]
    assert system.deliveries.count_documents({}) == 1
    time.advance(400 * DAY)
    assert retain.purge() == 0
    happen(system)
    post()
    assert sequences(app) == [4, 5]


def test_what_is_not_told_stays(app: Client, system: Raw, time: Time) -> None:
    """Pending or dead: it may be asked for."""
    with receiving(status=500) as failing:
        made = subscribe(app, failing.url)
        happen(system, 2)
        post()
        time.advance(401 * DAY)
        happen(system, 1, kind="transaction.failed")
        post()
        assert retain.purge() == 0
        rows.bury(made["endpoint_id"])
        time.advance(DAY)
        assert retain.purge() == 0
    assert sequences(app) == [1, 2, 3] or sequences(app) == [1, 2, 3, 4]


def test_it_looks_every_ten_minutes(app: Client, system: Raw, time: Time) -> None:
    """Not at every pass."""
    happen(system, 2)
    post()
    time.advance(401 * DAY)
    assert retain.purge() == 1
    happen(system, 1)
    post()
    time.advance(300)
    system.events.update_many({}, {"$set": {"created_at": clock.now() - timedelta(days=500)}})
    assert retain.purge() == 0
    time.advance(301)
    assert retain.purge() == 1


def test_more_than_a_chunk_that_stays_hides_nothing(
    app: Client, system: Raw, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the dead ones the one that was told is found."""
    monkeypatch.setattr(retain, "_CHUNK", 4)
    with receiving(status=500) as failing:
        made = subscribe(app, failing.url, event_types=["transaction.failed"])
        for _ in range(10):
            happen(system, kind="transaction.failed")
            time.advance(0.01)
        post()
        rows.bury(made["endpoint_id"])
    time.advance(1)
    happen(system, 1)
    happen(system, 1)
    post()
    time.advance(401 * DAY)
    assert retain.purge() == 1


def test_a_year_at_least(monkeypatch: pytest.MonkeyPatch, system: Raw, time: Time) -> None:
    """A shorter time is a misconfiguration that is named, and nothing goes."""
    monkeypatch.setenv("EVENT_RETENTION_DAYS", "364")
    config.forget()
    with pytest.raises(Exception, match="EVENT_RETENTION_DAYS"):
        retain.purge()
