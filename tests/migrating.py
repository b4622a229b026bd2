"""Migrations under a test's hand: projects with files of the test's own, pictures of a database, runners that die.

`python -m tests.migrating ROOT N HOW words...` is `./doit migrate words...` with the files of ROOT. Before its Nth
message to the database it ends as by a power cut (HOW is `kill`) or freezes (`stop`); with N = 0 it counts them.
"""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient, monitoring
from pymongo.database import Database

from ops.functions import ROOT
from ops.migrations import files, running
from ops.migrations.__main__ import main
from ops.migrations.running import Runner
from tests.support import unique

Row = dict[str, Any]
Raw = Database[Row]
LOCK_SECONDS = 2
REAL = sorted(path.name[:4] for path in (ROOT / "migrations/versions").glob("[0-9]*.py"))
NEWEST = int(REAL[-1])
NEXT, AFTER = f"{NEWEST + 1:04d}", f"{NEWEST + 2:04d}"

# A pair as docs/migrations.md shows it: a field that lists are found by, then the end of the one it was made of.
HEAD = '''"""{message}"""

revision = "{revision}"
down_revision = "{before}"
reversible = True
phase = "{phase}"


'''
EXPANDING = '''def upgrade(ctx):
    """Add the index, then the field where it is not there yet, in batches."""
    ctx.ops.create_index("wallets", [("address_lower", 1)], name="address_lower", sparse=True)
    ctx.ops.backfill(
        "wallets",
        {"address_lower": {"$exists": False}, "address": {"$type": "string"}},
        [{"$set": {"address_lower": {"$toLower": "$address"}}}],
        batch_size=50,
    )


def downgrade(ctx):
    """As before."""
    ctx.ops.drop_index("wallets", "address_lower")
    ctx.ops.unset_field("wallets", "address_lower", batch_size=50)
'''
CONTRACTING = '''def upgrade(ctx):
    """Nobody reads it any more; what was in it is kept beside until the next one."""
    ctx.ops.unset_field("wallets", "nickname", batch_size=50, backup=True)


def downgrade(ctx):
    """Give it back."""
    ctx.ops.restore_field("wallets", "nickname", batch_size=50)
'''


def file(revision: str, phase: str, body: str, message: str = "Something") -> str:
    """A migration after the one before."""
    before = f"{int(revision) - 1:04d}"
    return HEAD.format(revision=revision, before=before, phase=phase, message=message) + body


PAIR = {
    f"{NEXT}_address_lower.py": file(NEXT, "expand", EXPANDING, "Wallets: an address in lower case"),
    f"{AFTER}_no_nickname.py": file(AFTER, "contract", CONTRACTING, "Wallets: no nickname"),
}


def project(folder: Path, more: Mapping[str, str] = PAIR) -> Path:
    """A root with the real migrations and these, whose lock outlives a runner by a moment only."""
    versions = folder / "migrations" / "versions"
    shutil.copytree(ROOT / "migrations/versions", versions, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in more.items():
        (versions / name).write_text(text)
    settings = (ROOT / "mongomig.yaml").read_text()
    (folder / "mongomig.yaml").write_text(_with(settings, "lock_ttl_seconds: ", str(LOCK_SECONDS)))
    code = folder / files.CODE
    code.parent.mkdir(parents=True)
    code.write_text((ROOT / files.CODE).read_text())
    return folder


def _with(text: str, key: str, value: str) -> str:
    before, _, after = text.partition(key)
    assert after
    return before + key + value + "\n" + after.partition("\n")[2]


@contextmanager
def scratch(uri: str) -> Iterator[Raw]:
    """An empty database on the server, gone afterwards."""
    with MongoClient[Row](uri, tz_aware=True) as client:
        name = unique("migrations")
        yield client[name]
        client.drop_database(name)


@contextmanager
def runner(raw: Raw, uri: str, root: Path = ROOT) -> Iterator[Runner]:
    """For a database, with the files of a root."""
    with running.opened(uri, raw.name, root=root) as made:
        yield made


def advance(raw: Raw, uri: str, revision: int, root: Path = ROOT) -> None:
    """Apply up to a revision."""
    with runner(raw, uri, root) as here:
        here.executor.upgrade(f"{revision:04d}")


def picture(raw: Raw, *, is_whole: bool = False) -> dict[str, Any]:
    """Every collection's documents, indexes and options; those of the migrations themselves only when asked for."""
    shown = {}
    for entry in raw.list_collections():
        name = entry["name"]
        if is_whole or not name.startswith("migrations"):
            documents = sorted(raw[name].find({}), key=lambda row: repr(row["_id"]))
            indexes = sorted(map(repr, (sorted(one.items(), key=repr) for one in raw[name].list_indexes())))
            shown[name] = {"documents": documents, "indexes": indexes, "options": entry.get("options", {})}
    return shown


def documents(raw: Raw) -> dict[str, list[Row]]:
    """The documents alone, of collections that have any."""
    return {name: shown["documents"] for name, shown in picture(raw).items() if shown["documents"]}


class Deadly(monitoring.CommandListener):
    """Ends or stops the process before its Nth message to the database; the lock's heartbeat does not count."""

    def __init__(self, nth: int, how: str = "kill") -> None:
        self._left = nth
        self._signal = signal.SIGSTOP if how == "stop" else signal.SIGKILL

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._signal)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


class Counter(Deadly):
    """Counts them."""

    def __init__(self) -> None:
        super().__init__(-1)

    @property
    def count(self) -> int:
        """How many there were."""
        return -1 - self._left


if __name__ == "__main__":
    root, nth, how, words = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    counter = Deadly(nth, how) if nth else Counter()
    monitoring.register(counter)
    code = main(words, root)
    if isinstance(counter, Counter):
        print(f"{counter.count} messages")  # noqa: T201
    sys.exit(code)
