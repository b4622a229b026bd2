"""What is known of a backup: inside the file, and beside it with the checksum of the file itself."""

import hashlib
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from ops.backup.archive import Namespace, Sink
from ops.backup.errors import Refused


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Model):
    """What the archive holds of one collection: the documents as they were read, as BSON one behind the other."""

    documents: int
    bytes: int
    sha256: str


class Manifest(_Model):
    """All of a backup but its bytes. `point` is the moment it shows; `changes` are what happened while it was read."""

    format: Literal[1] = 1
    database: str
    began_at: AwareDatetime
    point: AwareDatetime
    schema_version: str | None
    app_version: str
    server_version: str
    read_by: str
    collections: dict[str, Part]
    changes: Part


class Receipt(_Model):
    """What stands beside the file, readable without the key; `is_smaller` says that what is gone was meant to go."""

    file: str
    bytes: int
    sha256: str
    finished_at: AwareDatetime
    manifest: Manifest
    is_smaller: bool = False


def parse_manifest(text: bytes) -> Manifest:
    """The manifest of a file. Raises Refused when it is none."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError:
        raise Refused("the manifest of the backup is of another version, or none") from None


def parse_receipt(text: bytes) -> Receipt:
    """What stands beside a file. Raises Refused when it is none."""
    try:
        return Receipt.model_validate_json(text)
    except ValidationError:
        raise Refused("what stands beside the backup is no receipt") from None


def name_of(database: str, point: datetime) -> str:
    """The file of a backup: names sort as their moments do."""
    return f"{database}-{point:%Y%m%dT%H%M%S}.{point.microsecond // 1000:03d}Z.archive.zst.age"


class Tally:
    """Counts and hashes documents as they pass, a collection at a time or mixed."""

    def __init__(self) -> None:
        """Nothing has passed yet."""
        self._hashes: dict[Namespace, hashlib._Hash] = {}
        self._documents: dict[Namespace, int] = {}
        self._bytes: dict[Namespace, int] = {}

    def add(self, namespace: Namespace, documents: bytes, count: int) -> None:
        """So many documents of a collection."""
        self._hashes.setdefault(namespace, hashlib.sha256()).update(documents)
        self._documents[namespace] = self._documents.get(namespace, 0) + count
        self._bytes[namespace] = self._bytes.get(namespace, 0) + len(documents)

    def part(self, namespace: Namespace) -> Part:
        """What passed of a collection."""
        digest = self._hashes.get(namespace, hashlib.sha256()).hexdigest()
        return Part(documents=self._documents.get(namespace, 0), bytes=self._bytes.get(namespace, 0), sha256=digest)


class HashingSink:
    """Passes on what is written to it, and knows its size and SHA-256."""

    def __init__(self, sink: Sink) -> None:
        """In front of this one."""
        self._sink = sink
        self._hash = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes, /) -> int:
        """Pass it on."""
        self._sink.write(data)
        self._hash.update(data)
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back here."""

    @property
    def sha256(self) -> str:
        """Of all that was written."""
        return self._hash.hexdigest()
