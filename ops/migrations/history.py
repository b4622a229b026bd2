"""Who applied or undid what, when, and how long it took: mongomig tracks what is applied, this keeps every run."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId
from mongomig.database.redact import redact_text
from mongomig.migrations.executor import error_text
from mongomig.migrations.lock import LOCK_DOC_ID
from mongomig.migrations.reporting import Direction, Reporter
from mongomig.migrations.script import Script
from mongomig.migrations.tracker import MigrationTracker
from pymongo.database import Database

from getsmart import clock
from ops.who import who

COLLECTION = "migrations_history"
WORDS = {"upgrade": "up", "downgrade": "down"}
_SPEAK_EVERY_SECONDS = 2.0
Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One migration, once applied or undone."""

    at: datetime
    revision: str
    direction: str
    """`up` or `down`."""
    outcome: str
    """`done`, `running`, `cut short`, or `failed: ...`."""
    by: str
    duration_ms: int | None

    def __str__(self) -> str:
        """One line."""
        took = "" if self.duration_ms is None else f"{self.duration_ms} ms"
        return f"{clock.to_wire(self.at)}  {self.direction:4}  {self.revision}  {took:>9}  {self.by}  {self.outcome}"


class Narrator(Reporter):
    """Says what happens, a line each, on standard output."""

    def __init__(self) -> None:
        self._spoke_at = time.monotonic()

    def migration_finished(self, script: Script, direction: Direction, duration_ms: int) -> None:  # noqa: D102
        print(f"{direction} {script.revision} {script.message.split(':')[0]} ({duration_ms} ms)", flush=True)

    def warn(self, message: str) -> None:  # noqa: D102
        print(f"warning: {message}", flush=True)

    def progress(self, task: str, done: int, total: int | None) -> None:  # noqa: D102
        if time.monotonic() - self._spoke_at >= _SPEAK_EVERY_SECONDS:
            self._spoke_at = time.monotonic()
            print(f"  {task}: {done:,} of {total or 0:,}", flush=True)


class Recorder(Reporter):
    """Writes each run down before it begins and after it has ended, and passes all on to who narrates."""

    def __init__(self, database: Database[Row], narrator: Reporter) -> None:
        self._rows = database[COLLECTION]
        self._narrator = narrator
        self._open: ObjectId | None = None

    def migration_started(self, script: Script, direction: Direction) -> None:  # noqa: D102
        row = {"revision": script.revision, "direction": WORDS[direction], "outcome": "running", "by": who()}
        self._open = self._rows.insert_one({**row, "at": clock.now()}).inserted_id
        self._narrator.migration_started(script, direction)

    def migration_finished(self, script: Script, direction: Direction, duration_ms: int) -> None:  # noqa: D102
        self._end({"outcome": "done", "duration_ms": duration_ms})
        self._narrator.migration_finished(script, direction, duration_ms)

    def migration_failed(self, script: Script, direction: Direction, error: BaseException) -> None:  # noqa: D102
        if isinstance(error, Exception):
            self._end({"outcome": f"failed: {redact_text(error_text(error))[:200]}"})
        self._narrator.migration_failed(script, direction, error)

    def warn(self, message: str) -> None:  # noqa: D102
        self._narrator.warn(message)

    def progress(self, task: str, done: int, total: int | None) -> None:  # noqa: D102
        self._narrator.progress(task, done, total)

    def _end(self, facts: Row) -> None:
        self._rows.update_one({"_id": self._open}, {"$set": facts})


def read(database: Database[Row], tracker: MigrationTracker, lock_collection: str) -> list[Run]:
    """Every run, the oldest first; what was applied before runs were kept is taken from what mongomig tracks."""
    tracked = {record.revision: record for record in tracker.records() if record.applied_at is not None}
    rows = list(database[COLLECTION].find({}, sort=[("at", 1), ("_id", 1)]))
    holder = database[lock_collection].find_one({"_id": LOCK_DOC_ID, "expires_at": {"$gt": clock.now()}})
    runs = []
    for row in rows:
        outcome, took, record = row["outcome"], row.get("duration_ms"), tracked.get(row["revision"])
        if outcome == "running" and holder is None:
            # Killed between the last step and this line: mongomig knows better.
            is_done = row["direction"] == "up" and record and record.status == "applied" and row is _last_up(rows, row)
            outcome, took = ("done", record.execution_time_ms) if is_done and record else ("cut short", None)
        runs.append(Run(row["at"], row["revision"], row["direction"], outcome, row["by"], took))
    known = {row["revision"] for row in rows}
    for record in tracked.values():
        if record.revision not in known and record.applied_at is not None:
            by = str((database[tracker.collection_name].find_one({"_id": record.revision}) or {})["meta"].get("user"))
            outcome = "done" if record.status == "applied" else record.status
            runs.append(Run(record.applied_at, record.revision, "up", outcome, by, record.execution_time_ms))
    return sorted(runs, key=lambda run: run.at)


def _last_up(rows: list[Row], of: Row) -> Row:
    return [row for row in rows if (row["revision"], row["direction"]) == (of["revision"], "up")][-1]
