"""Make one backup: read a database as of one moment, and write archive, manifest and receipt."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import bson
from bson import Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from getsmart import clock
from ops.backup import reading
from ops.backup.archive import Collection, Namespace, Prelude, Segment, Writer, split
from ops.backup.changes import Change, Changes
from ops.backup.errors import BackupFailed
from ops.backup.manifest import HashingSink, Manifest, Receipt, Tally, name_of
from ops.backup.sealed import Sealer
from ops.backup.vault import Vault

OPLOG = Namespace("", "oplog")
Progress = Callable[[int], object]


@dataclass(frozen=True)
class Order:
    """What is to be backed up, and for whom: age recipients; `is_smaller` as in Receipt."""

    uri: str
    database: Database[Any]
    recipients: Sequence[str]
    app_version: str
    is_smaller: bool = False


def make(order: Order, vault: Vault, progress: Progress) -> Receipt:
    """Write a backup and read it back; `progress` is told bytes as they pass. Raises BackupFailed, and none is kept."""
    began = clock.now()
    database = order.database
    name = name_of(database.name, began)
    with vault.writing(name) as sink, Changes(database) as changes:
        collections, revision = reading.describe(database), schema_version(database)
        hashed = HashingSink(sink)
        with Sealer(hashed, order.recipients) as sealer:
            tally = Tally()
            writer = Writer(sealer, _prelude(database, collections))
            for segment in _documents(order, collections):
                progress(len(segment.documents))
                _copy(segment, writer, tally)
            point = _copy_changes(changes, database.name, writer, tally)
            if reading.describe(database) != collections or schema_version(database) != revision:
                raise BackupFailed("collections or indexes changed while they were read: try again")
            manifest = Manifest(
                database=database.name,
                began_at=began,
                point=point,
                schema_version=revision,
                app_version=order.app_version,
                server_version=_server_version(database),
                read_by="mongodump" if reading.tool("mongodump") else "getsmart",
                collections={
                    one.namespace.collection: tally.part(one.namespace) for one in collections if one.kind != "view"
                },
                changes=tally.part(OPLOG),
            )
            sealer.finish(manifest.model_dump_json().encode())
    receipt = Receipt(
        file=name,
        bytes=hashed.bytes,
        sha256=hashed.sha256,
        finished_at=clock.now(),
        manifest=manifest,
        is_smaller=order.is_smaller,
    )
    vault.check(receipt)
    vault.keep(receipt)
    return receipt


def schema_version(database: Database[Any]) -> str | None:
    """The newest migration that is applied; None before the first."""
    done = database["migrations"].find({"status": "applied"}, {"_id": 1, "revision": 1})
    return max((str(row.get("revision", row["_id"])) for row in done), default=None)


def _server_version(database: Database[Any]) -> str:
    return str(database.client.server_info()["version"])


def _prelude(database: Database[Any], collections: Sequence[Collection]) -> Prelude:
    oplog = Collection(OPLOG, "", "collection")
    return Prelude(_server_version(database), "getsmart", (*collections, oplog))


def _documents(order: Order, collections: Sequence[Collection]) -> Iterator[Segment]:
    """From whichever tool there is; of mongodump's only what was there when we looked."""
    program = reading.tool("mongodump")
    if program is None:
        return reading.documents(order.database, collections)
    known = {one.namespace for one in collections}
    segments = reading.dumped(program, order.uri, order.database.name)
    return (segment for segment in segments if segment.namespace in known)


def _copy(segment: Segment, writer: Writer, tally: Tally) -> None:
    if segment.is_last:
        writer.end(segment.namespace)
    else:
        writer.add(segment.namespace, segment.documents)
        tally.add(segment.namespace, segment.documents, sum(1 for _ in split(segment.documents)))


def _copy_changes(changes: Changes, database: str, writer: Writer, tally: Tally) -> datetime:
    """Write what changed as mongodump writes its oplog; returns the moment that the backup shows from then on."""
    point = clock.now()
    for number, change in enumerate(changes.at_one_moment()):
        for line in _lines(change, database, Timestamp(int(point.timestamp()), number + 1)):
            writer.add(OPLOG, line)
            tally.add(OPLOG, line, 1)
    writer.end(OPLOG)
    return point


def _lines(change: Change, database: str, at: Timestamp) -> Iterator[bytes]:
    """A change as lines of an oplog: the document is deleted, and put there again as it stood."""
    said = {"ts": at, "v": 2, "ns": f"{database}.{change.collection}"}
    yield bson.encode({**said, "op": "d", "o": RawBSONDocument(change.key)})
    if change.document is not None:
        yield bson.encode({**said, "op": "i", "o": RawBSONDocument(change.document)})
