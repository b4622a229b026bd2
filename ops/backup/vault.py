"""Where backups are kept: a folder, or object storage (`s3://bucket/prefix`), by one interface."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from ops.backup.archive import Sink, Source
from ops.backup.errors import BackupFailed, Refused
from ops.backup.manifest import Receipt, parse_receipt

_ENDING = ".archive.zst.age"
_RECEIPT = ".json"
_PART = 5 * 1024 * 1024  # the smallest that object storage takes of a file in parts
_CHUNK = 1024 * 1024


class Vault:
    """The backups at one place, each a file and a receipt beside it. Every failure is BackupFailed."""

    def __init__(self, place: str) -> None:
        """A folder, made when it is not there, or a URL; credentials come as AWS_* variables, as everywhere."""
        self.place = place
        try:
            self._store: Any = from_url(place) if "://" in place else LocalStore(Path(place).resolve(), mkdir=True)
        except (BaseError, ValueError, OSError) as error:
            raise BackupFailed(f"{place} cannot be used: {str(error).splitlines()[0]}") from None

    @contextmanager
    def writing(self, name: str) -> Iterator[Sink]:
        """A new file. It appears when all of it is written; after an error none does."""
        with _told(name):
            writer = obstore.open_writer(self._store, name, buffer_size=_PART)
            yield writer
            writer.close()

    @contextmanager
    def reading(self, name: str) -> Iterator[Source]:
        """The bytes of a file."""
        with _told(name):
            yield _Stream(obstore.get(self._store, name).stream(min_chunk_size=_CHUNK))

    def keep(self, receipt: Receipt) -> None:
        """Put the receipt beside its file: now it counts."""
        with _told(receipt.file):
            obstore.put(self._store, receipt.file + _RECEIPT, receipt.model_dump_json(indent=1).encode())

    def receipts(self) -> list[Receipt]:
        """Of every backup that was finished, the newest moment first."""
        return self.looked()[0]

    def looked(self) -> tuple[list[Receipt], list[str]]:
        """The receipts, the newest moment first, and the files beside which stands something else, by name."""
        found, unreadable = list[Receipt](), list[str]()
        with _told(self.place):
            names = {entry["path"] for entries in obstore.list(self._store) for entry in entries}
            for name in sorted(names):
                if name.endswith(_ENDING) and name + _RECEIPT in names:
                    try:
                        found.append(parse_receipt(bytes(obstore.get(self._store, name + _RECEIPT).bytes())))
                    except Refused:
                        unreadable.append(name)
        return sorted(found, key=lambda receipt: receipt.manifest.point, reverse=True), unreadable

    def receipt(self, name: str) -> Receipt | None:
        """What stands beside this file, if something does. Raises Refused when it is no receipt."""
        try:
            return parse_receipt(bytes(obstore.get(self._store, name + _RECEIPT).bytes()))
        except FileNotFoundError:
            return None

    def check(self, receipt: Receipt) -> None:
        """Read the file again and compare it with its receipt. Raises Refused where they differ."""
        digest, size = hashlib.sha256(), 0
        with self.reading(receipt.file) as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
        if (size, digest.hexdigest()) != (receipt.bytes, receipt.sha256):
            raise Refused(f"{receipt.file} is not what was written: {size} bytes instead of {receipt.bytes}")

    def remove(self, receipt: Receipt) -> None:
        """Forget a backup; its receipt first, so that half of one never counts."""
        with _told(receipt.file):
            obstore.delete(self._store, [receipt.file + _RECEIPT, receipt.file])


class _Stream:
    """Chunks as a file that is read."""

    def __init__(self, chunks: Any) -> None:
        self._chunks, self._left = iter(chunks), b""

    def read(self, size: int = -1, /) -> bytes:
        if not self._left:
            self._left = bytes(next(self._chunks, b""))
        if size < 0:
            size = len(self._left)
        found, self._left = self._left[:size], self._left[size:]
        return found


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise BackupFailed(f"there is no {name}") from None
    except BaseError as error:
        raise BackupFailed(f"{name}: {str(error).splitlines()[0]}") from None
