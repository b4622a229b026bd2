"""Schema migrations: a thin command over mongomig (lock, history, resume); one file a change in migrations/."""

import argparse
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from dotenv import load_dotenv
from mongomig import MongoMigError
from mongomig.config.loader import load_config
from mongomig.config.models import LoadedConfig
from mongomig.database.client import open_database
from mongomig.migrations.executor import Executor, RunResult
from mongomig.migrations.graph import RevisionGraph, build_graph
from mongomig.migrations.reporting import Reporter
from mongomig.migrations.revision import render_revision, slugify
from mongomig.migrations.script import Script
from mongomig.migrations.tracker import MigrationTracker, compute_state

from getsmart import config
from getsmart.errors import Misconfigured

_ROOT = Path(__file__).resolve().parent.parent
_LOCK_SECONDS = 60.0


class Narrator(Reporter):
    """Says what happens, a line each, on standard output."""

    def migration_finished(self, script: Script, direction: str, duration_ms: int) -> None:  # noqa: D102
        print(f"{direction} {script.revision} {script.message.split(':')[0]} ({duration_ms} ms)")

    def warn(self, message: str) -> None:  # noqa: D102
        print(f"warning: {message}")


def _load(uri: str, database: str) -> LoadedConfig:
    env: Mapping[str, str] = {"MONGODB_URI": uri, "MONGODB_DATABASE": database}
    return load_config(_ROOT / "mongomig.yaml", env=env)


def up(uri: str, database: str, *, reporter: Reporter | None = None) -> RunResult:
    """Apply what is pending, waiting up to a minute for another runner. Raises MongoMigError."""
    loaded = _load(uri, database)
    with open_database(loaded) as db:
        executor = Executor(loaded, build_graph(loaded.versions_dir), db, reporter=reporter or Reporter())
        return executor.upgrade("head", lock_timeout=_LOCK_SECONDS)


def down(uri: str, database: str, target: str | None, *, reporter: Reporter | None = None) -> RunResult:
    """Undo one migration, or all down to `target` (a revision, or `base`). Raises MongoMigError."""
    loaded = _load(uri, database)
    with open_database(loaded) as db:
        executor = Executor(loaded, build_graph(loaded.versions_dir), db, reporter=reporter or Reporter())
        return executor.downgrade(target, lock_timeout=_LOCK_SECONDS)


def status(uri: str, database: str) -> list[tuple[str, str, str]]:
    """(revision, what it does, applied | pending | failed) for each migration, oldest first."""
    loaded = _load(uri, database)
    graph = build_graph(loaded.versions_dir)
    with open_database(loaded) as db:
        records = MigrationTracker(db, loaded.settings.migrations.tracking_collection).records()
    state = compute_state(graph, records)
    return [
        (
            name,
            graph.scripts[name].message,
            "failed" if name in state.failed else "pending" if name in state.pending else "applied",
        )
        for name in sorted(graph.scripts)
    ]


def new(message: str, root: Path = _ROOT) -> Path:
    """Write an empty migration file with the next number; returns its path."""
    versions = root / "migrations" / "versions"
    graph: RevisionGraph = build_graph(versions)
    last = max(graph.scripts)
    revision = f"{int(last) + 1:04d}"
    path = versions / f"{revision}_{slugify(message)}.py"
    text = render_revision(
        rev_id=revision, message=message, down_revision=last, snapshot_hash=None, created=datetime.now(UTC)
    )
    path.write_text(text)
    return path


def main(arguments: list[str]) -> int:
    """`status`, `up`, `down [revision]`, `new "what it does"`; exit 0, or 1 with one clear line."""
    parser = argparse.ArgumentParser(prog="./doit migrate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="what is applied, and what is pending")
    commands.add_parser("up", help="apply what is pending")
    commands.add_parser("down", help="undo the newest").add_argument("revision", nargs="?")
    commands.add_parser("new", help="write an empty migration").add_argument("message")
    for command in commands.choices.values():
        command.add_argument("--env", type=Path, metavar="FILE", help="settings that count before the process's own")
    options = parser.parse_args(arguments)
    if options.env:
        load_dotenv(options.env, override=True)
    try:
        if options.command == "new":
            print(new(options.message))
            return 0
        return _run(options)
    except (MongoMigError, Misconfigured) as error:
        print(f"migrate: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    settings = config.read(config.DatabaseSettings)
    if options.command == "status":
        for revision, message, state in status(settings.uri, settings.name):
            print(f"{revision}  {state:8}  {message}")
    elif options.command == "up":
        done = up(settings.uri, settings.name, reporter=Narrator())
        print(f"{len(done.steps)} applied")
    else:
        done = down(settings.uri, settings.name, options.revision, reporter=Narrator())
        print(f"{len(done.steps)} undone")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
