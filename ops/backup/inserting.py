"""Two ways to write documents: mongorestore where it is installed, else over our own connection."""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

from bson import json_util
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from ops.backup import reading
from ops.backup.archive import Collection, Namespace, Prelude, Sink, Writer
from ops.backup.errors import BackupFailed

_DOCUMENTS, _BYTES = 1_000, 8 * 1024 * 1024  # at once; a large burst is slow on the embedded database


class Inserter(Protocol):
    """Where documents go."""

    def add(self, collection: str, documents: Sequence[bytes]) -> None:
        """Write these into a collection that exists, past its validator."""


class OwnInserter:
    """Over our connection."""

    def __init__(self, database: Database[Any]) -> None:
        """Into this database."""
        self._database = database

    def add(self, collection: str, documents: Sequence[bytes]) -> None:
        """Raises BackupFailed when the database refuses one."""
        for batch in _batches(documents):
            try:
                self._database[collection].insert_many(
                    [RawBSONDocument(one) for one in batch], ordered=False, bypass_document_validation=True
                )
            except BulkWriteError as error:
                problem = error.details["writeErrors"][0]["errmsg"] if error.details["writeErrors"] else error
                raise BackupFailed(f"{collection}: {problem}") from None


def _batches(documents: Sequence[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for document in documents:
        if batch and (len(batch) == _DOCUMENTS or size + len(document) > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += len(document)
    if batch:
        yield batch


class _Mongorestore:
    """Into mongorestore's standard input, as an archive."""

    def __init__(self, database: str, names: Sequence[str], process: "subprocess.Popen[bytes]") -> None:
        self._database, self._ended = database, False
        self._names = [Namespace(database, name) for name in names]
        collections = [Collection(one, _bare(one.collection), "collection") for one in self._names]
        self._writer = Writer(cast(Sink, process.stdin), Prelude("", "getsmart", tuple(collections)))

    def add(self, collection: str, documents: Sequence[bytes]) -> None:
        self._writer.add(Namespace(self._database, collection), b"".join(documents))

    def end(self) -> None:
        for namespace in self._names:
            self._writer.end(namespace)


def _bare(name: str) -> str:
    metadata = {"indexes": [], "collectionName": name, "type": "collection", "options": {}}
    return json_util.dumps(metadata, json_options=json_util.CANONICAL_JSON_OPTIONS)


@contextmanager
def inserting(uri: str, database: Database[Any], names: Sequence[str]) -> Iterator[Inserter]:
    """A way to write into these collections, which exist; all of it is there when the context ends without an error."""
    program = reading.tool("mongorestore")
    if program is None:
        yield OwnInserter(database)
        return
    with reading.connection(uri) as config, tempfile.TemporaryFile("w+b") as said:
        kept = ("--noIndexRestore", "--noOptionsRestore", "--bypassDocumentValidation", "--stopOnError")
        command = [program, f"--config={config}", "--archive", *kept]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said) as process:
            try:
                inserter = _Mongorestore(database.name, names, process)
                yield inserter
                inserter.end()
            except BrokenPipeError:
                pass  # it has ended; why, it said itself
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise BackupFailed(f"mongorestore failed: {reading.last_line(said)}")
