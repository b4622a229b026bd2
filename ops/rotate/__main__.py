"""Rotate a secret in use: `./doit rotate NAME` says its steps, `./doit rotate NAME STEP --env ENVIRONMENT` makes one.

A step changes the file in which a deployment finds the secret, once it is sure that nobody is locked out, and says what
has to be deployed before the next: `.env`, or the environment's own file for what is public, or another file of --env.
A new value is typed in where none is made up, or comes on standard input; none is printed but a new API key.
"""

import argparse
import getpass
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from getsmart import clock, config
from getsmart.errors import GetSmartError
from getsmart.ids import new_id
from getsmart.services import keys as key_service
from getsmart.stores import keys
from ops import settings
from ops.deployer_template import TemplateError
from ops.gateway.environment import COLOURS, WEB_SECURE, secret_name
from ops.pipeline import doctl, target
from ops.pipeline.environments import ACCESS_KEYS, EnvironmentProblem
from ops.rotate import envfile, lists, single
from ops.rotate.envfile import Refused

DEPLOY = (
    "deploy it to the idle colour (./doit deploy ENVIRONMENT --again), smoke and promote that, then the same for the"
    " other colour"
)
ASKED = {"metakeep", "metakeep-webhook-key", "metakeep-webhook-secret", "backup", "log-destinations", "access-keys"}
STEPS = {
    **{name: listed.steps for name, listed in lists.LISTS.items()},
    "api-key": ("replace",),
    "database": ("add", "drop"),
    "web-secure": ("replace",),
    "access-keys": ("replace",),
    "log-destinations": ("replace",),
}


def main(arguments: list[str]) -> int:
    """Say or make a step. Exit 0, or 1 with one clear line."""
    options = _parser().parse_args(arguments)
    settings.use(options.env)
    if options.step is None:
        print(f"{options.name}: {', then '.join(STEPS[options.name])}; after each step {DEPLOY}.")
        print("docs/runbooks/rotate-secrets.md says what each does.")
        return 0
    if options.step not in STEPS[options.name]:
        print(f"rotate: {options.name} has the steps {', '.join(STEPS[options.name])}", file=sys.stderr)
        return 1
    try:
        print(_step(options))
    except (Refused, ValueError, TemplateError, EnvironmentProblem, doctl.DoctlFailed, GetSmartError) as error:
        print(f"rotate: {error}", file=sys.stderr)
        return 1
    except PyMongoError as error:
        print(f"rotate: the database does not answer: {type(error).__name__}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./doit rotate", description=__doc__)
    parser.add_argument("name", choices=sorted(STEPS))
    parser.add_argument("step", nargs="?", help="what to do; left out: the steps are listed")
    settings.option(parser)
    parser.add_argument(
        "--wait", type=float, default=120, help="drop: seconds in which to look for what still needs the old one"
    )
    parser.add_argument("--key", help="api-key: the id of the key that is replaced")
    parser.add_argument("--overlap-hours", type=float, default=24, help="api-key: how long both work")
    parser.add_argument("--days", type=int, default=365, help="api-key: until the new one ends")
    parser.add_argument("--colour", choices=COLOURS, help="web-secure, access-keys: whose")
    parser.add_argument("--user", help="database: the name of the new user (add) or of the old one (drop)")
    return parser


def _step(options: argparse.Namespace) -> str:
    if options.name in lists.LISTS:
        return _listed(options)
    makers: dict[str, Callable[[argparse.Namespace], str]] = {
        "api-key": _api_key,
        "database": _database,
        "web-secure": _web_secure,
        "access-keys": _access_keys,
        "log-destinations": _log_destinations,
    }
    return makers[options.name](options)


def _file(options: argparse.Namespace, *variables: str) -> Path:
    """Where a deployment finds these variables: what an environment's own file has counts, and it has no secret."""
    named: Path | None = options.env
    if named and (not settings.is_reviewed(named) or any(name in envfile.values(named) for name in variables)):
        return named
    return settings.OWN


def _environment(options: argparse.Namespace) -> str | None:
    """The environment that --env names, as other commands take it; None where it is a file of another kind."""
    named: Path | None = options.env
    if named is None or not settings.is_reviewed(named):
        return None
    return named.stem if named.parent == settings.FOLDER else str(named.with_suffix(".yml"))


