"""What a backup reads of a database: collections with options and indexes, and their documents as raw BSON.

Documents come from mongodump where it is installed, else over our own connection; the same bytes either way.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import yaml
from bson import json_util
from pymongo.database import Database

from ops.backup.archive import Collection, Namespace, Reader, Segment
from ops.backup.errors import BackupFailed

_BATCH = 1_000
_JSON = json_util.CANONICAL_JSON_OPTIONS
_STORED = {"collection", "view"}


def describe(database: Database[Any]) -> tuple[Collection, ...]:
    """Every collection and view, sorted by name, as mongodump describes them. Raises BackupFailed for other kinds."""
    found = []
    for said in sorted(database.list_collections(), key=lambda one: str(one["name"])):
        name, kind = str(said["name"]), str(said["type"])
        if name.startswith("system."):
            continue
        if kind not in _STORED:
            raise BackupFailed(f"{name}: a {kind} collection cannot be backed up by this program")
        indexes = [] if kind == "view" else [dict(index) for index in database[name].list_indexes()]
        metadata = {"indexes": indexes, "collectionName": name, "type": kind, "options": said["options"]}
        namespace = Namespace(database.name, name)
        found.append(Collection(namespace, json_util.dumps(metadata, json_options=_JSON), kind))
    return tuple(found)


def tool(name: str) -> str | None:
    """Where the official tool is, if it is installed."""
    return shutil.which(name)


def documents(database: Database[Any], collections: Sequence[Collection]) -> Iterator[Segment]:
    """Every document of every collection, in segments, over our own connection."""
    for namespace, _, kind in collections:
        if kind == "view":
            continue
        for batch in database[namespace.collection].find_raw_batches({}, batch_size=_BATCH):
            yield Segment(namespace, bytes(batch), is_last=False)
        yield Segment(namespace, b"", is_last=True)


def dumped(program: str, uri: str, database: str) -> Iterator[Segment]:
    """The same from mongodump's standard output. Raises BackupFailed with its last line when it fails."""
    with connection(uri) as config, tempfile.TemporaryFile("w+b") as said:
        command = [program, f"--config={config}", f"--db={database}", "--archive"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process:
            output = cast(IO[bytes], process.stdout)
            try:
                yield from Reader(output).segments()
            except BackupFailed:
                process.kill()
                raise BackupFailed(f"mongodump failed: {last_line(said)}") from None
        if process.returncode:
            raise BackupFailed(f"mongodump failed: {last_line(said)}")


def last_line(said: IO[bytes]) -> str:
    """The last line that a tool said: why it failed."""
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "without a word"


@contextmanager
def connection(uri: str) -> Iterator[Path]:
    """A configuration file that only we can read: the URI holds credentials, and anyone can read a command line."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "connection.yaml"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump({"uri": uri}))
        yield file
