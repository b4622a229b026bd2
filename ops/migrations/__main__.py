"""`./doit migrate`: the database's collections, indexes, validators and first entries; one file a change."""

import argparse
import sys
from pathlib import Path

from mongomig import MongoMigError
from mongomig.errors import MigrationExecutionError
from pymongo.errors import PyMongoError

from getsmart import config
from getsmart.errors import Misconfigured
from ops import settings
from ops.migrations import colours, files, plan, running
from ops.migrations.files import CONTRACT, EXPAND, PHASES
from ops.migrations.history import Narrator
from ops.migrations.running import Reach, Runner

_GOES_ON = "the same command goes on where it stopped: docs/runbooks/migration-failed.md"


def main(arguments: list[str], root: Path = files.ROOT) -> int:
    """Exit 0, or 1 with clear lines on standard error."""
    options = _options(arguments)
    settings.use(options.env, user=settings.MIGRATIONS)
    try:
        if options.command == "new":
            print(files.new(options.message, options.phase, root))
            return 0
        there = config.read(config.DatabaseSettings)
        if options.command in {"up", "down"}:
            settings.say()
        with running.opened(there.uri, there.name, root=root, narrator=Narrator()) as runner:
            _COMMANDS[options.command](runner, options)
    except (MongoMigError, Misconfigured) as error:
        for line in str(error).splitlines():
            print(f"migrate: {line}", file=sys.stderr)
        if isinstance(error, MigrationExecutionError):
            print(f"migrate: {_GOES_ON}", file=sys.stderr)
        return 1
    except PyMongoError as error:
        print(f"migrate: the database does not answer: {type(error).__name__}; repeat the command", file=sys.stderr)
        return 1
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./doit migrate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="what is applied and what is pending; what each colour was made for")
    commands.add_parser("history", help="who applied or undid what, when, and how long it took")
    up = commands.add_parser("up", help="apply what is pending, up to the first that contracts")
    up.add_argument("--contract", action="store_true", help="those that contract too, if no older code serves")
    down = commands.add_parser("down", help="undo the newest, or all that are newer than REVISION")
    down.add_argument("revision", nargs="?")
    down.add_argument("--force", action="store_true", help="even if code that serves needs it")
    for command in (up, down):
        command.add_argument("--dry-run", action="store_true", help="only say what would be done")
    new = commands.add_parser("new", help="write an empty migration")
    new.add_argument("message", help="what it does")
    new.add_argument("--phase", choices=PHASES, default=EXPAND, help="whether it adds or takes away")
    for command in commands.choices.values():
        settings.option(command)
    return parser.parse_args(arguments)


def _status(runner: Runner, _: argparse.Namespace) -> None:
    for revision, phase, message, state in runner.status():
        print(f"{revision}  {state:8}  {phase:8}  {message}")
    for line in colours.lines(runner.database):
        print(line)


def _history(runner: Runner, _: argparse.Namespace) -> None:
    for run in runner.runs():
        print(run)


def _up(runner: Runner, options: argparse.Namespace) -> None:
    reach: Reach = CONTRACT if options.contract else EXPAND
    chosen, waiting = runner.reached(reach)
    if options.dry_run:
        for line in plan.lines(runner.would_apply(chosen)):
            print(line)
        print(f"{len(chosen)} would be applied")
        runner.check_contracts(chosen)
    else:
        print(f"{len(runner.up(reach))} applied")
    if waiting:
        print(f"{waiting[0].revision} contracts: it and what follows wait for ./doit migrate up --contract")


def _down(runner: Runner, options: argparse.Namespace) -> None:
    if options.dry_run:
        analyses = runner.would_undo(options.revision)
        for line in plan.lines(analyses):
            print(line)
        print(f"{len(analyses)} would be undone")
        if not options.force:
            runner.check_undoing([one.script for one in analyses])
    else:
        print(f"{len(runner.down(options.revision, is_forced=options.force))} undone")


_COMMANDS = {"status": _status, "history": _history, "up": _up, "down": _down}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
