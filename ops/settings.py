"""On which environment an operator's command works: `--env NAME|FILE`, over the process, over `.env`.

What stands in deploy/environments/NAME.env is reviewed and counts before any other value, as in a deployment. So
`--env staging` finds staging's database whatever `.env` says; secrets come from the process, or from `.env`.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from getsmart import config, mongo
from ops.deployer_template import read_env
from ops.functions import ROOT

FOLDER = ROOT / "deploy/environments"
OWN = ROOT / ".env"
HELP = "an environment of deploy/environments, or an env file: counts before the process, which counts before .env"
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_URI, _DATABASE = "MONGODB_URI", "MONGODB_DATABASE"
MIGRATIONS, BACKUP = "MIGRATIONS_MONGODB_URI", "BACKUP_MONGODB_URI"


class NoSuchEnvironment(argparse.ArgumentTypeError):
    """Neither an environment's name nor a file; the text says which environments there are."""


def option(parser: argparse.ArgumentParser) -> None:
    """Give a command the option `--env`."""
    parser.add_argument("--env", type=reviewed, metavar="NAME|FILE", help=HELP)


def reviewed(named: str) -> Path:
    """The env file of that name or path. Raises NoSuchEnvironment."""
    path = FOLDER / f"{named}.env" if _NAME.fullmatch(named) else Path(named)
    if not os.access(path, os.R_OK) or path.is_dir():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.env")))
        raise NoSuchEnvironment(f"{named} is no file, nor an environment; there are {known}")
    return path


def use(env_file: Path | None, *, user: str | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Make os.environ what a command works with; the library reads it anew.

    `user` is a variable that comes before MONGODB_URI wherever that stands: the URI of a user that may do more.
    """
    found: dict[str, str] = {}
    for layer in _layers(env_file, environ):
        if user and layer.get(user):
            layer[_URI] = layer[user]
        found = {**layer, **found}
    if any(os.environ.get(name) != value for name, value in found.items()):
        os.environ.update(found)
        config.forget()
        mongo.forget()


def _layers(env_file: Path | None, environ: Mapping[str, str]) -> Sequence[dict[str, str]]:
    """What counts first comes first; an empty value is none."""
    files = [read_env(path) if path and path.is_file() else {} for path in (env_file, OWN)]
    return [{name: value for name, value in one.items() if value} for one in (files[0], environ, files[1])]


def is_reviewed(path: Path) -> bool:
    """Whether that env file is an environment's own: its .yml stands beside it, and no secret stands in it."""
    return path.with_suffix(".yml").is_file()


def say(database: str | None = None) -> None:
    """Before something is written: into which database, on standard error; by default the configured one."""
    name = database or os.environ.get(_DATABASE) or config.DatabaseSettings.model_fields["name"].default
    print(f"database {name}", file=sys.stderr, flush=True)
