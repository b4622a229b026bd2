"""`./doit promote`: give a colour the calls step by step, watch it, and make it the active one; or take all back.

What comes first: the intent is written to the database, then calls move, and the colour becomes active (its tick works)
once it has had all calls for a whole watch. So a new tick never runs before its code has proven itself, and whatever
is cut short between the two is seen by `./doit status` and finished by repeating the command.
"""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pymongo.errors import PyMongoError

from getsmart.errors import GetSmartError
from getsmart.stores import controls
from ops.gateway.environment import COLOURS, NAMES, Colour, Environment, EnvironmentInvalid, load, other, pick
from ops.gateway.runtime import GatewayUnreachable, Reading
from ops.release import rollback, schema, smoke, state, traffic, watch
from ops.release.state import Code, DatabaseUnreachable, Standing

LEASE = "promotion"
_LEASE_SECONDS = 30.0
_LOOK_SECONDS = 1.0


class Refused(Exception):
    """A promotion must not begin, or not go on from where another one was cut short."""


class Failed(Exception):
    """The new colour is not good enough, or the promotion is no longer ours; what was seen."""


@dataclass(frozen=True)
class Plan:
    """A promotion: to which colour, by which steps, how long each is watched."""

    environment: Environment
    name: str
    """The environment as it was typed."""
    to: Colour
    weights: Sequence[int]
    watch_seconds: float
    by: str
    standing: Standing
    """How it stood when this began: `by` is the move that was cut short, which this one goes on with."""
    code: Code
    """What the colour runs."""
    former: str | None = None
    """The version that was active until now, which a rollback looks for."""
    look_seconds: float = _LOOK_SECONDS


def promote(plan: Plan, calls: traffic.Traffic) -> None:
    """Take every step.

    Raises Refused before anything has moved; Failed when the colour is not good enough, and nothing is taken back yet.
    """
    if not controls.intend(plan.to, "promote", plan.by, plan.code.schema_version, over=plan.standing.by):
        raise Refused(_forestalled(plan))
    usual = Reading()
    for share in [weight for weight in plan.weights if weight >= max(calls.shares()[plan.to], min(plan.weights))]:
        _stay_ours(plan)
        calls.give({plan.to: share, other(plan.to): 100 - share})
        print(f"{plan.to} has {share} % of the calls, watched for {plan.watch_seconds:g} s", flush=True)
        usual = _watch(plan, calls, usual)
    previous = {"colour": other(plan.to), "version": plan.former}
    if not controls.activate(plan.to, previous, plan.by):
        raise _overtaken(state.read())


def _forestalled(plan: Plan) -> str:
    standing = state.read()
    if standing.by != plan.standing.by:
        return f"calls were moved since this began, by {standing.by or standing.activated_by}"
    return f"a migration has taken away what {plan.to} needs, this moment: ./doit migrate status"


def _overtaken(standing: Standing) -> Failed:
    return Failed(f"the promotion is no longer ours: somebody rolled back ({standing.by or standing.activated_by})")


def _stay_ours(plan: Plan) -> None:
    standing = state.read()
    if standing.by != plan.by:
        raise _overtaken(standing)
    if not controls.take_lease(LEASE, plan.by, _LEASE_SECONDS):
        raise Failed("the promotion is no longer ours: another one has begun")


def _watch(plan: Plan, calls: traffic.Traffic, usual: Reading) -> Reading:
    """Watch one step; what the old colour did in it, or `usual` when that is too little to compare with."""
    before = calls.readings()
    end = time.monotonic() + plan.watch_seconds
    new, old = Reading(), usual
    while True:
        left = end - time.monotonic()
        time.sleep(max(0.0, min(plan.look_seconds, left)))
        _stay_ours(plan)
        if before is None:
            _smoke_public(plan)
        else:
            new, old = _since(plan, calls, before)
            old = old if old.calls >= plan.environment.promotion.fewest_calls else usual
            if problem := watch.problem(new, old, plan.environment.promotion):
                raise Failed(problem)
        if time.monotonic() >= end:
            break
    if before is not None:
        print(f"  {new.calls} calls, {new.failed} failed, {new.retried} tried again, 90 % within {new.slowest(0.9)} ms")
    return old