def _listed(options: argparse.Namespace) -> str:
    listed = lists.LISTS[options.name]
    file = _file(options, *listed.variables)
    if options.step == "drop" and listed.what:
        there = config.read(config.DatabaseSettings)
        settings.say()
        with MongoClient[dict[str, Any]](there.uri, tz_aware=True) as client:
            lists.drain(listed, file, client[there.name], options.wait)
    said = lists.take(listed, options.step, file, _typed(options))
    after = "it is over once that is done everywhere" if options.step == "drop" else "then the next step"
    return f"{' and '.join(listed.variables)} in {file}: {said}. Now {DEPLOY}; {after}."


def _api_key(options: argparse.Namespace) -> str:
    settings.say()
    old = keys.find(options.key or "")
    if old is None:
        raise Refused("--key: the id of a key, as ./doit keys list shows it")
    at = clock.now()
    order = key_service.Order(
        old["client_id"],
        old["scopes"],
        old["mode"],
        old["limits"],
        at + timedelta(days=options.days),
        old["allowed_ips"],
    )
    line = {"key_id": "operator", "source": "terminal", "request_id": new_id("req"), "at": at, "what": "create"}
    row, token = key_service.replace(order, line, old["_id"], timedelta(hours=options.overlap_hours))  # type: ignore[arg-type]
    return (
        f"{row['_id']}\n{token}\n"
        f"The key is shown this once; {old['_id']} works for {options.overlap_hours:g} more hours.\n"
        "Give it to its client, and look at ./doit keys list: the old one's last use has to stand still before it ends."
    )


def _database(options: argparse.Namespace) -> str:
    admin = os.environ.get("MONGODB_ADMIN_URI", "")
    uri = "" if admin or options.step == "drop" else _asked()
    if not uri and not (admin and options.user):
        raise Refused(
            "MONGODB_ADMIN_URI (somebody who may make users) and --user are needed; or, to add one that was made"
            " elsewhere, its URI on standard input"
        )
    file, database = _file(options, "MONGODB_URI"), config.read(config.DatabaseSettings).name
    settings.say()
    if uri:
        old = single.database_address(file, uri, database)
        return f"MONGODB_URI in {file} has the new user; {old} still works. Now {DEPLOY}; then take {old} away."
    if options.step == "drop":
        single.drop_database_user(file, admin, options.user, options.wait)
        return f"{options.user} is gone."
    old = single.database_user(file, admin, options.user, database)
    return f"MONGODB_URI in {file} has {options.user} now; {old} still works. Now {DEPLOY}; then drop --user {old}."


def _web_secure(options: argparse.Namespace) -> str:
    if not options.colour:
        raise Refused("--colour: the idle one, as ./doit deploy chooses it")
    there, known = _environment(options), config.read(config.DatabaseSettings)
    idle = target.idle(there, known.uri, known.name).colour
    if options.colour != idle:
        raise Refused(
            f"{options.colour} serves, and a new secret would take its calls: --colour {idle}, promote, then it"
        )
    file = _file(options, *map(secret_name, COLOURS), WEB_SECURE)
    name, typed = single.web_secure(file, idle), there or "ENVIRONMENT"
    take_over = "" if file == settings.OWN else f"take it over into {settings.OWN.name} where the gateway runs; "
    return (
        f"{name} in {file} is new. Now: {take_over}./doit gateway reload {typed} (the new one goes to {idle} only),"
        f" ./doit deploy {typed} --again, smoke, promote; then the same for the other colour."
    )


def _access_keys(options: argparse.Namespace) -> str:
    if not options.colour or not options.env or not settings.is_reviewed(options.env):
        raise Refused("--colour, and --env with an environment of deploy/environments, are needed")
    there = str(options.env.with_suffix(".yml"))
    name = f"{ACCESS_KEYS}_{options.colour.upper()}"
    single.access_keys(_file(options, name), there, options.colour, _typed(options))
    return (
        "Each new key opened its namespace, and stands in the file. Now: doctl serverless key delete, for each old one."
    )


def _log_destinations(options: argparse.Namespace) -> str:
    file = _file(options, "LOG_DESTINATIONS")
    single.log_destinations(file, _typed(options))
    return f"LOG_DESTINATIONS in {file} is new. Now {DEPLOY}; then end the old token at its sink."


def _typed(options: argparse.Namespace) -> str:
    """The new value, where one is asked for: from standard input, or typed without an echo."""
    if options.name not in ASKED or options.step in {"switch", "drop"}:
        return ""
    return _asked()


def _asked() -> str:
    return (getpass.getpass("the new value: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
