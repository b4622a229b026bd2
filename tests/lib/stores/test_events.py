"""The numbered event log: the outbox of each row, the next number, and no number twice."""

from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import BulkWriteError

from getsmart import clock
from getsmart.stores import events, transactions
from tests.money import Raw
from tests.rows import kept, make_row


def test_outboxes_come_oldest_first(system: Raw) -> None:
    """From transactions and wallets alike; rows without waiting events are left out."""
    at = clock.now()
    late = kept(updated_at=at)
    early = kept(updated_at=at - timedelta(minutes=2))
    kept(updated_at=at - timedelta(minutes=9))
    system.transactions.update_one({"updated_at": at - timedelta(minutes=9)}, {"$set": {"outbox": []}})
    event: Any = transactions.event_of(make_row(updated_at=at - timedelta(minutes=1)))
    system.wallets.insert_one({"_id": "wlt_1", "address": "0x", "address_key": "0x", "links": [], "outbox": [event]})
    found = events.find_outboxes(10)
    assert [(source, row_id) for source, row_id, _ in found] == [
        ("transactions", early["_id"]),
        ("wallets", "wlt_1"),
        ("transactions", late["_id"]),
    ]
    assert [row_id for _, row_id, _ in events.find_outboxes(1)] == [early["_id"]]


def test_an_event_gets_one_number(system: Raw) -> None:
    """Neither can a number be given twice, nor an event have two; what stands before the one at fault stays."""
    first, second, third = (transactions.event_of(make_row()) for _ in range(3))
    assert events.last_sequence("app") == 0
    events.number([first], 1)
    with pytest.raises(BulkWriteError):
        events.number([first], 2)
    with pytest.raises(BulkWriteError):
        events.number([second], 1)
    with pytest.raises(BulkWriteError):
        events.number([second, first, third], 2)
    assert (events.last_sequence("app"), events.last_sequence("other")) == (2, 0)
    assert events.find_numbers([one["event_id"] for one in (first, second, third)]) == {
        first["event_id"]: 1,
        second["event_id"]: 2,
    }
    stored: Any = system.events.find_one({"_id": first["event_id"]})
    assert (stored["type"], stored["data"], stored["client_id"]) == (first["type"], first["data"], "app")


def test_only_numbered_events_leave_the_outbox(system: Raw) -> None:
    """What came in the meantime stays."""
    row = kept()
    moved = transactions.move(row, "submitted", {})
    assert moved is not None
    events.clear_outboxes([("transactions", row["_id"], row["outbox"])])
    stored: Any = system.transactions.find_one({"_id": row["_id"]})
    assert [event["type"] for event in stored["outbox"]] == ["transaction.submitted"]


def test_events_name_no_person(system: Raw) -> None:
    """I6: the row's request does, its event does not."""
    row = make_row(status="submitted")
    assert "@" in str(row["request"])
    assert "@" not in transactions.event_of(row)["data"]