def _since(plan: Plan, calls: traffic.Traffic, before: Mapping[Colour, Reading]) -> tuple[Reading, Reading]:
    now = calls.readings() or {}
    return now[plan.to].since(before[plan.to]), now[other(plan.to)].since(before[other(plan.to)])


def _smoke_public(plan: Plan) -> None:
    """Where nobody counts: the smoke through the gateway, which a share of it takes to the new colour."""
    found = list(smoke.run(smoke.targets(plan.environment, None), smoke.key_of(plan.environment)))
    if wrong := [one for one in found if one.problem]:
        raise Failed(f"{wrong[0].call}: {wrong[0].problem}")


def check(plan: Plan, calls: traffic.Traffic, version: str | None) -> None:
    """What has to hold before a call moves: a schema that fits, namespaces that answer, a smoke that is right.

    Raises Refused.
    """
    if problem := schema.problem(plan.to, plan.code, plan.standing) or schema.pending(plan.to, plan.code):
        raise Refused(problem)
    readings = calls.readings()
    if readings is not None and (here := readings[plan.to]).up < here.servers:
        raise Refused(f"{here.servers - here.up} of {here.servers} namespaces of {plan.to} do not answer the gateway")
    runs = ", ".join(sorted(map(str, plan.code.versions)))
    print(f"smoking {plan.to}, version {runs} ({other(plan.to)} serves with {plan.former}) ...", flush=True)
    outcomes = smoke.run(smoke.targets(plan.environment, plan.to), smoke.key_of(plan.environment), version)
    if wrong := smoke.report(outcomes):
        raise Refused(f"{wrong} answers of {plan.to} are wrong")
    if plan.former is None:
        print(
            f"no way back: no version answers as {other(plan.to)}, as before a first release; once {plan.to} is active"
            f" ./doit rollback {plan.name} has nowhere to go",
            flush=True,
        )


