"""Apply and undo migrations by mongomig, one runner at a time; what a run would do; what is applied."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from mongomig.config.models import LoadedConfig
from mongomig.database.client import open_database
from mongomig.migrations.executor import Executor, MigrationAnalysis, StepResult, plan_downgrade
from mongomig.migrations.graph import build_graph
from mongomig.migrations.reporting import Reporter
from mongomig.migrations.script import Script
from pymongo.database import Database

from ops.migrations import colours, files, history
from ops.migrations.files import CONTRACT, EXPAND, Phase
from ops.migrations.lock import Lock

_LOCK_SECONDS = 75.0
"""How long another runner is waited for: longer than a killed one's lock lives (mongomig.yaml)."""
Reach = Literal["all", "expand", "contract"]
"""`all`: where nobody serves. `expand`: up to the first contract. `contract`: all, if who serves can do without."""


@dataclass(frozen=True)
class Runner:
    """A database and the files that are for it."""

    database: Database[dict[str, Any]]
    executor: Executor
    config: LoadedConfig

    def pending(self) -> list[Script]:
        """What is not applied, in its order. Raises ScriptError for a file without a phase."""
        return [self.executor.graph.scripts[name] for name in self.executor.state().pending]

    def reached(self, reach: Reach) -> tuple[list[Script], list[Script]]:
        """What of it a run applies, and what waits behind the first contract. A database nobody serves gets all."""
        pending = self.pending()
        phases = [files.phase(script) for script in pending]
        if reach != EXPAND or CONTRACT not in phases or not colours.is_served(self.database):
            return pending, []
        first = phases.index(CONTRACT)
        return pending[:first], pending[first:]

    def undone(self, target: str | None) -> list[Script]:
        """What an undoing down to `target` takes back, the newest first."""
        return plan_downgrade(self.executor.graph, self.executor.state().applied, target)

    def up(self, reach: Reach) -> list[StepResult]:
        """Apply. A contract raises first what code has to be made for; that is checked in all but a new database."""
        chosen, _ = self.reached(reach)
        is_checked = reach != "all" and colours.is_served(self.database)
        steps: list[StepResult] = []
        for phase, scripts in groupby(chosen, key=files.phase):
            for script in _ends(phase, list(scripts)):
                if phase == CONTRACT:
                    colours.raise_lowest(self.database, files.number(script.revision), is_checked=is_checked)
                confirm = (lambda *_: True) if phase == CONTRACT else None  # mongomig refuses an expand that deletes
                done = self.executor.upgrade(script.revision, lock_timeout=_LOCK_SECONDS, confirm=confirm)
                steps += done.steps
        return steps

    def down(self, target: str | None, *, is_forced: bool) -> list[StepResult]:
        """Undo one, or all down to `target` (a revision, or `base`)."""
        if not is_forced:
            self.check_undoing(self.undone(target))
        done = self.executor.downgrade(target, lock_timeout=_LOCK_SECONDS)
        applied = [self.executor.graph.scripts[name] for name in self.executor.state().applied]
        contracts = [files.number(one.revision) for one in applied if files.phase(one) == CONTRACT]
        colours.set_lowest(self.database, max(contracts, default=None))
        return done.steps

    def check_undoing(self, scripts: Sequence[Script]) -> None:
        """Raises Refused when code that serves needs one of them."""
        expanding = [files.number(one.revision) for one in scripts if files.phase(one) == EXPAND]
        colours.check_undoing(self.database, expanding)

    def would_apply(self, scripts: Sequence[Script]) -> list[MigrationAnalysis]:
        """What each would do, by mongomig's dry run: it writes nothing, and takes no lock."""
        return self.executor.analyze("upgrade", scripts[-1].revision) if scripts else []

    def would_undo(self, target: str | None) -> list[MigrationAnalysis]:
        """The same for an undoing."""
        return self.executor.analyze("downgrade", target)

    def check_contracts(self, scripts: Sequence[Script]) -> None:
        """Raises Refused when code that serves needs what one of them takes away."""
        contracts = [files.number(one.revision) for one in scripts if files.phase(one) == CONTRACT]
        if contracts and colours.is_served(self.database):
            colours.check_contract(self.database, contracts[0])

    def status(self) -> list[tuple[str, Phase, str, str]]:
        """(revision, phase, what it does, applied | pending | failed) for each migration, oldest first."""
        state, scripts = self.executor.state(), self.executor.graph.scripts
        return [
            (
                name,
                files.phase(scripts[name]),
                scripts[name].message,
                "failed" if name in state.failed else "pending" if name in state.pending else "applied",
            )
            for name in sorted(scripts)
        ]

    def runs(self) -> list[history.Run]:
        """Every run there was."""
        return history.read(self.database, self.executor.tracker, self.config.settings.migrations.lock_collection)


def _ends(phase: Phase, scripts: list[Script]) -> list[Script]:
    """Where a call of mongomig's ends: expansions go in one, under one lock; each contract is one of its own."""
    return scripts if phase == CONTRACT else scripts[-1:]


@contextmanager
def opened(uri: str, database: str, *, root: Path = files.ROOT, narrator: Reporter | None = None) -> Iterator[Runner]:
    """A runner for a database. Raises MongoMigError."""
    loaded = files.settings(uri, database, root)
    with open_database(loaded) as db:
        recorder = history.Recorder(db, narrator or Reporter())
        executor = Executor(loaded, build_graph(loaded.versions_dir), db, reporter=recorder)
        seconds = loaded.settings.execution.lock_ttl_seconds
        executor.lock = Lock(db, loaded.settings.migrations.lock_collection, ttl_seconds=seconds)
        yield Runner(db, executor, loaded)


def up(uri: str, database: str) -> list[StepResult]:
    """Apply everything, where nobody serves: a system that starts, a test. Raises MongoMigError."""
    with opened(uri, database) as runner:
        return runner.up("all")


def down(uri: str, database: str, target: str | None) -> list[StepResult]:
    """Undo one migration, or all down to `target` (a revision, or `base`). Raises MongoMigError."""
    with opened(uri, database) as runner:
        return runner.down(target, is_forced=True)


def status(uri: str, database: str) -> list[tuple[str, Phase, str, str]]:
    """What `Runner.status` says. Raises MongoMigError."""
    with opened(uri, database) as runner:
        return runner.status()
