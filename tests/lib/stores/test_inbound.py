"""Which deliveries were applied: each event id once."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.errors import DuplicateKeyError, WriteError

from getsmart import mongo
from getsmart.stores import inbound
from tests.money import Raw

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_an_event_is_marked_once(system: Raw) -> None:
    """The unique id decides between twins."""
    assert not inbound.is_seen("event-1")
    inbound.mark("event-1", "transaction.completed", AT)
    assert inbound.is_seen("event-1")
    assert not inbound.is_seen("event-2")
    with pytest.raises(DuplicateKeyError):
        inbound.mark("event-1", "transaction.failed", AT)
    row: Any = system.inbound_events.find_one({"_id": "event-1"})
    assert (row["type"], row["applied_at"]) == ("transaction.completed", AT)


def test_a_mark_goes_with_its_transaction(system: Raw) -> None:
    """What is rolled back was never seen."""

    def undone(session: Any) -> None:
        inbound.mark("event-1", "x", AT, session=session)
        raise RuntimeError("undo")

    with pytest.raises(RuntimeError):
        mongo.transact(undone)
    assert not inbound.is_seen("event-1")


def test_marks_are_forgotten_after_their_time(system: Raw) -> None:
    """90 days: far beyond any sender's retries, and the validator wants the date it counts from."""
    index = system.inbound_events.index_information()["ttl"]
    assert index["expireAfterSeconds"] == 90 * 24 * 3600
    with pytest.raises(WriteError):
        system.inbound_events.insert_one({"_id": "event-2", "applied_at": "today"})
