"""Compressed, encrypted, with a manifest behind: what opens, and what does not."""

import io
import os
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest

from ops.backup.errors import BackupFailed, Refused
from ops.backup.sealed import Sealer, new_identity, opened

IDENTITY, RECIPIENT = new_identity()
CONTENT = os.urandom(1_000) * 3_000
MANIFEST = b'{"about": "it"}'


def seal(content: bytes = CONTENT, *recipients: str) -> bytes:
    """A sealed file."""
    target = io.BytesIO()
    with Sealer(target, recipients or (RECIPIENT,)) as sealer:
        for start in range(0, len(content), 100_000):
            sealer.write(content[start : start + 100_000])
        sealer.finish(MANIFEST)
    return target.getvalue()


def unseal(file: bytes, identity: str = IDENTITY) -> tuple[bytes, bytes]:
    """What is in it, and its manifest."""
    with opened(io.BytesIO(file), [identity]) as content:
        parts = []
        while part := content.read(65_536):
            parts.append(part)
        return b"".join(parts), content.manifest()


def test_what_is_sealed_opens() -> None:
    """For each of its recipients; it is much smaller than what it holds."""
    other, its_recipient = new_identity()
    file = seal(CONTENT, RECIPIENT, its_recipient)
    assert unseal(file) == unseal(file, other) == (CONTENT, MANIFEST)
    assert len(file) < len(CONTENT) / 50


def test_what_is_empty_opens_too() -> None:
    """No content, and a manifest."""
    assert unseal(seal(b"")) == (b"", MANIFEST)


FILE = seal(os.urandom(200_000))


@pytest.mark.parametrize("size", [0, 1, 100, 200, 65_000, 150_000, -16, -1])
def test_a_file_that_is_cut_off_is_refused(size: int) -> None:
    """Wherever it is cut; a negative size counts from the end."""
    with pytest.raises(Refused, match="damaged, cut off, or no backup"):
        unseal(FILE[:size])


@pytest.mark.parametrize("place", [0, 50, 120, 180, 300, 70_000, 100_200, -1])
def test_a_file_with_a_changed_bit_is_refused(place: int) -> None:
    """Wherever it is: in the header, in the middle, in the last byte."""
    damaged = bytearray(FILE)
    damaged[place] ^= 1
    with pytest.raises(Refused):
        unseal(bytes(damaged))


def test_a_file_with_more_behind_is_refused() -> None:
    """Nothing is to be added."""
    with pytest.raises(Refused):
        unseal(FILE + b"x")


def test_another_key_does_not_open_it() -> None:
    """And the message says so."""
    with pytest.raises(Refused, match="encrypted for another key"):
        unseal(FILE, new_identity()[0])


def test_what_others_encrypted_is_no_backup() -> None:
    """Encrypted for us, and yet no archive, or without a manifest."""
    import pyrage
    import zstandard

    keys = [pyrage.x25519.Recipient.from_str(RECIPIENT)]
    with pytest.raises(Refused, match="no compressed archive"):
        unseal(pyrage.encrypt(b"a letter", keys))
    with pytest.raises(Refused, match="no manifest"):
        unseal(pyrage.encrypt(zstandard.compress(b"a letter"), keys))
    with opened(io.BytesIO(FILE), [IDENTITY]) as content, pytest.raises(Refused, match="more in the file"):
        content.manifest()


def test_what_is_no_key_is_told() -> None:
    """Before anything is opened, and without the key in the message."""
    with pytest.raises(BackupFailed, match="not an age identity"), opened(io.BytesIO(FILE), ["AGE-SECRET-KEY-1NO"]):
        pass
    with pytest.raises(BackupFailed, match="not an age recipient"):
        Sealer(io.BytesIO(), ["age1no"])


class Full:
    """A disk that is full after 100 kB."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes, /) -> int:
        """Take it, or do not."""
        self.size += len(data)
        if self.size > 100_000:
            raise OSError(28, "No space left on device")
        return len(data)

    def flush(self) -> None:
        """Nothing to do."""


def test_a_full_disk_is_told() -> None:
    """While it is written, and at the end."""
    for chunks in (100, 2):
        with pytest.raises(BackupFailed, match="No space left"):
            fill_disk(chunks)


def fill_disk(chunks: int) -> None:
    """Seal so many times 100 kB that cannot be compressed."""
    with Sealer(Full(), [RECIPIENT]) as sealer:
        for _ in range(chunks):
            sealer.write(os.urandom(100_000))
        sealer.finish(MANIFEST)


def test_memory_is_bounded() -> None:
    """300 MB pass through with less than 12 MB of memory, both ways."""
    target = io.BytesIO()
    chunk = os.urandom(1_000) * 1_000
    tracemalloc.start()
    with Sealer(target, [RECIPIENT]) as sealer:
        for _ in range(300):
            sealer.write(chunk)
        sealer.finish(MANIFEST)
    target.seek(0)
    total = 0
    with opened(target, [IDENTITY]) as content:
        while part := content.read(65_536):
            total += len(part)
        assert content.manifest() == MANIFEST
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 300_000_000
    assert peak < 12_000_000


@pytest.mark.skipif(
    not (os.environ.get("CI") or (shutil.which("age") and shutil.which("zstd"))), reason="needs age and zstd"
)
def test_the_public_tools_open_it_too(tmp_path: Path) -> None:
    """age and zstd give the content alone: a backup can be read without this program."""
    (tmp_path / "key").write_text(f"{IDENTITY}\n")
    decrypted = subprocess.run(
        ["age", "-d", "-i", str(tmp_path / "key")], input=seal(), capture_output=True, check=True
    )
    content = subprocess.run(["zstd", "-d"], input=decrypted.stdout, capture_output=True, check=True)
    assert content.stdout == CONTENT
