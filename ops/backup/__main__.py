"""`./doit backup`: one backup, or one each so often; old ones go by the retention asked for."""

import argparse
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from getsmart import clock, config
from getsmart.errors import Misconfigured
from ops import settings
from ops.backup import sealed
from ops.backup.errors import BackupFailed
from ops.backup.kept import Kept, judge, of_database, refuse_collapsed
from ops.backup.making import Order, make
from ops.backup.manifest import Receipt
from ops.backup.objectives import RECOVERY_POINT
from ops.backup.progress import bar
from ops.backup.retention import Keep, superfluous
from ops.backup.source import refuse_unless_whole
from ops.backup.vault import Vault

KEEP = (
    "24/48/14/8"  # two hours of one each 5 minutes, two days by the hour, two weeks by the day, two months by the week
)
_SPAN = re.compile(r"(\d+)(s|m|h)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_LAST = "backup"  # in the controls: what was backed up last


def main(arguments: list[str]) -> int:
    """Exit 0, or 1 with one clear line; with --every it goes on until it is told to end."""
    options = _parser().parse_args(arguments)
    settings.use(options.env, user=settings.BACKUP)
    try:
        if options.new_identity:
            return _new_identity(options.new_identity)
        found = config.read(config.BackupSettings)
        vault = Vault(options.out or found.place)
        if options.list:
            _list(vault)
            return 0
        if options.every is None:
            _once(found, vault, options)
            return 0
        return _for_ever(found, vault, options)
    except (BackupFailed, Misconfigured, PyMongoError, OSError) as error:
        print(f"backup: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./doit backup", description=__doc__)
    parser.add_argument("--out", help="a folder, or s3://bucket/prefix; without it BACKUP_PLACE")
    parser.add_argument("--keep", type=Keep.parse, default=KEEP, help=f"newest/hours/days/weeks that stay ({KEEP})")
    parser.add_argument("--every", type=_span, help="go on, with one each so often: 5m")
    settings.option(parser)
    parser.add_argument("--smaller", action="store_true", help="what is gone since the last one was meant to go")
    parser.add_argument("--list", action="store_true", help="what is kept there, the newest first")
    parser.add_argument(
        "--new-identity", type=Path, metavar="FILE", help="make a key: the secret in FILE, its public half told"
    )
    return parser


def _span(text: str) -> float:
    match = _SPAN.fullmatch(text)
    if match is None or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no span of time, such as 90s, 5m, 1h")
    return float(int(match[1]) * _SECONDS[match[2]])


def _new_identity(file: Path) -> int:
    secret, recipient = sealed.new_identity()
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as target:
        target.write(f"# public key: {recipient}\n{secret}\n")
    print(f"{file} decrypts. Keep it where the servers are not, twice. BACKUP_RECIPIENTS={recipient}")
    return 0


def _list(vault: Vault) -> None:
    receipts, unreadable = vault.looked()
    names = {one.manifest.database for one in receipts}
    collapsed = {one.file for name in names for one in judge(of_database(receipts, name)).collapsed}
    for receipt in receipts:
        print(told(receipt) + ("  LESS THAN HALF of the one before" if receipt.file in collapsed else ""))
    for file in unreadable:
        print(f"{file}  its receipt cannot be read")


def _once(found: config.BackupSettings, vault: Vault, options: argparse.Namespace) -> float:
    """Make one, forget what has become superfluous; returns the seconds it took.

    Raises BackupFailed when none was made, or when it is less than half of the one before: it is kept, nothing goes for
    it, and it is not what the database knows as its newest, so that the alert rings.
    """
    began = clock.monotonic()
    where = config.read(config.DatabaseSettings)
    version = config.read(config.DeploymentSettings).version
    with MongoClient[dict[str, Any]](where.uri, tz_aware=True) as client:
        database = client[where.name]
        refuse_unless_whole(database)
        size = int(database.command("dbStats")["dataSize"])
        with bar("backing up", size) as progress:
            order = Order(where.uri, database, found.recipients, version, options.smaller)
            receipt = make(order, vault, progress)
        print(f"{told(receipt)}  {clock.monotonic() - began:.1f} s", flush=True)
        kept = judge(of_database(vault.receipts(), where.name))
        refuse_collapsed(kept)
        database["controls"].update_one(
            {"_id": _LAST},
            {"$set": {"point": receipt.manifest.point, "finished_at": receipt.finished_at, "bytes": receipt.bytes}},
            upsert=True,
        )
    _forget(vault, kept, options.keep)
    return clock.monotonic() - began


def _forget(vault: Vault, kept: Kept, keep: Keep) -> None:
    """Only ever after a backup that was read back and has not collapsed: the newest is good."""
    for receipts in kept:
        by_moment = {receipt.manifest.point: receipt for receipt in receipts}
        for moment in superfluous(list(by_moment), keep):
            vault.remove(by_moment[moment])
            print(f"{by_moment[moment].file}  removed", flush=True)


def told(receipt: Receipt) -> str:
    """A backup in a line."""
    manifest = receipt.manifest
    documents = sum(part.documents for part in manifest.collections.values())
    return (
        f"{receipt.file}  as of {clock.to_wire(manifest.point)}  {documents:,} documents  {receipt.bytes:,} bytes"
        f"  schema {manifest.schema_version}  sha256 {receipt.sha256[:16]}"
    )


def _for_ever(found: config.BackupSettings, vault: Vault, options: argparse.Namespace) -> int:
    """One each so often, whatever happens to one of them; SIGTERM and Ctrl-C end it after the one under way."""
    is_over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_over.set())
    while not is_over.is_set():
        began = clock.monotonic()
        try:
            took = _once(found, vault, options)
            if took + options.every > RECOVERY_POINT.total_seconds():
                print(f"backup: {took:.0f} s long each {options.every:.0f} s: too much may be lost", file=sys.stderr)
        except (BackupFailed, PyMongoError, OSError) as error:
            print(f"backup: {error}", file=sys.stderr, flush=True)
        is_over.wait(max(0.0, options.every - (clock.monotonic() - began)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
