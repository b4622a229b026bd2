"""The sandbox's one database: a SQLite file in which an effect and its reply become durable together."""

import fcntl
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

FILE_NAME = "sandbox.sqlite3"
Row = sqlite3.Row
Value = str | int | bytes | None

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY, tx_hash BLOB, sender TEXT NOT NULL, target TEXT, data BLOB NOT NULL,
    at_ms INTEGER NOT NULL, refusal TEXT NOT NULL, branch INTEGER NOT NULL, orphaned INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS wallets (identity TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS currencies (
    address TEXT PRIMARY KEY, name TEXT NOT NULL, symbol TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS transactions (
    seq INTEGER PRIMARY KEY, transaction_id TEXT NOT NULL UNIQUE, tx_hash BLOB NOT NULL, sender TEXT NOT NULL,
    target TEXT, data BLOB NOT NULL, state TEXT NOT NULL, due_ms INTEGER, fate TEXT NOT NULL,
    failure TEXT NOT NULL DEFAULT '', events TEXT NOT NULL DEFAULT '[]', orphan_at_ms INTEGER);
CREATE INDEX IF NOT EXISTS due_transactions ON transactions (due_ms) WHERE state = 'QUEUED';
CREATE INDEX IF NOT EXISTS orphans_to_be ON transactions (orphan_at_ms) WHERE orphan_at_ms IS NOT NULL;
CREATE TABLE IF NOT EXISTS consents (
    token TEXT PRIMARY KEY, sender TEXT NOT NULL, target TEXT NOT NULL, data BLOB NOT NULL, fate TEXT NOT NULL,
    expires_ms INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pending_consents ON consents (expires_ms) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS replies (
    api_key TEXT NOT NULL, path TEXT NOT NULL, idempotency_key TEXT NOT NULL, body_hash BLOB NOT NULL,
    reply BLOB NOT NULL, PRIMARY KEY (api_key, path, idempotency_key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS faults (
    seq INTEGER PRIMARY KEY, path TEXT NOT NULL, kind TEXT NOT NULL, remaining INTEGER NOT NULL, options TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (
    seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, path TEXT NOT NULL, idempotency_key TEXT,
    replayed INTEGER NOT NULL, http_status INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL, type TEXT NOT NULL, transaction_id TEXT, payload TEXT NOT NULL,
    kind TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_ms INTEGER NOT NULL, state TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS due_events ON outbox (next_ms) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL, type TEXT NOT NULL, transaction_id TEXT, kind TEXT NOT NULL,
    http_status INTEGER, at_ms INTEGER NOT NULL);
"""


def _lock(path: Path) -> TextIOWrapper:
    """Two sandboxes on one folder would each mine blocks of their own; the lock ends with the process."""
    guard = path.open("w")
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        guard.close()
        raise OSError(f"{path.parent} is in use by another sandbox") from error
    return guard


class Store:
    """One connection, used under the world's lock; a commit has reached the disk when it returns."""

    def __init__(self, folder: Path) -> None:
        """Open or create the database in `folder`. Raises OSError when it cannot be used or is in use."""
        folder.mkdir(parents=True, exist_ok=True)
        self._guard = _lock(folder / "lock")
        self._db = sqlite3.connect(folder / FILE_NAME, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._deferred: list[tuple[str, Sequence[Value]]] = []
        self.run("PRAGMA journal_mode = WAL")
        self.run("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file; what was deferred is written first."""
        with self.transaction(flush=True):
            pass
        self._db.close()
        self._guard.close()

    @contextmanager
    def transaction(self, *, flush: bool = False) -> Iterator[None]:
        """Everything inside is written together or not at all. Without a write it costs no disk access.

        What was deferred goes along with a write; `flush` writes it in any case, and before anything else.
        """
        self.run("BEGIN")
        before, deferred = self._db.total_changes, []
        try:
            if flush:
                deferred = self._write_deferred()
            yield
            if self._db.total_changes != before:
                deferred += self._write_deferred()
            self.run("COMMIT")
        except BaseException:
            self.run("ROLLBACK")
            self._deferred = deferred + self._deferred
            raise

    def _write_deferred(self) -> list[tuple[str, Sequence[Value]]]:
        """The statements, in case they are rolled back."""
        deferred, self._deferred = self._deferred, []
        for statement, values in deferred:
            self.run(statement, *values)
        return deferred

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Inside a transaction: what is in here is undone when it raises, the rest of the transaction is not."""
        self.run("SAVEPOINT inner_step")
        try:
            yield
        except BaseException:
            self.run("ROLLBACK TO inner_step")
            raise
        finally:
            self.run("RELEASE inner_step")

    def defer(self, statement: str, *values: Value) -> None:
        """Write this with a later transaction: for records whose loss in a crash harms nothing."""
        self._deferred.append((statement, values))

    def run(self, statement: str, *values: Value) -> int:
        """Execute one statement and return how many rows it changed."""
        return self._db.execute(statement, values).rowcount

    def rows(self, query: str, *values: Value) -> list[Row]:
        """All rows of a query."""
        return self._db.execute(query, values).fetchall()

    def row(self, query: str, *values: Value) -> Row | None:
        """The first row, if any."""
        found: Row | None = self._db.execute(query, values).fetchone()
        return found

    def setting(self, name: str, default: Any = None) -> Any:
        """A value that outlives the process, or `default`."""
        found = self.row("SELECT value FROM settings WHERE name = ?", name)
        return default if found is None else json.loads(found["value"])

    def set_setting(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name."""
        self.run("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, json.dumps(value))
