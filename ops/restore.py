"""`./doit restore`: put a backup into a database, which then stands in recovery mode until it is reconciled.

And until `./doit recovery off`, so that it can be verified before money moves; `--then-open` does without that.
"""

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from getsmart import clock, config
from getsmart.errors import Misconfigured
from ops import settings
from ops.backup.errors import BackupFailed
from ops.backup.kept import newest
from ops.backup.manifest import Manifest
from ops.backup.progress import bar
from ops.backup.proving import prove
from ops.backup.restoring import Restored, Target, restore
from ops.backup.vault import Vault

NEWEST = "newest"


def main(arguments: list[str]) -> int:
    """Exit 0, or 1 with one clear line; nothing is written unless the file is proven whole."""
    parser = argparse.ArgumentParser(prog="./doit restore", description=__doc__)
    parser.add_argument("file", help=f"a backup's file, or `{NEWEST}` of those in --from")
    parser.add_argument("--to", metavar="DATABASE", help="the database's name; it has to be empty")
    parser.add_argument("--force", action="store_true", help="replace whatever is in the database")
    parser.add_argument("--then-open", action="store_true", help="money moves once it is reconciled, by itself")
    parser.add_argument("--check", action="store_true", help="only prove the file whole")
    parser.add_argument("--from", dest="place", help="a folder or s3://bucket/prefix; without it BACKUP_PLACE")
    parser.add_argument("--identity", type=Path, help="the file of the key; without it BACKUP_IDENTITY")
    settings.option(parser)
    options = parser.parse_args(arguments)
    if bool(options.to) == options.check:
        parser.error("either --to DATABASE or --check")
    settings.use(options.env)
    try:
        vault, name = find(options.file, options.place)
        identities = read_identities(options.identity)
        if options.check:
            print(f"{name} is whole: {_said(checked(vault, name, identities))}")
            return 0
        settings.say(options.to)
        brake = None if options.then_open else _brake(name)
        uri = config.read(config.DatabaseSettings).uri
        done = put(vault, name, identities, Target(uri, options.to, options.force, brake))
    except (BackupFailed, Misconfigured, PyMongoError, OSError) as error:
        print(f"restore: {error}", file=sys.stderr)
        return 1
    print(f"{options.to} is {_said(done.manifest)}; {done.documents:,} documents")
    print("It stands in recovery mode: no money moves until ./doit reconcile has caught up with the chain.")
    if not options.then_open:
        print("Nor then before ./doit recovery off: after ./doit verify.")
    return 0


def _brake(name: str) -> dict[str, Any]:
    return {"by": getpass.getuser(), "why": f"restored from {name}, to be verified", "at": clock.now()}


def find(file: str, place: str | None) -> tuple[Vault, str]:
    """Where a backup is and what it is called there. Raises BackupFailed when there is none, or not one newest."""
    path = Path(file)
    if file != NEWEST and place is None and path.exists():
        return Vault(str(path.parent)), path.name
    vault = Vault(place or config.read(config.BackupSettings).place)
    if file != NEWEST:
        return vault, path.name
    return vault, newest(vault)


def read_identities(file: Path | None) -> list[str]:
    """The keys in a file, a line each; lines of comment begin with #. Raises BackupFailed when there are none."""
    text = file.read_text() if file else config.read(config.BackupIdentitySettings).key
    keys = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not keys:
        raise BackupFailed(f"{file or 'BACKUP_IDENTITY'} holds no key")
    return keys


def checked(vault: Vault, name: str, identities: list[str]) -> Manifest:
    """What a backup says of itself, once it is proven whole. Raises Refused."""
    with bar("proving", None) as progress:
        return prove(vault, name, identities, progress).manifest


def put(vault: Vault, name: str, identities: list[str], target: Target) -> Restored:
    """Restore, and show how far it is. Raises BackupFailed."""
    with bar("restoring", None) as progress:
        return restore(vault, name, identities, target, progress)


def _said(manifest: Manifest) -> str:
    return f"{manifest.database} as of {clock.to_wire(manifest.point)}, schema {manifest.schema_version}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
