"""`./doit promote`: give a colour the calls step by step, watch it, and make it the active one; or take all back.

What comes first: the intent is written to the database, then calls move, and the colour becomes active (its tick works)
once it has had all calls for a whole watch. So a new tick never runs before its code has proven itself, and whatever
is cut short between the two is seen by `./doit status` and finished by repeating the command.
"""

import argparse
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pymongo.errors import PyMongoError

from getsmart.errors import GetSmartError
from getsmart.stores import controls
from ops.gateway.environment import COLOURS, Colour, Environment, EnvironmentInvalid, load, other
from ops.gateway.runtime import GatewayUnreachable, Reading
from ops.release import rollback, schema, smoke, state, traffic, watch
from ops.release.state import DatabaseUnreachable

LEASE = "promotion"
_LEASE_SECONDS = 30.0
_LOOK_SECONDS = 1.0


class Refused(Exception):
    """A promotion must not begin; nothing was changed."""


class Failed(Exception):
    """The new colour is not good enough, or the promotion is no longer ours; what was seen."""


@dataclass(frozen=True)
class Plan:
    """A promotion: to which colour, by which steps, how long each is watched."""

    environment: Environment
    to: Colour
    weights: Sequence[int]
    watch_seconds: float
    by: str
    former: str | None = None
    """The version that was active until now, which a rollback looks for."""
    schema_version: int | None = None
    """What the colour's code was made for."""
    look_seconds: float = _LOOK_SECONDS


def promote(plan: Plan, calls: traffic.Traffic) -> None:
    """Take every step.

    Raises Refused before anything has moved; Failed when the colour is not good enough, and nothing is taken back yet.
    """
    if not controls.intend(plan.to, "promote", plan.by, plan.schema_version):
        raise Refused(f"a migration has taken away what {plan.to} needs, this moment: ./doit migrate status")
    usual = Reading()
    for share in [weight for weight in plan.weights if weight >= max(calls.shares()[plan.to], min(plan.weights))]:
        _stay_ours(plan)
        calls.give({plan.to: share, other(plan.to): 100 - share})
        print(f"{plan.to} has {share} % of the calls, watched for {plan.watch_seconds:g} s", flush=True)
        usual = _watch(plan, calls, usual)
    previous = {"colour": other(plan.to), "version": plan.former}
    if not controls.activate(plan.to, previous, plan.by):
        raise Failed("the promotion is no longer ours: somebody rolled back")


def _stay_ours(plan: Plan) -> None:
    if not controls.take_lease(LEASE, plan.by, _LEASE_SECONDS) or state.read().by != plan.by:
        raise Failed("the promotion is no longer ours: somebody rolled back")


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
    """What has to hold before a call moves: every namespace answers, and the smoke of it is right. Raises Refused."""
    readings = calls.readings()
    if readings is not None and (here := readings[plan.to]).up < here.servers:
        raise Refused(f"{here.servers - here.up} of {here.servers} namespaces of {plan.to} do not answer the gateway")
    print(f"smoking {plan.to} ...", flush=True)
    outcomes = smoke.run(smoke.targets(plan.environment, plan.to), smoke.key_of(plan.environment), version)
    if wrong := smoke.report(outcomes):
        raise Refused(f"{wrong} answers of {plan.to} are wrong")


@contextmanager
def alone(by: str) -> Iterator[None]:
    """Be the only promotion. Raises Refused while there is another one."""
    if not controls.take_lease(LEASE, by, _LEASE_SECONDS):
        raise Refused(f"another promotion is under way, or was killed less than {_LEASE_SECONDS:g} s ago")
    try:
        yield
    finally:
        controls.drop_lease(LEASE, by)


def main(arguments: list[str]) -> int:
    """Promote. 0 when the colour is active, 1 with what is wrong; calls that were moved are back then."""
    options = _options(arguments)
    try:
        environment = load(options.environment)
        calls = traffic.traffic_of(environment)
        plan = _plan(options, environment, state.standing(environment))
        with alone(plan.by):
            check(plan, calls, options.version)
            if plan.former is None:
                print(
                    f"no way back: no version answers as {other(plan.to)}, as before a first release; once {plan.to} is"
                    " active ./doit rollback has nowhere to go",
                    flush=True,
                )
            try:
                promote(plan, calls)
            except (Failed, GatewayUnreachable, PyMongoError, KeyboardInterrupt) as error:
                print(f"promote: {str(error) or 'interrupted'}", file=sys.stderr, flush=True)
                return _take_back(calls, plan)
    except (Refused, EnvironmentInvalid, GatewayUnreachable, DatabaseUnreachable, PyMongoError, GetSmartError) as error:
        print(f"promote: {error}", file=sys.stderr)
        return 1
    print(f"{plan.to} is active: it has all calls, and its tick works")
    return 0


def _take_back(calls: traffic.Traffic, plan: Plan) -> int:
    """Undo our own promotion, unless somebody else has taken over."""
    if state.read().by not in {plan.by, None}:
        return 1
    rollback.to(other(plan.to), calls, by=plan.by)
    print(f"{other(plan.to)} has all calls again", file=sys.stderr)
    return 1


def _plan(options: argparse.Namespace, environment: Environment, standing: state.Standing) -> Plan:
    active = standing.active or COLOURS[0]
    to: Colour = options.colour or other(active)
    if to == active:
        raise Refused(f"{to} is active already")
    rules = environment.promotion
    weights = tuple(options.weight) if options.weight else rules.weights
    if list(weights) != sorted(set(weights)) or weights[-1] != 100 or weights[0] < 1:
        raise Refused("weights have to rise from 1 or more, and end with 100")
    seconds = rules.watch_seconds if options.watch is None else options.watch
    code = state.code(environment, to)
    if problem := schema.problem(to, code, standing) or schema.pending(to, code):
        raise Refused(problem)
    versions = list(state.code(environment, active).versions) if standing.active else [None]
    former = versions[0] if len(versions) == 1 else None
    by = f"promote-{secrets.token_hex(8)}"
    return Plan(environment, to, weights, seconds, by, former, code.schema_version)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./doit promote", description=__doc__)
    parser.add_argument("environment", nargs="?", default="local", help="local, staging, production, or a file")
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
    sys.exit(main(sys.argv[1:]))
