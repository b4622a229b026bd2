"""The numbered event log: events leave the outbox of the row they were written with and get the next number."""

from typing import Any, cast

from pymongo.errors import DuplicateKeyError

from getsmart.models import Event
from getsmart.mongo import database

_SOURCES = ("transactions", "wallets", "batches")


def find_outboxes(limit: int) -> list[tuple[str, str, list[Event]]]:
    """Rows that still carry unnumbered events: (collection, row id, events), oldest change first."""
    found: list[tuple[str, str, list[Event]]] = []
    for source in _SOURCES:
        rows = database()[source].find({"outbox.created_at": {"$type": "date"}}, {"outbox": 1})
        due = rows.sort([("outbox.created_at", 1)]).limit(limit)
        found.extend((source, row["_id"], cast(list[Event], row["outbox"])) for row in due)
    return sorted(found, key=lambda item: item[2][0]["created_at"])[:limit]


def count_unnumbered(most: int) -> int:
    """How many rows still carry unnumbered events, counted up to `most` in each collection."""
    waiting = {"outbox.created_at": {"$type": "date"}}
    return sum(database()[source].count_documents(waiting, limit=most) for source in _SOURCES)


def last_sequence(client_id: str) -> int:
    """The number of the client's newest event; 0 before the first."""
    row = database().events.find_one({"client_id": client_id}, {"sequence": 1}, sort=[("sequence", -1)])
    return int(row["sequence"]) if row else 0


def number(event: Event, sequence: int) -> bool:
    """Append the event under `sequence`; False when it has a number already.

    Raises DuplicateKeyError when the number belongs to another event.
    """
    row: dict[str, Any] = {"_id": event["event_id"], **event, "sequence": sequence}
    try:
        database().events.insert_one(row)
    except DuplicateKeyError:
        if database().events.find_one({"_id": event["event_id"]}, {"_id": 1}) is None:
            raise
        return False
    return True


def clear_outbox(source: str, row_id: str, event_ids: list[str]) -> None:
    """Take numbered events out of their row's outbox."""
    database()[source].update_one({"_id": row_id}, {"$pull": {"outbox": {"event_id": {"$in": event_ids}}}})
