"""`./doit rollback`: all calls to the colour that was good, in one step; then its tick.

Calls come first: they are what callers feel, and they move even when the database does not answer.
"""

import argparse
import sys
from contextlib import suppress

from pymongo.errors import PyMongoError

from getsmart.errors import GetSmartError
from getsmart.stores import controls
from ops.gateway.environment import COLOURS, NAMES, Colour, Environment, EnvironmentInvalid, load, other, pick
from ops.gateway.runtime import GatewayUnreachable
from ops.release import schema, state, traffic
from ops.release.state import DatabaseUnreachable


class Refused(Exception):
    """There is nothing to go back to, or it must not have calls; nothing was changed."""


class NotMarked(Exception):
    """Calls are back, and the database does not know it yet."""


def to(colour: Colour, calls: traffic.Traffic, *, by: str, schema_version: int | None = None) -> None:
    """Give all calls to a colour, whose code was made for that schema, and make it the active one.

    Raises Refused when a migration has taken away what it needs, GatewayUnreachable when the calls did not move,
    NotMarked when only the database was not told.
    """
    with suppress(PyMongoError, GetSmartError):  # calls first: state.Standing knows what it means without this
        if not controls.intend(colour, "rollback", by, schema_version):
            raise Refused(f"a migration has taken away what {colour} needs, this moment: ./doit migrate status")
    calls.give({colour: 100, other(colour): 0})
    try:
        controls.activate(colour, None, by, is_forced=True)
    except (PyMongoError, GetSmartError) as error:
        raise NotMarked(f"{colour} has all calls, the database does not know it yet: {type(error).__name__}") from error
    if calls.shares()[colour] != 100:  # a promotion that was about to take its next step
        calls.give({colour: 100, other(colour): 0})


def main(arguments: list[str]) -> int:
    """Roll back. 0 when calls and tick are with the former colour, else 1."""
    parser = argparse.ArgumentParser(prog="./doit rollback", description=__doc__)
    parser.add_argument("environment", nargs="?", help=NAMES)
    parser.add_argument("--to", choices=COLOURS, help="this colour, whatever was active before")
    options = parser.parse_args(arguments)
    try:
        name = pick(options.environment)
        environment = load(name)
        calls = traffic.traffic_of(environment)
        state.use_database(environment)
        target = options.to or _target(environment, calls)
        to(target, calls, by=state.mover("rollback"), schema_version=_fitting(environment, target))
    except DatabaseUnreachable as error:
        print(f"rollback: {error}; name the colour: ./doit rollback {name} --to ...", file=sys.stderr)
        return 1
    except NotMarked as error:
        print(f"rollback: {error}; repeat ./doit rollback {name} once it answers", file=sys.stderr)
        return 1
    except (Refused, EnvironmentInvalid, GatewayUnreachable) as error:
        print(f"rollback: {error}", file=sys.stderr)
        return 1
    print(f"{target} has all calls, and its tick works")
    return 0


def _target(environment: Environment, calls: traffic.Traffic) -> Colour:
    """Where to; what was active before is only gone back to if it is there and still the same. Raises Refused."""
    standing, shares = state.read(), calls.shares()
    target = standing.rollback_target(shares)
    if target is None:
        raise Refused("nothing was promoted: there is nothing to go back to")
    if why := standing.unfit(target, state.code(environment, target).versions, shares):
        raise Refused(f"{why}; to give it all calls all the same: --to {target}")
    return target


def _fitting(environment: Environment, target: Colour) -> int | None:
    """What the target was made for, None where nobody has to know. Raises Refused when it must not have calls.

    Nothing is asked while no migration has taken anything away, and a database that is gone never holds calls back.
    """
    try:
        standing = state.read()
    except DatabaseUnreachable:
        return None
    if standing.lowest_schema == 0:
        return 0
    code = state.code(environment, target)
    if problem := schema.problem(target, code, standing):
        raise Refused(problem)
    return code.schema_version


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
