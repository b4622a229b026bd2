"""Which colour a deployment goes to: the one that has no calls and gets none while it is deployed to."""

import sys
from typing import Any, NamedTuple

from pymongo import MongoClient

from getsmart.stores.controls import COLOUR
from ops.gateway import environment
from ops.gateway.environment import COLOURS, Colour, EnvironmentInvalid, other
from ops.gateway.runtime import GatewayUnreachable
from ops.pipeline.environments import EnvironmentProblem
from ops.release import traffic


class Idle(NamedTuple):
    """The idle colour, and what the other one serves with."""

    colour: Colour
    serving: str | None
    """The version that the active colour's tick told last; None while none has."""


def idle(name: str | None, uri: str, database: str) -> Idle:
    """The colour that the database does not call active; green while none is. `name` is the environment's.

    A gateway that cannot be asked is said, and the database alone decides: before a first deployment there is none.
    Raises EnvironmentProblem when the colour has calls, or may get some; PyMongoError.
    """
    client: MongoClient[dict[str, Any]] = MongoClient(uri, serverSelectionTimeoutMS=10_000)
    with client:
        row = client[database].controls.find_one({"_id": COLOUR}) or {}
    if move := row.get("moving"):
        raise EnvironmentProblem(
            f"a {move['kind']} to {move['to']} is under way, or was cut short ({move['by']}), and no colour is idle:"
            f" ./doit status {name or 'ENVIRONMENT'}; ./doit rollback {name or 'ENVIRONMENT'} ends it"
        )
    active: Colour = row.get("active") or COLOURS[0]
    colour = other(active)
    if name and (share := _share(name, colour)):
        raise EnvironmentProblem(
            f"{colour} is not active and has {share} % of the calls: ./doit rollback {name} puts that right"
        )
    return Idle(colour, row.get("seen", {}).get(active, {}).get("version"))


def _share(name: str, colour: Colour) -> int:
    try:
        return traffic.traffic_of(environment.load(name)).shares()[colour]
    except (GatewayUnreachable, EnvironmentInvalid) as error:
        print(f"deploy: whether {colour} has calls only the database says: {error}", file=sys.stderr)
        return 0


def refuse_again(there: Idle, version: str) -> None:
    """Refuse what serves already: it would take the place of the version that a rollback goes back to.

    A tree with changes has the version of the commit before them, and proves nothing. Raises EnvironmentProblem.
    """
    if version == there.serving and not version.endswith("-changed"):
        raise EnvironmentProblem(
            f"{other(there.colour)} serves with version {version} already; in {there.colour} it would take the place of"
            " what ./doit rollback goes back to. After a changed secret: --again"
        )
