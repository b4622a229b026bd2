"""`./doit smoke`: a test client asks every read and is refused every write, and each answer is what it has to be.

Nobody's money is touched: what could move any is sent without a key, or without what it needs. Through the gateway,
or to the namespaces of one colour, each of them, the idle one before a promotion.
"""

import argparse
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import requests

from ops import described
from ops.gateway.environment import COLOURS, NAMES, Colour, Environment, EnvironmentInvalid, load, pick
from ops.gateway.runtime import GatewayUnreachable
from ops.release import expectations
from ops.release.expectations import Call, Found
from ops.release.state import DatabaseUnreachable, idle_colour

KEY = "SMOKE_KEY"
_UNKNOWN = "gsk_test_" + "0" * 26 + "_" + "0" * 64
_SECONDS = 35.0
_PATIENCE = 5  # times that a rate limit is waited for, each no longer than:
_LONGEST_WAIT_SECONDS = 5
_TEST_KEY = re.compile(r"gsk_test_\w+", re.ASCII)


@dataclass(frozen=True)
class Target:
    """Something to be smoked: how it is called in the report, its URL up to packages, what it asks for itself."""

    name: str
    url: str
    secret: str | None = None
    colour: Colour | None = None


@dataclass(frozen=True)
class Outcome:
    """One call's answer, and what is wrong with it."""

    target: str
    call: str
    status: int
    problem: str | None


def run(targets: Iterable[Target], key: str, version: str | None = None) -> Iterator[Outcome]:
    """Smoke each target; the outcomes as they come. Raises EnvironmentInvalid without a key of the test mode."""
    if not _TEST_KEY.fullmatch(key):
        raise EnvironmentInvalid(f"{KEY} has to be a key of the test mode (gsk_test_...)")
    for target in targets:
        found: Found = dict(expectations.MADE_UP)
        with requests.Session() as http:
            for call in expectations.calls(target.colour, version):
                if not (call.is_public and target.secret):
                    yield _one(http, target, key, call, found)


def _one(http: requests.Session, target: Target, key: str, call: Call, found: Found) -> Outcome:
    headers = {"Accept": "application/json", **call.headers}
    if call.key != "none":
        headers["Authorization"] = f"Bearer {key if call.key == 'ours' else _UNKNOWN}"
    if target.secret:
        headers["X-Require-Whisk-Auth"] = target.secret
    query = {name: found[name] for name in call.query}
    try:
        reply = _patiently(http, call, f"{target.url}/{call.path}{call.suffix}", headers, query)
    except requests.RequestException as error:
        return Outcome(target.name, call.name, 0, type(error).__name__)
    return Outcome(target.name, call.name, reply.status_code, _problem(call, reply, found))


def _patiently(
    http: requests.Session, call: Call, url: str, headers: dict[str, str], query: dict[str, str]
) -> requests.Response:
    """The reply; the limit of the key by the second is waited for, and the one by the hour is a reply like another."""
    for _ in range(_PATIENCE):
        reply = http.request(call.method, url, headers=headers, params=query, json=call.body, timeout=_SECONDS)
        asked = reply.headers.get("Retry-After", "1")
        if reply.status_code != 429 or not asked.isdecimal() or int(asked) > _LONGEST_WAIT_SECONDS:
            break
        time.sleep(int(asked))
    return reply


def _problem(call: Call, reply: requests.Response, found: Found) -> str | None:
    content: Any = None
    if "json" in reply.headers.get("Content-Type", ""):
        try:
            content = reply.json()
        except ValueError:
            return "the answer is not the JSON that it says it is"
    code = content["error"]["code"] if _is_error(reply.status_code, content) else None
    if (reply.status_code, code) not in call.right:
        wanted = " or ".join(" ".join(map(str, filter(None, one))) for one in sorted(call.right, key=str))
        return f"{reply.status_code} {code or ''}, wanted {wanted}"
    try:
        otherwise = described.problem(call.path, call.method, reply.status_code, reply.headers, reply.text)
        if otherwise or code is not None:
            return otherwise
        return call.look(content if call.path == "ops/openapi" else content["data"], found) if content else None
    except (KeyError, TypeError, ValueError) as error:
        return f"the answer lacks what it should have: {type(error).__name__} {error}"


def _is_error(status: int, content: Any) -> bool:
    """Whether it has the API's shape of an error, or enough of it to see the code."""
    error = content.get("error") if isinstance(content, dict) else None
    return status >= 400 and isinstance(error, dict) and "code" in error


def targets(environment: Environment, colour: Colour | None) -> list[Target]:
    """The namespaces of a colour, each for itself, or the gateway where none is named. Raises EnvironmentInvalid."""
    if colour is None:
        return [Target("gateway", f"{environment.public}/v1")]
    secret = environment.secret(colour)
    return [Target(one.name, one.space.url, secret, colour) for one in environment.servers(colour)]


def report(outcomes: Iterable[Outcome], *, verbose: bool = False) -> int:
    """Print what is wrong, and a line of sums; how many are wrong."""
    all_, wrong = 0, 0
    for one in outcomes:
        all_ += 1
        wrong += one.problem is not None
        if one.problem or verbose:
            print(f"{'wrong' if one.problem else 'ok':<6}{one.target:<10}{one.call:<44}{one.problem or one.status}")
    print(f"smoke: {all_ - wrong} of {all_} answers are right", flush=True)
    return wrong


def key_of(environment: Environment) -> str:
    """The key of the smoke's client. Raises EnvironmentInvalid."""
    key = environment.values().get(KEY)
    if not key:
        raise EnvironmentInvalid(
            f"{KEY} is not set: ./doit keys create --client smoke --mode test, with scopes to read"
        )
    return key


def main(arguments: list[str]) -> int:
    """Smoke what is named; 0 when every answer is right, else 1."""
    parser = argparse.ArgumentParser(prog="./doit smoke", description=__doc__)
    parser.add_argument("environment", nargs="?", help=NAMES)
    parser.add_argument("--colour", choices=(*COLOURS, "idle"), help="its namespaces, around the gateway")
    parser.add_argument("--version", help="the version that has to answer")
    parser.add_argument("--verbose", action="store_true", help="a line for each answer, right ones too")
    options = parser.parse_args(arguments)
    try:
        environment = load(pick(options.environment))
        colour = idle_colour(environment) if options.colour == "idle" else options.colour
        outcomes = run(targets(environment, colour), key_of(environment), options.version)
        return int(report(outcomes, verbose=options.verbose) > 0)
    except (EnvironmentInvalid, GatewayUnreachable, DatabaseUnreachable) as error:
        print(f"smoke: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
