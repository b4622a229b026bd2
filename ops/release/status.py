"""`./doit status`: colours with versions and shares of calls, whose tick works, migrations, whether money moves."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from mongomig import MongoMigError
from pymongo.errors import PyMongoError

from getsmart import config
from getsmart.stores import controls
from ops import migrations, recovery
from ops.gateway.environment import NAMES, Colour, Environment, EnvironmentInvalid, Server, load, pick
from ops.gateway.runtime import GatewayUnreachable
from ops.release import state, traffic
from ops.release.state import DatabaseUnreachable, Standing


def main(arguments: list[str]) -> int:
    """Print how it stands. 0 when calls and tick are with one colour that is well, else 1."""
    parser = argparse.ArgumentParser(prog="./doit status", description=__doc__)
    parser.add_argument("environment", nargs="?", help=NAMES)
    options = parser.parse_args(arguments)
    try:
        name = pick(options.environment)
        environment = load(name)
        shares, gateway = _shares(environment)
        standing, database = _standing(environment)
    except EnvironmentInvalid as error:
        print(f"status: {error}", file=sys.stderr)
        return 1
    reports = [(server, state.health(environment, server)) for server in environment.servers()]
    for server, report in reports:
        print(_line(server, report, shares, standing))
    print(_migrations() if standing else "migrations  unknown")
    for line in _money() if standing else ["unknown"]:
        print(f"money       {line}")
    problems = [problem for problem in (gateway, database) if problem]
    if shares and standing and (warning := standing.warning(shares, name)):
        problems.append(warning)
    for server, report in reports:
        serves = bool((standing and standing.active == server.colour) or (shares and shares[server.colour]))
        problems += _problems(server, report, serves=serves)
    for problem in problems:
        print(f"status: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _problems(server: Server, report: Mapping[str, Any] | None, *, serves: bool) -> list[str]:
    """What is wrong with a namespace: that it is not well counts while it has calls or its tick works."""
    if report is None:
        return [f"{server.name} serves and does not answer"] if serves else []
    found = []
    if report["colour"] != server.colour:
        found.append(f"{server.name} says that it is {report['colour']}: COLOUR in its functions' environment is wrong")
    if serves and report["status"] == "fail":
        checks = report.get("checks", {}).items()
        failed = [f"{check} ({one['message']})" for check, one in checks if one["status"] == "fail"]
        found.append(f"{server.name} serves and is not well: {', '.join(failed) or 'it says fail'}")
    return found


def _line(
    server: Server, report: Mapping[str, Any] | None, shares: Mapping[Colour, int] | None, standing: Standing | None
) -> str:
    share = f"{shares[server.colour]} % of calls" if shares else "calls unknown"
    role = "active" if standing and standing.active == server.colour else "idle"
    said = f"{report['status']:5} version {report['version']}" if report else "does not answer"
    mark = "" if report is None or report["colour"] == server.colour else f"  IT SAYS IT IS {report['colour']}"
    return f"{server.name:<10}{role if standing else '':<8}{share:<16}{said}{mark}"


def _shares(environment: Environment) -> tuple[Mapping[Colour, int] | None, str | None]:
    try:
        return traffic.traffic_of(environment).shares(), None
    except GatewayUnreachable as error:
        return None, str(error)


def _standing(environment: Environment) -> tuple[Standing | None, str | None]:
    try:
        return state.standing(environment), None
    except DatabaseUnreachable as error:
        return None, str(error)


def _migrations() -> str:
    try:
        settings = config.read(config.DatabaseSettings)
        found = migrations.status(settings.uri, settings.name)
    except (MongoMigError, PyMongoError) as error:
        return f"migrations  unknown: {type(error).__name__}"
    waiting = [f"{name} ({phase})" for name, phase, _, said in found if said != "applied"]
    return f"migrations  {len(found) - len(waiting)} applied, {', '.join(waiting) or 'none'} pending"


def _money() -> list[str]:
    """Whether it moves, and who stopped it why."""
    try:
        return list(recovery.told(controls.read_all()))
    except PyMongoError as error:
        return [f"unknown: {type(error).__name__}"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
