"""A sealed file: zstandard inside age, behind the compressed stream the manifest. Streams both ways, bounded memory.

`age --decrypt -i KEY FILE | zstd -d | mongorestore --archive` reads it too: the manifest stands in a skippable frame
(https://github.com/facebook/zstd/blob/dev/doc/zstd_compression_format.md#skippable-frames), which zstd passes over.
age proves each 64 KiB before it gives them out, and knows its last ones: what is damaged or cut off does not open.
"""

import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import pyrage  # type: ignore[import-untyped]
import zstandard

from ops.backup.archive import Sink, Source
from ops.backup.errors import BackupFailed, Refused

_LEVEL = 6
_CHUNK = 256 * 1024
_SKIPPABLE, _SIZE = struct.Struct("<II"), struct.Struct("<I")
_SKIPPABLE_MAGIC = 0x184D2A50
_LARGEST_TRAILER = 64 * 1024


class _Pump(threading.Thread):
    """Work on one end of a pipe, beside the thread that has the other; what it raised is told by `check`."""

    def __init__(self, work: Callable[[], object], end: BinaryIO) -> None:
        super().__init__(name="backup-age", daemon=True)
        self._work, self._end = work, end
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - told to the other side, which raises it
            self._error = error
        finally:
            with suppress(OSError):  # the other side may be gone
                self._end.close()

    def check(self) -> None:
        """Wait for its end; raises what it raised."""
        self.join()
        if self._error is not None:
            raise self._error


class Sealer:
    """Compresses and encrypts what is written to it. Use as a context; `finish` makes it a whole file."""

    def __init__(self, sink: Sink, recipients: Sequence[str]) -> None:
        """Encrypt for each of these age recipients. Raises BackupFailed when one is none."""
        keys = [_recipient(text) for text in recipients]
        read_end, write_end = os.pipe()
        source, self._pipe = os.fdopen(read_end, "rb", _CHUNK), os.fdopen(write_end, "wb", _CHUNK)
        self._pump = _Pump(lambda: _encrypt(source, sink, keys), source)
        self._pump.start()
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self._frame = compressor.stream_writer(self._pipe, closefd=False)

    def write(self, data: bytes, /) -> None:
        """Take a part of the content."""
        try:
            self._frame.write(data)
        except BrokenPipeError:
            self._pump.check()
            raise

    def finish(self, manifest: bytes) -> None:
        """Close the content, put the manifest (up to 60 KB) behind it, and see everything written."""
        try:
            self._frame.close()  # type: ignore[no-untyped-call]
            self._pipe.write(_skippable(len(manifest) + _SIZE.size) + manifest + _SIZE.pack(len(manifest)))
            self._pipe.close()
        except BrokenPipeError:
            self._pump.check()
            raise
        self._pump.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left running, whatever happened."""
        with suppress(OSError, ValueError):
            self._pipe.close()
        self._pump.join()


def _skippable(size: int) -> bytes:
    """How a frame begins that zstd passes over."""
    return _SKIPPABLE.pack(_SKIPPABLE_MAGIC, size)


def _recipient(text: str) -> Any:
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise BackupFailed(f"not an age recipient: {text[:12]}...") from None


class _Tail:
    """Passes on what it reads and remembers the last of it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.last = b""

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._source.read(size)
        self.last = (self.last + chunk)[-_LARGEST_TRAILER:]
        return chunk


def _encrypt(source: Source, sink: Sink, keys: Sequence[Any]) -> None:
    try:
        pyrage.encrypt_io(source, sink, keys)
    except pyrage.EncryptError as error:
        raise BackupFailed(f"cannot be written: {error}") from None


class Opened:
    """What a sealed file holds: its content by `read`, and when that is over its `manifest`."""

    def __init__(self, pipe: BinaryIO, check: Callable[[], None]) -> None:
        """Use `opened` instead."""
        self._tail, self._check = _Tail(pipe), check
        decompressor = zstandard.ZstdDecompressor()
        self._content = decompressor.stream_reader(
            cast(BinaryIO, self._tail), read_size=_CHUNK, read_across_frames=True
        )

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes of the content; none at its end. Raises Refused where the file is not whole."""
        try:
            found = self._content.read(size)
        except zstandard.ZstdError:
            raise Refused("what was encrypted is no compressed archive") from None
        if not found:
            self._check()
        return found

    def manifest(self) -> bytes:
        """What stands behind the content. Raises Refused unless the file is whole and ends there."""
        if self.read(1):
            raise Refused("there is more in the file than its archive")
        last = self._tail.last
        (size,) = _SIZE.unpack(last[-_SIZE.size :].rjust(_SIZE.size, b"\0"))
        start = len(last) - _SIZE.size - size
        if start < _SKIPPABLE.size or last[start - _SKIPPABLE.size : start] != _skippable(size + _SIZE.size):
            raise Refused("the file has no manifest")
        return last[start : start + size]


@contextmanager
def opened(source: Source, identities: Sequence[str]) -> Iterator[Opened]:
    """Decrypt as it is read. Raises Refused: not for this key, damaged, cut off, or no such file at all."""
    keys = [_identity(text) for text in identities]
    read_end, write_end = os.pipe()
    pipe, sink = os.fdopen(read_end, "rb", _CHUNK), os.fdopen(write_end, "wb", _CHUNK)
    pump = _Pump(lambda: _decrypt(source, sink, keys), sink)
    pump.start()
    try:
        yield Opened(pipe, pump.check)
    finally:
        pipe.close()
        pump.join()


def _decrypt(source: Source, sink: Sink, keys: Sequence[Any]) -> None:
    try:
        pyrage.decrypt_io(source, sink, keys)
    except pyrage.DecryptError as error:
        raise Refused(_reason(str(error))) from None
    except OSError as error:
        if error.errno is not None:  # the disk's or the pipe's; age's own have no number
            raise
        raise Refused(_reason(str(error))) from None


def _reason(said: str) -> str:
    """age's own words, and what they mean here."""
    if "No matching keys" in said:
        return "the file is encrypted for another key, or its first lines are damaged"
    return f"the file is damaged, cut off, or no backup (age: {said})"


def _identity(text: str) -> Any:
    try:
        return pyrage.x25519.Identity.from_str(text)
    except pyrage.IdentityError:
        raise BackupFailed("not an age identity: it begins with AGE-SECRET-KEY-1") from None


def new_identity() -> tuple[str, str]:
    """A key to decrypt with, which is a secret, and the recipient to encrypt for, which is not."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())
