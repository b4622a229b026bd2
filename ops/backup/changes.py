"""One ordered point: which documents change while a backup is read, and how they stand at one moment of its end.

Documents are read one after the other, so they show many moments. A change stream, opened before the first read, tells
which of them changed; at the end those are read again in one snapshot transaction. A document that did not change is
the same at that snapshot; one that did is replaced by what the snapshot shows. A mark, written after the snapshot began
and awaited in the stream, proves that every change before the snapshot was seen (docs/adr/0055).
"""

import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from getsmart import clock
from getsmart.ids import new_id
from ops.backup.archive import split
from ops.backup.errors import BackupFailed

_MARKS, _MARK = "leases", "backup"
_MARK_SECONDS = 30.0
_WAIT_MILLISECONDS = 100
_IDS_AT_ONCE = 500
_DOCUMENT_CHANGES = {"insert", "update", "replace", "delete"}
_SEEN = {
    "operationType": 1,
    "ns": 1,
    "documentKey": 1,
    "mark": {"$ifNull": ["$updateDescription.updatedFields.mark", "$fullDocument.mark"]},
}


class Change(NamedTuple):
    """A document that changed: its id as BSON (`{"_id": ...}`), and the document at the moment; None: it is gone."""

    collection: str
    key: bytes
    document: bytes | None


class Changes:
    """Watches a database from its entry on; a thread reads the stream, so that it never falls behind its history."""

    def __init__(self, database: Database[Any]) -> None:
        """Of this database."""
        self._database = database
        self._keys: dict[str, set[bytes]] = {}
        self._marks: set[str] = set()
        self._news = threading.Condition()
        self._is_over = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._watch, name="backup-changes", daemon=True)

    def __enter__(self) -> Self:
        """From here on no change is missed."""
        try:
            self._stream = self._database.watch([{"$project": _SEEN}], max_await_time_ms=_WAIT_MILLISECONDS)
        except PyMongoError as error:
            raise BackupFailed(f"the database tells of no changes (a replica set does): {error}") from None
        self._thread.start()
        self._await_mark()  # the stream works
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching."""
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            with self._stream as stream:
                while not self._is_over.is_set():
                    event = stream.try_next()
                    if event is not None:
                        self._note(event)
        except Exception as error:  # noqa: BLE001 - whoever waits for a mark raises it
            self._tell(error=error)

    def _note(self, event: dict[str, Any]) -> None:
        if event["operationType"] not in _DOCUMENT_CHANGES:
            raise BackupFailed(f"a collection changed while it was read ({event['operationType']}): try again")
        key = bson.encode({"_id": event["documentKey"]["_id"]})
        self._keys.setdefault(event["ns"]["coll"], set()).add(key)
        if event.get("mark") is not None:
            self._tell(mark=event["mark"])

    def _tell(self, *, mark: str | None = None, error: Exception | None = None) -> None:
        with self._news:
            self._error = error
            self._marks |= {mark} if mark else set()
            self._news.notify_all()

    def _await_mark(self) -> None:
        """Write a mark and wait until the stream has shown it: everything written before it has been seen."""
        mark = new_id("req")
        marks = self._database.get_collection(_MARKS, write_concern=WriteConcern("majority"))
        marks.update_one({"_id": _MARK}, {"$set": {"mark": mark, "until": clock.now()}}, upsert=True)
        with self._news:
            self._news.wait_for(lambda: mark in self._marks or self._error, timeout=_MARK_SECONDS)
        if isinstance(self._error, BackupFailed):
            raise self._error
        if mark not in self._marks:
            raise BackupFailed(f"the database did not tell of a change in {_MARK_SECONDS:g} s: {self._error}")

    def at_one_moment(self) -> Iterator[Change]:
        """Every document that changed since the entry, as it stands at one moment, which is that of this call.

        Raises BackupFailed when there are more than the database lets a snapshot read (60 s).
        """
        began = time.monotonic()
        try:
            with (
                self._database.client.start_session() as session,
                session.start_transaction(read_concern=ReadConcern("snapshot")),
            ):
                self._database[_MARKS].find_one({"_id": _MARK}, session=session)  # the snapshot is taken here
                self._await_mark()
                for collection, keys in sorted(self._keys.items()):
                    yield from self._read(collection, sorted(keys), session)
        except PyMongoError as error:
            took = time.monotonic() - began
            raise BackupFailed(f"the snapshot of what changed broke after {took:.0f} s: {error}") from None

    def _read(self, collection: str, keys: list[bytes], session: ClientSession) -> Iterator[Change]:
        for start in range(0, len(keys), _IDS_AT_ONCE):
            chunk = keys[start : start + _IDS_AT_ONCE]
            query = {"_id": {"$in": [bson.decode(key)["_id"] for key in chunk]}}
            found: dict[bytes, bytes] = {}
            for batch in self._database[collection].find_raw_batches(query, session=session):
                found |= {key_of(document): document for document in split(batch)}
            yield from (Change(collection, key, found.get(key)) for key in chunk)


def key_of(document: bytes) -> bytes:
    """The id of a document, as BSON: `{"_id": ...}`."""
    return bson.encode({"_id": RawBSONDocument(document)["_id"]})
