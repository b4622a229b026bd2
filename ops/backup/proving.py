"""Prove a backup whole before anything is written: every byte of it is read, decrypted and compared."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import bson
from bson import CodecOptions
from bson.raw_bson import RawBSONDocument

from ops.backup.archive import Collection, Namespace, Reader, Segment, Source, split
from ops.backup.errors import Refused
from ops.backup.making import OPLOG
from ops.backup.manifest import Manifest, Tally, parse_manifest
from ops.backup.sealed import opened
from ops.backup.vault import Vault

_RAW = CodecOptions[RawBSONDocument](document_class=RawBSONDocument)
Progress = Callable[[int], object]


@dataclass(frozen=True)
class Proven:
    """A backup that was read to its end: what it says of itself, and the documents that changed while it was made.

    `changed` has them by collection and id (as BSON); None stands for one that was gone in the end.
    """

    manifest: Manifest
    collections: tuple[Collection, ...]
    changed: dict[str, dict[bytes, bytes | None]] = field(default_factory=dict)


def prove(vault: Vault, name: str, identities: Sequence[str], progress: Progress) -> Proven:
    """Read all of it. Raises Refused for anything that is not as it was written; touches nothing."""
    receipt = vault.receipt(name)
    with vault.reading(name) as source:
        hashed = _HashingSource(source)
        with opened(hashed, identities) as content:
            reader = Reader(content)
            tally, changed = Tally(), dict[str, dict[bytes, bytes | None]]()
            for segment in reader.segments():
                progress(len(segment.documents))
                _look(segment, tally, changed)
            manifest = parse_manifest(content.manifest())
    if receipt is not None and (receipt.sha256, receipt.bytes) != (hashed.sha256, hashed.bytes):
        raise Refused("the file is not the one that its receipt speaks of")
    _compare(manifest, reader.prelude.collections, tally)
    stored = tuple(one for one in reader.prelude.collections if one.namespace != OPLOG)
    return Proven(manifest, stored, changed)


def _look(segment: Segment, tally: Tally, changed: dict[str, dict[bytes, bytes | None]]) -> None:
    count = 0
    for document in split(segment.documents):
        count += 1
        if segment.namespace == OPLOG:
            _note(bson.decode(document, _RAW), changed)
    tally.add(segment.namespace, segment.documents, count)


def _note(line: Any, changed: dict[str, dict[bytes, bytes | None]]) -> None:
    collection = line["ns"].split(".", 1)[1]
    document = line["o"].raw
    key = bson.encode({"_id": line["o"]["_id"]})
    changed.setdefault(collection, {})[key] = document if line["op"] == "i" else None


def _compare(manifest: Manifest, collections: Sequence[Collection], tally: Tally) -> None:
    stored = {one.namespace for one in collections if one.kind != "view" and one.namespace != OPLOG}
    promised = {Namespace(manifest.database, name): part for name, part in manifest.collections.items()}
    if stored != promised.keys():
        raise Refused("the archive has other collections than its manifest")
    for namespace, part in (*promised.items(), (OPLOG, manifest.changes)):
        if tally.part(namespace) != part:
            raise Refused(f"{namespace.collection} is not what the manifest says: {tally.part(namespace)}")


class _HashingSource:
    def __init__(self, source: Source) -> None:
        self._source, self._hash, self.bytes = source, hashlib.sha256(), 0

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._source.read(size)
        self._hash.update(chunk)
        self.bytes += len(chunk)
        return chunk

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def content_of(vault: Vault, name: str, identities: Sequence[str]) -> Iterator[Reader]:
    """The archive of a file that was proven, from its beginning."""
    with vault.reading(name) as source, opened(source, identities) as content:
        yield Reader(content)
