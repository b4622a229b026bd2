"""The numbered event log: events leave the outbox of the row they were written with and get the next number."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any, cast

from pymongo import UpdateOne
from pymongo.collection import Collection

from getsmart.models import Event
from getsmart.mongo import Document, database

RESTORED = "*"  # beside the clients' own ids, of which it is none: from where numbers go on after a restore
_SOURCES = ("transactions", "wallets", "batches", "endpoints")
# Any moment, as a range: the index serves it everywhere, and `$type` reads every row where the database is embedded.
_WAITING = {"outbox.created_at": {"$gte": datetime.fromtimestamp(0, UTC)}}
Outbox = tuple[str, str, list[Event]]


class NumberedEvent(Event):
    """An event as the log keeps it."""

    sequence: int


def has_outbox() -> bool:
    """Whether any row carries an unnumbered event."""
    return any(database()[source].find_one(_WAITING, {"_id": 1}) is not None for source in _SOURCES)


def find_outboxes(limit: int, but: AbstractSet[str] = frozenset()) -> list[Outbox]:
    """Rows that still carry unnumbered events: (collection, row id, events), oldest change first.

    Without those that carry none but of the clients `but`.
    """
    query = {**_WAITING, **({"outbox": {"$elemMatch": {"client_id": {"$nin": sorted(but)}}}} if but else {})}
    found: list[Outbox] = []
    for source in _SOURCES:
        rows = database()[source].find(query, {"outbox": 1})
        due = rows.sort([("outbox.created_at", 1)]).limit(limit)
        found.extend((source, row["_id"], cast(list[Event], row["outbox"])) for row in due)
    return sorted(found, key=lambda item: item[2][0]["created_at"])[:limit]


def count_unnumbered(most: int) -> int:
    """How many rows still carry unnumbered events, counted up to `most` in each collection."""
    return sum(database()[source].count_documents(_WAITING, limit=most) for source in _SOURCES)


def last_sequence(client_id: str) -> int:
    """The number of the client's newest event; 0 before the first, and after a restore at least what that says.

    Read from where `number` was last seen to get, since the embedded database reads a whole range to find its end.
    """
    seen = database().sequences.find({"_id": {"$in": [client_id, RESTORED]}})
    after = max((int(row["last"]) for row in seen), default=0)
    newer = database().events.find({"client_id": client_id, "sequence": {"$gt": after}}, {"sequence": 1})
    return max((int(row["sequence"]) for row in newer), default=after)


def skip_what_was_given(sequences: Collection[Document], at: datetime) -> None:
    """Have all numbers go on from beyond any that may have been given: a restore does not know those of its lost time.

    From the milliseconds since 1970: nobody is given a thousand events a second for long, so a later restore, also of
    the same backup, goes on from beyond this one.
    """
    number = int(at.timestamp() * 1000)
    sequences.update_one({"_id": RESTORED}, {"$max": {"last": number}, "$addToSet": {"restored": number}}, upsert=True)


def restored() -> list[int]:
    """The numbers that restores went on from: each client's next one follows."""
    row = database().sequences.find_one({"_id": RESTORED}) or {}
    return [int(number) for number in row.get("restored", [])]


def find_numbers(event_ids: Sequence[str]) -> dict[str, int]:
    """The numbers of those events that have one."""
    rows = database().events.find({"_id": {"$in": list(event_ids)}}, {"sequence": 1})
    return {row["_id"]: int(row["sequence"]) for row in rows}


def number(events: Sequence[Event], first: int) -> None:
    """Append events of one client under the numbers from `first` on, in order.

    It ends at the first one that cannot be: what is before it stands, so no gap is left. Raises BulkWriteError when a
    number, or an event, is there already.
    """
    rows = [{"_id": event["event_id"], **event, "sequence": first + place} for place, event in enumerate(events)]
    database().events.insert_many(rows, ordered=True)
    client_id = events[0]["client_id"]
    database().sequences.update_one({"_id": client_id}, {"$max": {"last": first + len(rows) - 1}}, upsert=True)


def clear_outboxes(outboxes: Sequence[Outbox]) -> None:
    """Take numbered events out of their rows' outboxes."""
    for source in _SOURCES:
        updates = [
            UpdateOne({"_id": row_id}, {"$pull": {"outbox": {"event_id": {"$in": _ids(events)}}}})
            for place, row_id, events in outboxes
            if place == source
        ]
        if updates:
            database()[source].bulk_write(updates, ordered=False)


def _ids(events: Sequence[Event]) -> list[str]:
    return [event["event_id"] for event in events]


def find(event_id: str, client_id: str | None) -> NumberedEvent | None:
    """The numbered event with this id, if it is this client's."""
    query = {"_id": event_id, **({} if client_id is None else {"client_id": client_id})}
    return cast(NumberedEvent | None, database().events.find_one(query))


def find_many(event_ids: Sequence[str]) -> dict[str, NumberedEvent]:
    """The numbered events of these ids, by id."""
    rows = database().events.find({"_id": {"$in": list(event_ids)}})
    return {row["_id"]: cast(NumberedEvent, row) for row in rows}


def find_log(client_id: str, after: int, only: dict[str, Any], limit: int) -> list[NumberedEvent]:
    """Up to `limit` events of a client behind a number, in order; `only` may hold `type` and `created_at`."""
    query = {"client_id": client_id, **only, "sequence": {"$gt": after}}
    return cast(list[NumberedEvent], list(database().events.find(query).sort([("sequence", 1)]).limit(limit)))


def count_log(client_id: str, only: dict[str, Any], most: int) -> int:
    """How many events of a client there are, counted up to `most`."""
    return database().events.count_documents({"client_id": client_id, **only}, limit=most)


def find_old(before: datetime, limit: int, since: datetime | None = None) -> list[NumberedEvent]:
    """Events made before a moment, and not before `since`, the oldest first."""
    span = {"$lt": before} if since is None else {"$lt": before, "$gte": since}
    rows = database().events.find({"created_at": span}, {"data": 0}).sort([("created_at", 1)]).limit(limit)
    return cast(list[NumberedEvent], list(rows))


def remove(event_ids: Sequence[str]) -> None:
    """Forget events."""
    database().events.delete_many({"_id": {"$in": list(event_ids)}})
