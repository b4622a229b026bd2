"""The archive format of mongodump (`--archive`), written and read as a stream; pure, no database.

https://github.com/mongodb/mongo-tools/blob/master/common/archive/spec.md: magic number, header, a document for each
collection, then segments of documents, each behind a header that names its collection; the last header of a collection
carries the CRC-64 of all its documents. What mongorestore reads, and what mongodump writes, is this.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import bson
from bson import Int64
from bson.errors import BSONError
from fastcrc import crc64

from ops.backup.errors import Refused

_MAGIC = b"\x6d\xe2\x99\x81"
_TERMINATOR = b"\xff\xff\xff\xff"
_VERSION = "0.1"
_SMALLEST, _LARGEST = 5, 17 * 1024 * 1024  # of a document, in bytes; MongoDB's largest is 16 MB and a little for itself
_SEGMENT = 1024 * 1024
_LENGTH = struct.Struct("<i")


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take all of them."""


class Source(Protocol):
    """Where bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


class Namespace(NamedTuple):
    """A collection of a database; mongodump's oplog has no database."""

    database: str
    collection: str


class Collection(NamedTuple):
    """What the archive says of a collection: options and indexes as extended JSON, and `collection` or `view`."""

    namespace: Namespace
    metadata: str
    kind: str


@dataclass(frozen=True)
class Prelude:
    """What an archive begins with."""

    server_version: str
    tool_version: str
    collections: tuple[Collection, ...]


class Segment(NamedTuple):
    """Documents of one collection, one behind the other as BSON; the last segment of a collection has none."""

    namespace: Namespace
    documents: bytes
    is_last: bool


class Writer:
    """Writes one archive."""

    def __init__(self, sink: Sink, prelude: Prelude) -> None:
        """Begin with what is known of the collections."""
        self._sink = sink
        self._checksums: dict[Namespace, int] = {}
        self._current: Namespace | None = None
        header = {
            "concurrent_collections": 1,
            "version": _VERSION,
            "server_version": prelude.server_version,
            "tool_version": prelude.tool_version,
        }
        sink.write(_MAGIC + bson.encode(header))
        for namespace, metadata, kind in prelude.collections:
            named = {"db": namespace.database, "collection": namespace.collection}
            sink.write(bson.encode({**named, "metadata": metadata, "size": Int64(0), "type": kind}))
        sink.write(_TERMINATOR)

    def add(self, namespace: Namespace, documents: bytes) -> None:
        """Documents of a collection, as BSON one behind the other."""
        if namespace != self._current:
            self._leave()
            self._sink.write(_header(namespace, is_last=False, checksum=0))
            self._current = namespace
        self._checksums[namespace] = crc64.xz(documents, self._checksums.get(namespace, 0))
        self._sink.write(documents)

    def end(self, namespace: Namespace) -> None:
        """Nothing more comes of this collection."""
        if namespace not in self._checksums:
            self.add(namespace, b"")  # as mongodump does for an empty one
        self._leave()
        self._sink.write(_header(namespace, is_last=True, checksum=self._checksums[namespace]) + _TERMINATOR)

    def _leave(self) -> None:
        if self._current is not None:
            self._sink.write(_TERMINATOR)
            self._current = None


def _header(namespace: Namespace, *, is_last: bool, checksum: int) -> bytes:
    signed = Int64(checksum - 2**64 if checksum >= 2**63 else checksum)
    named = {"db": namespace.database, "collection": namespace.collection}
    return bson.encode({**named, "EOF": is_last, "CRC": signed})


class Reader:
    """Reads one archive. Whatever is wrong with it is Refused."""

    def __init__(self, source: Source) -> None:
        """Read what it begins with."""
        self._source = source
        if self._exactly(4) != _MAGIC:
            raise Refused("not an archive of mongodump")
        header = self._document()
        if header is None or _decoded(header).get("version") != _VERSION:
            raise Refused("an archive of another version")
        collections = []
        while (content := self._document()) is not None:
            said = _decoded(content)
            collections.append(Collection(_namespace(said), said.get("metadata", ""), said.get("type") or "collection"))
        first = _decoded(header)
        server, tool = str(first.get("server_version", "")), str(first.get("tool_version", ""))
        self.prelude = Prelude(server, tool, tuple(collections))

    def segments(self) -> Iterator[Segment]:
        """Every segment, a large one in pieces. Raises Refused where a checksum is wrong or a collection has no end."""
        checksums: dict[Namespace, int] = {}
        open_ = {one.namespace for one in self.prelude.collections if one.kind != "view"}
        while (header := self._document(may_end=True)) is not None:
            said = _decoded(header)
            namespace = _namespace(said)
            if said.get("EOF"):
                if self._document() is not None or checksums.get(namespace, 0) != said.get("CRC", 0) % 2**64:
                    raise Refused(f"the checksum of {namespace.collection} is wrong")
                open_.discard(namespace)
                yield Segment(namespace, b"", is_last=True)
                continue
            for documents in self._body():
                checksums[namespace] = crc64.xz(documents, checksums.get(namespace, 0))
                yield Segment(namespace, documents, is_last=False)
        if open_:
            raise Refused(f"the archive ends before {min(open_).collection} does")

    def _body(self) -> Iterator[bytes]:
        found: list[bytes] = []
        size = 0
        while (document := self._document()) is not None:
            found.append(document)
            size += len(document)
            if size >= _SEGMENT:
                yield b"".join(found)
                found, size = [], 0
        if found:
            yield b"".join(found)

    def _document(self, *, may_end: bool = False) -> bytes | None:
        """The next document; None at a terminator, or at the end where there may be one."""
        head = self._exactly(4, may_end=may_end)
        if head in (_TERMINATOR, b""):
            return None
        (size,) = _LENGTH.unpack(head)
        if not _SMALLEST <= size <= _LARGEST:
            raise Refused("the archive is damaged: a document of an impossible size")
        return head + self._exactly(size - 4)

    def _exactly(self, size: int, *, may_end: bool = False) -> bytes:
        found = self._source.read(size)
        while len(found) < size and (more := self._source.read(size - len(found))):
            found += more
        if len(found) < size and not (may_end and not found):
            raise Refused("the archive is cut off")
        return found


def _decoded(document: bytes) -> dict[str, Any]:
    try:
        return bson.decode(document)
    except BSONError:
        raise Refused("the archive is damaged: a document that is none") from None


def _namespace(said: dict[str, Any]) -> Namespace:
    if not {"db", "collection"} <= said.keys():
        raise Refused("the archive is damaged: a header that names no collection")
    return Namespace(said["db"], said["collection"])


def split(documents: bytes) -> Iterator[bytes]:
    """Each document of a segment."""
    start = 0
    while start < len(documents):
        (size,) = _LENGTH.unpack_from(documents, start)
        if size < _SMALLEST or start + size > len(documents):
            raise Refused("a document is cut off")
        yield documents[start : start + size]
        start += size
