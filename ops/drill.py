"""`./doit drill`: restore the newest backup beside the live database, prove it, tell what a disaster would cost.

The copy gets a name of its own, is verified and reconciled with the chain as the real thing would be, and is dropped,
also when the drill is told to end; one that was killed leaves it, and the first drill a day later drops it.
Exit 0 when all of it worked within the objectives of docs/runbooks/disaster-recovery.md.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from rich.console import Console
from rich.table import Table

from getsmart import clock, config
from getsmart.errors import Misconfigured
from ops import restore, settings
from ops.backup.errors import BackupFailed
from ops.backup.objectives import RECOVERY_POINT, RECOVERY_TIME
from ops.backup.restoring import Target
from ops.backup.server import drop

# What has to be proven, and the exit codes that are a proof: reconciliation finds what the chain has done since, which
# is what 1 says; 2 is that it could not tell.
_PROOFS = {"verified": ("ops.verify", {0}), "reconciled": ("ops.reconcile", {0, 1})}
_MOST_SECONDS = 3_600
_FORGOTTEN = timedelta(days=1)


@dataclass
class Drill:
    """How it went: seconds of each step, what the programs said, and whether each of them proved something."""

    file: str
    point: datetime
    began_at: datetime
    seconds: dict[str, float] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @property
    def loss(self) -> timedelta:
        """What was written since the backup's moment, were the database lost at the drill's beginning."""
        return self.began_at - self.point

    @property
    def duration(self) -> timedelta:
        """From the decision to restore to books that agree with the chain."""
        return timedelta(seconds=sum(self.seconds.values()))

    @property
    def is_passed(self) -> bool:
        """Whether everything was proven within the objectives."""
        return not self.failed and self.loss <= RECOVERY_POINT and self.duration <= RECOVERY_TIME


def main(arguments: list[str]) -> int:
    """Exit 0 when the drill passed, 1 when it did not or could not be held, with one clear line."""
    parser = argparse.ArgumentParser(prog="./doit drill", description=__doc__)
    parser.add_argument("--from", dest="place", help="a folder or s3://bucket/prefix; without it BACKUP_PLACE")
    parser.add_argument("--identity", type=Path, help="the file of the key; without it BACKUP_IDENTITY")
    settings.option(parser)
    parser.add_argument("--server", metavar="URI", help="another server for the copy; without it MONGODB_URI's")
    options = parser.parse_args(arguments)
    settings.use(options.env)
    try:
        drill = hold(options.place, options.identity, options.server)
    except (BackupFailed, Misconfigured, PyMongoError, OSError) as error:
        print(f"drill: {error}", file=sys.stderr)
        return 1
    tell(drill, Console())
    return 0 if drill.is_passed else 1


def hold(place: str | None, identity: Path | None, server: str | None) -> Drill:
    """Restore, verify, reconcile, drop. Raises BackupFailed when there is nothing to restore or it does not work."""
    vault, name = restore.find(restore.NEWEST, place)
    identities = restore.read_identities(identity)
    began = clock.now()
    there = config.read(config.DatabaseSettings)
    uri, copy = server or there.uri, f"{there.name}_drill_{began:%Y%m%d%H%M%S}"
    seconds: dict[str, float] = {}
    _drop_forgotten(uri, there.name, began)
    with _dropped(uri, copy):
        with _timed(seconds, "restored"):
            manifest = restore.put(vault, name, identities, Target(uri, copy)).manifest
        drill = Drill(name, manifest.point, began, seconds)
        for step, (module, proofs) in _PROOFS.items():
            with _timed(seconds, step):
                done = _run(module, {"MONGODB_URI": uri, "MONGODB_DATABASE": copy})
            drill.said[step] = (done.stdout + done.stderr).strip()
            if done.returncode not in proofs:
                drill.failed.append(step)
    return drill


def _drop_forgotten(uri: str, name: str, now: datetime) -> None:
    """Copies of drills that were killed more than a day ago; where the user may not list databases, none is seen."""
    with MongoClient[dict[str, Any]](uri) as client, suppress(OperationFailure):
        for found in client.list_database_names():
            moment = re.fullmatch(rf"{re.escape(name)}_drill_(\d{{14}})", found)
            if moment and now - datetime.strptime(f"{moment[1]}+0000", "%Y%m%d%H%M%S%z") > _FORGOTTEN:
                drop(client[found], client[found].list_collection_names())
                client.drop_database(found)
                print(f"drill: {found}, left by a drill that was killed, is dropped", file=sys.stderr)


@contextmanager
def _dropped(uri: str, name: str) -> Iterator[None]:
    """Whatever happens, no copy of personal data is left."""
    try:
        yield
    finally:
        with MongoClient[dict[str, Any]](uri) as client:
            drop(client[name], client[name].list_collection_names())
            client.drop_database(name)


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    began = clock.monotonic()
    yield
    seconds[step] = clock.monotonic() - began


def _run(module: str, where: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """The program that an operator would type, on the copy."""
    command = [sys.executable, "-m", module, "--quiet"]
    return subprocess.run(
        command, env={**os.environ, **where}, capture_output=True, text=True, check=False, timeout=_MOST_SECONDS
    )


def tell(drill: Drill, console: Console) -> None:
    """Print what was done and what it means."""
    for step, said in drill.said.items():
        console.print(f"[bold]{step}{' NOT' if step in drill.failed else ''}[/bold]", said, soft_wrap=True)
    table = Table(title=f"{drill.file}, as of {clock.to_wire(drill.point)}")
    for column in ("", "achieved", "objective", ""):
        table.add_column(column)
    for step, took in drill.seconds.items():
        table.add_row(step, f"{took:.1f} s", "", "failed" if step in drill.failed else "done")
    for what, achieved, objective in (
        ("recovery time", drill.duration, RECOVERY_TIME),
        ("data loss", drill.loss, RECOVERY_POINT),
    ):
        verdict = "within" if achieved <= objective else "MISSED"
        table.add_row(what, f"{achieved.total_seconds():.1f} s", f"{objective.total_seconds():.0f} s", verdict)
    console.print(table)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # an end that cleans up, unlike its own
    sys.exit(main(sys.argv[1:]))