@contextmanager
def alone(by: str) -> Iterator[None]:
    """Be the only promotion until it ends, however long a step takes. Raises Refused while there is another one."""
    if not controls.take_lease(LEASE, by, _LEASE_SECONDS):
        raise Refused(f"another promotion is under way, or was killed less than {_LEASE_SECONDS:g} s ago")
    is_over = threading.Event()
    renewing = threading.Thread(target=_renew, args=(by, is_over), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        is_over.set()
        renewing.join()
        with suppress(PyMongoError, GetSmartError):  # it ends by itself
            controls.drop_lease(LEASE, by)


def _renew(by: str, is_over: threading.Event) -> None:
    """A lease that was lost meanwhile stays lost; the next look of the promotion says so."""
    while not is_over.wait(_LEASE_SECONDS / 3):
        with suppress(PyMongoError, GetSmartError):
            controls.take_lease(LEASE, by, _LEASE_SECONDS)


def main(arguments: list[str]) -> int:
    """Promote. 0 when the colour is active, 1 with what is wrong; calls that were moved are back then."""
    options = _options(arguments)
    by = state.mover("promote")
    try:
        name = pick(options.environment)
        environment = load(name)
        calls = traffic.traffic_of(environment)
        state.use_database(environment)
        with alone(by):
            return _run(_plan(options, environment, name, by), calls, options.version)
    except (Refused, EnvironmentInvalid, GatewayUnreachable, DatabaseUnreachable, PyMongoError, GetSmartError) as error:
        print(f"promote: {error}", file=sys.stderr)
        return 1


def _run(plan: Plan, calls: traffic.Traffic, version: str | None) -> int:
    """Check, then promote; whatever ends it early, calls are with the colour that is active afterwards."""
    try:
        check(plan, calls, version)
        promote(plan, calls)
    except KeyboardInterrupt:
        return _take_back(plan, calls, "interrupted")
    except (Failed, Refused, EnvironmentInvalid, GatewayUnreachable, DatabaseUnreachable) as error:
        return _take_back(plan, calls, str(error))
    except (PyMongoError, GetSmartError) as error:
        return _take_back(plan, calls, f"the database does not answer: {error}")
    print(f"{plan.to} is active: it has all calls, and its tick works")
    return 0


def _take_back(plan: Plan, calls: traffic.Traffic, why: str) -> int:
    """Give back what was moved, by us or by the promotion that we went on with. 1, unless all was done already.

    Calls go back when the database does not answer, too: they are what callers feel. `./doit rollback` tells it later.
    """
    _say(why)
    back, later = other(plan.to), f"./doit rollback {plan.name}"
    try:
        standing = state.read()
    except DatabaseUnreachable:
        standing = None
    try:
        if standing and (reason := _nothing_to_take_back(plan, calls, standing)):
            _say(reason)
            return int(standing.activated_by != plan.by)
        if standing is None:
            calls.give({back: 100, plan.to: 0})
            _say(f"{back} has all calls again, the database does not know it yet; {later} once it answers")
            return 1
        rollback.to(back, calls, by=plan.by)
    except GatewayUnreachable as error:
        _say(f"{plan.to} may still have calls: {error}; {later} once the gateway answers")
    except rollback.NotMarked as error:
        _say(f"{error}; {later} once it answers")
    else:
        _say(f"{back} has all calls again")
    return 1


def _nothing_to_take_back(plan: Plan, calls: traffic.Traffic, standing: Standing) -> str | None:
    """Why calls stay where they are, None when they go back."""
    if standing.by not in {plan.by, plan.standing.by, None}:
        return f"nothing is taken back: {standing.by} moves calls now"
    if standing.by is None and standing.active == plan.to:
        return f"nothing is taken back: {plan.to} was made active by {standing.activated_by}"
    if standing.by is None and calls.shares()[plan.to] == 0:
        return f"{other(plan.to)} has all calls, as before"
    return None


def _say(what: str) -> None:
    print(f"promote: {what}", file=sys.stderr, flush=True)


def _plan(options: argparse.Namespace, environment: Environment, name: str, by: str) -> Plan:
    standing = state.read()
    active = standing.active or COLOURS[0]
    to: Colour = options.colour or other(active)
    if to == active:
        raise Refused(f"{to} is active already")
    if standing.moving == "rollback":
        raise Refused(
            f"a rollback to {standing.moving_to} is under way, or was cut short: ./doit rollback {name} finishes it"
        )
    rules = environment.promotion
    weights = tuple(options.weight) if options.weight else rules.weights
    if list(weights) != sorted(set(weights)) or weights[-1] != 100 or weights[0] < 1:
        raise Refused("weights have to rise from 1 or more, and end with 100")
    seconds = rules.watch_seconds if options.watch is None else options.watch
    versions = list(state.code(environment, active).versions) if standing.active else [None]
    former = versions[0] if len(versions) == 1 else None
    return Plan(environment, name, to, weights, seconds, by, standing, state.code(environment, to), former)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./doit promote", description=__doc__)
    parser.add_argument("environment", nargs="?", help=NAMES)
    parser.add_argument("--colour", choices=COLOURS, help="by default the one that is not active")
    parser.add_argument("--weight", type=_weights, help="the steps in per cent, e.g. 10,50,100")
    parser.add_argument("--watch", type=_seconds, help="how long each step is watched, e.g. 60s")
    parser.add_argument("--version", help="the version that has to answer")
    return parser.parse_args(arguments)


def _weights(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a job that is cancelled gives the calls back, too
    sys.exit(main(sys.argv[1:]))
