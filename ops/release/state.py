"""Where a deployment stands: which colour the database calls active, which has the calls, and what that means."""

import os
import secrets
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import requests
from pymongo.errors import PyMongoError

from getsmart import config, mongo
from getsmart.errors import GetSmartError
from getsmart.stores import controls
from ops.gateway.environment import COLOURS, Colour, Environment, EnvironmentInvalid, Server, other
from ops.migrations.files import UNPHASED
from ops.who import who

_SECONDS = 5.0
_DATABASE = ("MONGODB_URI", "MONGODB_DATABASE")


class DatabaseUnreachable(Exception):
    """The database does not say which colour is active; one line for whoever typed the command."""


@dataclass(frozen=True)
class Standing:
    """The row of the database that says whose tick works, and what is under way."""

    active: Colour | None
    previous: Colour | None = None
    previous_version: str | None = None
    """What the colour ran that was active before, if it may be gone back to."""
    moving_to: Colour | None = None
    moving: str | None = None
    """`promote` or `rollback`."""
    by: str | None = None
    activated_by: str | None = None
    """Who made the active colour active."""
    activated_at: datetime | None = field(default=None, compare=False)
    lowest_schema: int = 0
    """What code has to be made for since a migration took away what older code needs; 0 while none has."""

    def rollback_target(self, shares: Mapping[Colour, int]) -> Colour | None:
        """The colour that a rollback gives the calls to; None when there is nothing to go back to.

        A promotion under way goes back to the active colour. A rollback that was cut short is finished. Where all calls
        are with the colour that is not active, and nobody promotes, a rollback was cut short that could not write down
        its intent. Else the colour that was active before.
        """
        if self.active is None:
            return None
        if self.moving == "promote":
            return self.active
        if self.moving == "rollback":
            return self.moving_to
        passive = other(self.active)
        return passive if shares[passive] == 100 else self.previous

    def unfit(self, target: Colour, versions: AbstractSet[str | None], shares: Mapping[Colour, int]) -> str | None:
        """Why a rollback must not take calls to what its colour's namespaces say they run; None while it may.

        None among `versions` stands for a namespace that does not answer. Before a first release that is all of a
        colour: nothing is deployed there. While something moves, or calls are there already, the version is not asked
        for: it is what had the calls a moment ago.
        """
        if versions == {None}:
            return f"{target} does not answer, as if nothing were deployed there"
        if self.moving is not None:
            return None
        if self.previous_version is None:
            return None if shares[target] == 100 else f"which version {target} was active with is not known"
        if versions != {self.previous_version}:
            runs = ", ".join(sorted(map(str, versions)))
            return f"{target} was active with version {self.previous_version} and runs {runs} now"
        return None

    def warning(self, shares: Mapping[Colour, int], name: str) -> str | None:
        """What an operator has to know when calls and tick are not with one colour of the environment of that name."""
        if self.moving == "promote" and self.moving_to and shares[self.moving_to] == 100:
            return (
                f"{self.moving_to} has all calls and is not active: ./doit promote {name} finishes,"
                f" ./doit rollback {name} goes back"
            )
        if self.moving:
            return (
                f"a {self.moving} to {self.moving_to} is under way, or was cut short ({self.by}): repeat it,"
                f" or ./doit rollback {name}"
            )
        if self.active and shares[self.active] < 100:
            return (
                f"{self.active} is active and has {shares[self.active]} % of the calls:"
                f" ./doit rollback {name} puts that right"
            )
        return None


def mover(kind: str) -> str:
    """The name of one promotion or rollback: who began it, where, and which it is."""
    return f"{who()} {kind}-{secrets.token_hex(4)}"


def use_database(environment: Environment) -> None:
    """Take the database from the environment's variables, as functions take it from theirs."""
    values = environment.values()
    for name in _DATABASE:
        if name in values:
            os.environ[name] = values[name]
    config.forget()
    mongo.forget()


def standing(environment: Environment) -> Standing:
    """What the database says. Raises DatabaseUnreachable."""
    use_database(environment)
    return read()


def read() -> Standing:
    """What the database says, once it is known which one. Raises DatabaseUnreachable."""
    try:
        row = controls.colour_row()
    except (PyMongoError, GetSmartError) as error:
        raise DatabaseUnreachable(f"the database does not answer: {error}") from error
    moving: Mapping[str, Any] = row.get("moving") or {}
    previous: Mapping[str, Any] = row.get("previous") or {}
    return Standing(
        row.get("active"),
        previous.get("colour"),
        previous.get("version"),
        moving.get("to"),
        moving.get("kind"),
        moving.get("by"),
        row.get("activated_by"),
        row.get("activated_at"),
        row.get("lowest_schema", 0),
    )


def health(environment: Environment, server: Server) -> Mapping[str, Any] | None:
    """What a namespace says of itself, asked around the gateway; None when it does not."""
    try:
        headers = {"X-Require-Whisk-Auth": environment.secret(server.colour)}
        reply = requests.get(f"{server.space.url}/ops/health", headers=headers, timeout=_SECONDS)
        data: Mapping[str, Any] = reply.json()["data"]
    except (requests.RequestException, ValueError, KeyError, TypeError, EnvironmentInvalid):
        return None
    return data


@dataclass(frozen=True)
class Code:
    """What a colour's namespaces say they run; None stands for one that does not answer."""

    versions: frozenset[str | None]
    schema_version: int | None
    """The lowest number that they were made for."""


def code(environment: Environment, colour: Colour) -> Code:
    """Ask each namespace of a colour."""
    reports = [health(environment, server) for server in environment.servers(colour)]
    answered = [report for report in reports if report]
    numbers = [report.get("schema_version") or UNPHASED for report in answered]
    is_whole = len(answered) == len(reports)
    return Code(
        frozenset(report["version"] if report else None for report in reports), min(numbers) if is_whole else None
    )


def idle_colour(environment: Environment) -> Colour:
    """The colour that is not active; green before any is. Raises DatabaseUnreachable."""
    return other(standing(environment).active or COLOURS[0])
