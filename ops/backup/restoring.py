"""Put a proven backup into a database that nobody can use before it is whole, and that then stands in recovery mode.

The order is the safety: the first document written stops all money, API keys and the active colour come last, so that
until then no call is authenticated and no tick works. Documents come in as they are, past validators; indexes are built
last where that is faster, those that expire documents always. What a tick that is still under way, or a backup, writes
meanwhile is overwritten by what the backup has.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import decode, json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, ReplaceOne
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from getsmart import clock
from getsmart.models import RECOVERY
from getsmart.stores.events import skip_what_was_given
from ops.backup.allowed import refuse_unless_allowed
from ops.backup.archive import Collection, Reader, split
from ops.backup.changes import key_of
from ops.backup.errors import BackupFailed
from ops.backup.inserting import Inserter, inserting
from ops.backup.making import OPLOG
from ops.backup.manifest import Manifest
from ops.backup.proving import Proven, content_of, prove
from ops.backup.server import drop, is_embedded
from ops.backup.vault import Vault

CONTROLS = "controls"
# Without them nobody may do anything; and of these alone somebody may write one before it is restored.
_LAST = ("leases", "api_keys", CONTROLS)
_GROWING = "failures"  # a call that fails meanwhile leaves its line
_AWARE = CodecOptions[dict[str, Any]](tz_aware=True)
_NOT_OPTIONS, _NOT_INDEX = {"uuid", "idIndex"}, {"v", "ns"}
Progress = Callable[[int], object]


@dataclass(frozen=True)
class Target:
    """A database, which is empty, or is emptied by `replace`.

    With `brake` {by, why, at} only a person lets money move in it afterwards.
    """

    uri: str
    database: str
    replace: bool = False
    brake: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Restored:
    """What was put there."""

    manifest: Manifest
    documents: int


def restore(
    vault: Vault,
    name: str,
    identities: Sequence[str],
    target: Target,
    progress: Progress = lambda _: None,
) -> Restored:
    """Prove the backup, then write it into the target.

    Raises Refused or BackupFailed; until the backup is proven and the target accepted, nothing was written.
    """
    proven = prove(vault, name, identities, progress)
    try:
        with MongoClient[dict[str, Any]](target.uri, tz_aware=True) as client:
            database = client.get_database(target.database, write_concern=WriteConcern("majority"))
            _refuse_unless_empty(database, replace=target.replace)
            refuse_unless_allowed(database)
            _close(database, proven.collections)
            expiring, lasting = _indexes(proven.collections)
            is_first = is_embedded(database)
            _index(database, lasting if is_first else [])
            with (
                content_of(vault, name, identities) as reader,
                inserting(target.uri, database, _names(proven)) as inserter,
            ):
                held = _fill(reader, inserter, proven, progress)
            _compare(database, held)
            _index(database, expiring if is_first else [*lasting, *expiring])
            _open(database, held, proven.manifest.point, target.brake)
    except PyMongoError as error:
        raise BackupFailed(f"the database refused: {error}") from error
    return Restored(proven.manifest, sum(held.counts.values()))


def _names(proven: Proven) -> list[str]:
    return [name for name in proven.manifest.collections if name not in _LAST]


def _refuse_unless_empty(database: Database[Any], *, replace: bool) -> None:
    full = [name for name in database.list_collection_names() if database[name].find_one({}, {"_id": 1}) is not None]
    if full and not replace:
        raise BackupFailed(f"{database.name} is not empty ({', '.join(sorted(full)[:3])}): --force replaces all of it")


def _close(database: Database[Any], collections: Sequence[Collection]) -> None:
    """Stop money, lock everybody out, empty the database, and make its collections and views."""
    _recovering(database, {"is_being_restored": True})
    database[CONTROLS].delete_many({"_id": {"$ne": RECOVERY}})
    drop(
        database, [one for one in database.list_collection_names() if one != CONTROLS and not one.startswith("system.")]
    )
    for collection in sorted(collections, key=lambda one: one.kind == "view"):
        _create(database, collection)


def _recovering(database: Database[Any], more: Mapping[str, Any]) -> None:
    """As stores/controls.py has it, in a database that is not the configured one."""
    at = clock.now()
    change = {"$set": {"is_recovering": True, "at": at, "restored_at": at, **more}}
    database[CONTROLS].update_one({"_id": RECOVERY}, change, upsert=True)


def _create(database: Database[Any], collection: Collection) -> None:
    options = {name: value for name, value in _metadata(collection)["options"].items() if name not in _NOT_OPTIONS}
    name = collection.namespace.collection
    if name == CONTROLS:  # it is there already
        validation = {key: value for key, value in options.items() if key.startswith("validat")}
        database.command({"collMod": name, **(validation or {"validator": {}})})
    else:
        database.command({"create": name, **options})


def _metadata(collection: Collection) -> dict[str, Any]:
    parsed: dict[str, Any] = json_util.loads(collection.metadata, json_options=json_util.CANONICAL_JSON_OPTIONS)
    return parsed


def _fill(reader: Reader, inserter: Inserter, proven: Proven, progress: Progress) -> "_Held":
    """Write every document but those that open the door, which are given back; what changed comes as it was at the end.

    A document that changed while the backup was read is passed over where it was read: it may show another moment.
    """
    held = _Held(dict.fromkeys(proven.manifest.collections, 0), {name: [] for name in _LAST})
    for segment in reader.segments():
        name = segment.namespace.collection
        if segment.namespace != OPLOG and segment.documents:
            progress(len(segment.documents))
            changed = proven.changed.get(name, {})
            held.take(inserter, name, [one for one in split(segment.documents) if _is_unchanged(one, changed)])
    for name, changes in proven.changed.items():
        held.take(inserter, name, [document for document in changes.values() if document is not None])
    return held


def _is_unchanged(document: bytes, changed: Mapping[bytes, bytes | None]) -> bool:
    return not changed or key_of(document) not in changed


@dataclass(frozen=True)
class _Held:
    """How many documents each collection has been given, and those that wait for the end."""

    counts: dict[str, int]
    documents: dict[str, list[bytes]]

    def take(self, inserter: Inserter, name: str, documents: list[bytes]) -> None:
        self.counts[name] += len(documents)
        if name in self.documents:
            self.documents[name] += documents
        else:
            inserter.add(name, documents)


def _compare(database: Database[Any], held: _Held) -> None:
    """Before an index can expire a document."""
    for name, expected in held.counts.items():
        if name in _LAST or (found := database[name].count_documents({})) == expected:
            continue
        if name != _GROWING or found < expected:
            raise BackupFailed(f"{name} has {found} documents instead of {expected}")


_Index = tuple[str, dict[str, Any]]


def _indexes(collections: Sequence[Collection]) -> tuple[list[_Index], list[_Index]]:
    """Those that expire documents, and the others: (collection, index)."""
    found = [
        (collection.namespace.collection, {key: value for key, value in index.items() if key not in _NOT_INDEX})
        for collection in collections
        for index in _metadata(collection)["indexes"]
        if index["name"] != "_id_"
    ]
    expires = [one for one in found if "expireAfterSeconds" in one[1]]
    return expires, [one for one in found if one not in expires]


def _index(database: Database[Any], wanted: Sequence[_Index]) -> None:
    """Build them, those of a collection in one pass over it."""
    for name in dict.fromkeys(name for name, _ in wanted):
        database.command({"createIndexes": name, "indexes": [index for its, index in wanted if its == name]})


def _open(database: Database[Any], held: _Held, point: datetime, brake: Mapping[str, Any] | None) -> None:
    """The last step: keys, supply, books and the active colour, beside the recovery, which counts from now.

    They take the place of what somebody may have written under their ids since the database was closed.
    """
    since = {"lost_since": _lost_since(held, point), "is_overshadowed": True}
    _recovering(database, {**since, "stopped": brake} if brake else since)
    if "sequences" in held.counts:
        skip_what_was_given(database.sequences, clock.now())
    for name in _LAST:
        documents = [RawBSONDocument(one) for one in held.documents[name]]
        if name == CONTROLS:
            documents = [one for one in documents if one["_id"] != RECOVERY]
            database[name].delete_many({"_id": {"$nin": [RECOVERY, *(one["_id"] for one in documents)]}})
        if documents:
            writes: list[ReplaceOne[Any]] = [ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in documents]
            database[name].bulk_write(writes, bypass_document_validation=True)
    database[CONTROLS].update_one({"_id": RECOVERY}, {"$unset": {"is_being_restored": ""}})


def _lost_since(held: _Held, point: datetime) -> datetime | None:
    """Since when something may be lost: the moment that the backup shows.

    Or since what a restore before it had lost, where not all of that was explained yet; None where nobody knows.
    """
    known = [decode(one, _AWARE) for one in held.documents[CONTROLS]]
    before = next((one for one in known if one["_id"] == RECOVERY), {})
    if not before.get("is_overshadowed"):
        return point
    since: datetime | None = before.get("lost_since")
    return None if since is None else min(since, point)
