"""mongodump's archive format, against its specification and itself."""

import io
from typing import Any

import bson
import pytest
from bson import Int64

from ops.backup.archive import Collection, Namespace, Prelude, Reader, Writer, split
from ops.backup.errors import Refused

A, B, EMPTY = Namespace("shop", "a"), Namespace("shop", "b"), Namespace("shop", "empty")
PRELUDE = Prelude("8.0.0", "test", tuple(Collection(one, "{}", "collection") for one in (A, B, EMPTY)))
TERMINATOR = b"\xff\xff\xff\xff"


def document(**content: Any) -> bytes:
    """As BSON."""
    return bytes(bson.encode(content))


def archive() -> bytes:
    """Two collections, interleaved, and an empty one."""
    target = io.BytesIO()
    writer = Writer(target, PRELUDE)
    writer.add(A, document(n=1) + document(n=2))
    writer.add(B, document(n=3))
    writer.add(A, document(n=4))
    for namespace in (A, B, EMPTY):
        writer.end(namespace)
    return target.getvalue()


def read(content: bytes) -> dict[Namespace, list[int]]:
    """Every document of every collection."""
    found: dict[Namespace, list[int]] = {one.namespace: [] for one in PRELUDE.collections}
    for segment in Reader(io.BytesIO(content)).segments():
        found[segment.namespace] += [bson.decode(one)["n"] for one in split(segment.documents)]
    return found


def test_what_is_written_is_read() -> None:
    """Each collection has its documents in their order, however they were mixed."""
    assert read(archive()) == {A: [1, 2, 4], B: [3], EMPTY: []}
    assert Reader(io.BytesIO(archive())).prelude == PRELUDE


def test_the_bytes_are_those_of_the_specification() -> None:
    """Magic number, header, a document for each collection, then segments that end in a terminator, CRC-64 last."""
    target = io.BytesIO()
    writer = Writer(target, Prelude("8.0.0", "test", (Collection(A, "{}", "collection"),)))
    writer.add(A, document(n=1))
    writer.end(A)
    header = {"concurrent_collections": 1, "version": "0.1", "server_version": "8.0.0", "tool_version": "test"}
    described = {"db": "shop", "collection": "a", "metadata": "{}", "size": Int64(0), "type": "collection"}
    named = {"db": "shop", "collection": "a"}
    checksum = Int64(ecma(document(n=1)))
    assert target.getvalue() == b"".join(
        (
            bytes.fromhex("6de29981"),
            document(**header) + document(**described) + TERMINATOR,
            document(**named, EOF=False, CRC=Int64(0)) + document(n=1) + TERMINATOR,
            document(**named, EOF=True, CRC=checksum) + TERMINATOR,
        )
    )


def ecma(content: bytes) -> int:
    """CRC-64 as Go's hash/crc64 has it with its ECMA table, bit by bit, as a signed number."""
    state = 0xFFFF_FFFF_FFFF_FFFF
    for byte in content:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0xC96C_5795_D787_0F42 if state & 1 else 0)
    value = state ^ 0xFFFF_FFFF_FFFF_FFFF
    return value - 2**64 if value >= 2**63 else value


@pytest.mark.parametrize("size", range(0, len(archive()), 7))
def test_a_part_of_an_archive_is_refused(size: int) -> None:
    """Wherever it is cut, in the middle of a document or between two."""
    with pytest.raises(Refused):
        read(archive()[:size])


def test_a_changed_document_is_refused() -> None:
    """The checksum tells."""
    with pytest.raises(Refused, match="the checksum of a is wrong"):
        read(archive().replace(document(n=4), document(n=5)))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "cut off"),
        (b"PK\x03\x04 something else", "not an archive"),
        (archive()[:4] + document(version="0.2"), "another version"),
        (archive()[:4] + b"\x00\x00\x00\x00", "impossible size"),
        (archive()[:4] + b"\x06\x00\x00\x00\x08\x00", "a document that is none"),
        (archive() + document(neither="nor") + TERMINATOR, "names no collection"),
    ],
)
def test_what_is_no_archive_is_refused(content: bytes, problem: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(Refused, match=problem):
        read(content)


def test_a_document_that_is_cut_off_is_not_split() -> None:
    """A length that points behind the end is no document."""
    with pytest.raises(Refused):
        list(split(document(n=1)[:-1]))


def test_a_large_collection_comes_in_pieces() -> None:
    """About a megabyte at a time, whatever its size: memory stays small."""
    target = io.BytesIO()
    writer = Writer(target, PRELUDE)
    for _ in range(40):
        writer.add(A, document(n=1, text="x" * 100_000))
    for namespace in (A, B, EMPTY):
        writer.end(namespace)
    target.seek(0)
    sizes = [len(segment.documents) for segment in Reader(target).segments() if segment.documents]
    assert len(sizes) == 4
    assert max(sizes) < 1_200_000
