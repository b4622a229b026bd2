"""An environment of deploy/environments/: its colours and namespaces, and every variable that a deployment there needs.

What is no secret stands in NAME.env there and is reviewed like code. Secrets come from the process (in the pipeline) or
from an env file (on a laptop); where the environment's own file names a variable, that is what counts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops import deployer_rules, functions
from ops.deployer_template import Values, read_env
from ops.gateway import environment
from ops.gateway.environment import (
    COLOURS,
    FOLDER,
    SECRET,
    WEB_SECURE,
    Colour,
    EnvironmentInvalid,
    Namespace,
    secret_name,
)
from ops.pipeline import forgotten
from ops.stage import left_out, unread

ACCESS_KEYS = "ACCESS_KEYS"
"""ACCESS_KEYS_BLUE, ACCESS_KEYS_GREEN: the keys of a colour's namespaces, comma separated, in their order."""
_PLACEHOLDER = re.compile(r"<[^>]*>")


class EnvironmentProblem(Exception):
    """An environment cannot be deployed to as it is described; the text is a line for each reason."""


@dataclass(frozen=True)
class Environment:
    """What deploy/environments/NAME.yml and NAME.env say, as far as a deployment reads it."""

    name: str
    url: str
    """The public address, without /v1."""
    namespaces: Mapping[Colour, tuple[str, ...]]
    variables: Mapping[str, str]
    urls: tuple[str, ...] = ()
    """Every address that the environment names: its own, and those of its namespaces."""


def names() -> list[str]:
    """The environments that can be deployed to: those that have both files."""
    return sorted(path.stem for path in FOLDER.glob("*.env"))


def load(name: str) -> Environment:
    """Read the environment of that name, or in that .yml file. Raises EnvironmentProblem when it is not complete."""
    path = Path(name) if name.endswith(".yml") else FOLDER / f"{name}.yml"
    if not path.with_suffix(".env").is_file():
        raise EnvironmentProblem(f"no environment {name} to deploy to; there are {', '.join(names())}")
    try:
        there = environment.load(name)
    except EnvironmentInvalid as error:
        raise EnvironmentProblem(str(error)) from None
    namespaces = {colour: tuple(_id(server.space) for server in there.servers(colour)) for colour in COLOURS}
    urls = (there.public, *(server.space.url for server in there.servers()))
    return Environment(path.stem, there.public, namespaces, read_env(path.with_suffix(".env")), urls)


def _id(space: Namespace) -> str:
    if space.id is None:
        raise EnvironmentProblem(f"{space.url} is not the URL of a namespace: https://.../api/v1/web/fn-<uuid>")
    return space.id


def given(env_file: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The secrets at hand: of the process, and for what it lacks those of the env file. Raises TemplateError."""
    return {**(read_env(env_file) if env_file else {}), **{name: value for name, value in environ.items() if value}}


def access_keys(there: Environment, colour: Colour, secrets: Values) -> list[str | None]:
    """The access key of each of the colour's namespaces, or None for each where none is set. Raises EnvironmentProblem.

    A pipeline has keys, each for its namespace only; whoever is logged in with doctl needs none.
    """
    name = f"{ACCESS_KEYS}_{colour.upper()}"
    wanted = len(there.namespaces[colour])
    keys: list[str | None] = [key.strip() for key in secrets.get(name, "").split(",") if key.strip()]
    if keys and len(keys) != wanted:
        raise EnvironmentProblem(f"{name}: {len(keys)} access keys for {wanted} namespaces")
    return keys or [None] * wanted


def values(
    there: Environment, colour: Colour, version: str, secrets: Values, root: Path = functions.ROOT
) -> dict[str, str]:
    """Every variable of a deployment's env file, and no other.

    Raises EnvironmentProblem naming what is missing, what is still an example, and what a function could not use.
    """
    fixed = {**there.variables, "COLOUR": colour, "APP_VERSION": version}
    at_hand = {**secrets, **fixed}
    for name in unread(at_hand):  # as it stands in .env.example, it may stay there
        if forgotten.is_example(name, at_hand.get(name, "")):
            del at_hand[name]
    own_secret = secrets.get(secret_name(colour)) or secrets.get(WEB_SECURE, "")
    wanted = {name for function in functions.load(root) for name in function.environment} - left_out(at_hand)
    found = {name: at_hand.get(name, "") for name in sorted(wanted)} | {WEB_SECURE: own_secret}
    problems = [problem for name, value in found.items() if (problem := _problem(name, value))]
    good = {name: value for name, value in found.items() if value and not _problem(name, value)}
    problems += [*forgotten.of_hosts(there.urls), *forgotten.of_values(good, fixed), *forgotten.of_types(good)]
    problems += deployer_rules.address_problems(good)
    if problem := _unguarded(colour, own_secret, good.get("FORWARDED_HOPS", "")):
        problems.append(problem)
    if problems:
        raise EnvironmentProblem("\n".join(problems))
    return {name: value for name, value in found.items() if value}


def _unguarded(colour: Colour, secret: str, hops: str) -> str | None:
    """A gateway in front says who calls; without a secret of its own, so could anybody who goes around it."""
    if SECRET.fullmatch(secret) or not (secret or hops > "1"):
        return None
    return (
        f"{secret_name(colour)}, or {WEB_SECURE} for both, has to be 16 to 128 of A-Z a-z 0-9 _ -: with FORWARDED_HOPS"
        " above 1 a caller around the gateway could name any address as its own"
    )


def _problem(name: str, value: str) -> str | None:
    if not value:
        return None if name == WEB_SECURE else f"{name} is unset or empty"
    if "'" in value or "\n" in value:
        return f"{name} holds a single quote or a line end"
    return f"{name} is still to be filled in" if _PLACEHOLDER.fullmatch(value) else None
