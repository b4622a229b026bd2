"""deploy/environments/*.yml as typed objects: colours and their namespaces, the gateway, limits, promotions."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from getsmart.front import MOST_BODY_BYTES
from ops.functions import ROOT

FOLDER = ROOT / "deploy/environments"
WEB_SECURE = "WEB_SECURE"
EXAMPLE_APP = "00000000-0000-4000-8000-000000000000"

Colour = Literal["blue", "green"]
COLOURS: tuple[Colour, Colour] = ("blue", "green")

# host:port or *:port; a secret travels to an https address, or to one that does not leave the machine or its network
Address = Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}$")]
Url = Annotated[
    str, Field(pattern=r"^(https://[A-Za-z0-9.-]+|http://(127\.0\.0\.1|[A-Za-z0-9-]+))(:[0-9]+)?(/[\w.-]+)*$")
]
SECRET = re.compile(r"[A-Za-z0-9_-]{16,128}")  # nothing that HAProxy, YAML or a header would take for its own


class EnvironmentInvalid(Exception):
    """An environment cannot be read, or lacks a variable; one line for whoever typed the command."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Namespace(_Part):
    """A namespace of functions (or a container of them): its label for doctl, and the URL that packages follow."""

    label: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")]
    url: Url

    @property
    def id(self) -> str | None:
        """The id at the platform, which guards a deployment against the wrong place; None for a container."""
        found = re.search(r"/api/v1/web/(fn-[0-9a-f-]{36})$", self.url)
        return found.group(1) if found else None

    @property
    def host(self) -> str:
        """Host name without port."""
        return str(urlsplit(self.url).hostname)

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or (443 if self.is_tls else 80)

    @property
    def base(self) -> str:
        """What stands before `/<package>/<function>`, `/v1` here or `/api/v1/web/<id>` at the platform."""
        return urlsplit(self.url).path

    @property
    def is_tls(self) -> bool:
        """Whether it is reached by TLS."""
        return self.url.startswith("https:")


class Gateway(_Part):
    """Where HAProxy runs and listens. `folder` has its sockets and state and what is generated for it."""

    runs: Literal["process", "app-platform"] = "process"
    bind: Address
    internal: Address = "127.0.0.1:8405"
    admin: str | None = None
    """The runtime socket: a path, or host:port within a private network; by default admin.sock in the folder."""
    folder: Path
    certificate: Path | None = None
    app_id: str | None = None
    """Of the app on App Platform, as ./doit gateway create tells it."""

    @property
    def app(self) -> str | None:
        """The app's id; None before there is one, where the example's still stands."""
        return None if self.app_id == EXAMPLE_APP else self.app_id

    @property
    def runtime(self) -> str:
        """The address of the runtime socket."""
        return self.admin or str(self.folder / "admin.sock")


class Caller(_Part):
    """How the gateway knows who calls: proxies of ours in front, each adding an address, or a header of the edge's."""

    proxies: Annotated[int, Field(ge=0, le=5)] = 0
    header: Annotated[str, Field(pattern=r"^[A-Za-z-]+$")] | None = None


class Health(_Part):
    """The check of each namespace: a call every so many seconds."""

    every_seconds: Annotated[int, Field(ge=1, le=60)] = 10


class Limits(_Part):
    """What the gateway lets through."""

    body_bytes: Annotated[int, Field(ge=1_024, le=MOST_BODY_BYTES)] = MOST_BODY_BYTES
    """No more than a function takes; the platform refuses what is over 1 MB once it has made base64 of it."""
    calls_per_address: Annotated[int, Field(ge=1)] = 600
    """In one minute; an IPv6 caller is its /64."""
    concurrent_per_address: Annotated[int, Field(ge=1)] = 40
    """Calls at a time, of the same address."""
    concurrent_uploads: Annotated[int, Field(ge=1)] = 60
    """Calls at a time whose body is larger than a buffer (32 KB), of all addresses: each holds a place as it comes."""
    concurrent_per_namespace: Annotated[int, Field(ge=1, le=1_000)] = 120
    connections: Annotated[int, Field(ge=10)] = 2_000

    @model_validator(mode="after")
    def _leaves_places_to_others(self) -> Self:
        if self.concurrent_uploads >= self.concurrent_per_namespace:
            raise ValueError("concurrent_uploads has to be less than concurrent_per_namespace")
        return self


class Promotion(_Part):
    """The steps of a promotion in per cent, and what the new colour is measured by while it is watched."""

    weights: tuple[Annotated[int, Field(ge=1, le=100)], ...] = (10, 50, 100)
    watch_seconds: Annotated[float, Field(gt=0)] = 60
    fewest_calls: Annotated[int, Field(ge=1)] = 20
    failed_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    refused_share: Annotated[float, Field(ge=0, le=1)] = 0.25
    slower_times: Annotated[float, Field(gt=1)] = 3

    @model_validator(mode="after")
    def _rises_to_all(self) -> Self:
        if list(self.weights) != sorted(set(self.weights)) or self.weights[-1] != 100:
            raise ValueError("weights have to rise, and end with 100")
        return self


class Environment(_Part):
    """One file of deploy/environments."""

    name: str
    """Of the file that it stands in."""
    public: Url
    """Where callers call, without /v1."""
    gateway: Gateway
    caller: Caller = Caller()
    colours: Mapping[Colour, Annotated[tuple[Namespace, ...], Field(min_length=1, max_length=16)]]
    health: Health = Health()
    limits: Limits = Limits()
    promotion: Promotion = Promotion()
    variables: Path | None = None
    """A file with the operator's variables; without one .env and the process environment."""

    @model_validator(mode="after")
    def _has_both_colours(self) -> Self:
        if set(self.colours) != set(COLOURS):
            raise ValueError("both colours are needed")
        urls = [space.url for spaces in self.colours.values() for space in spaces]
        if len(set(urls)) != len(urls):
            raise ValueError("a namespace stands twice")
        return self

    def servers(self, *colours: Colour) -> Iterator["Server"]:
        """The namespaces of these colours, by default of both, with their names at the gateway."""
        for colour in colours or COLOURS:
            for number, space in enumerate(self.colours[colour], 1):
                yield Server(f"{colour}-{number}", colour, space)

    def values(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The operator's variables: what is no secret and stands beside this file, then the process, then its file.

        Empty ones are left out.
        """
        own, reviewed = ROOT / (self.variables or ".env"), FOLDER / f"{self.name}.env"
        given = {**_read(own), **environ, **_read(reviewed)}
        return {name: value for name, value in given.items() if value}

    def secret(self, colour: Colour, environ: Mapping[str, str] = os.environ) -> str:
        """What a colour's functions ask for as X-Require-Whisk-Auth. Raises EnvironmentInvalid."""
        values = self.values(environ)
        value = values.get(secret_name(colour)) or values.get(WEB_SECURE, "")
        if not SECRET.fullmatch(value):
            raise EnvironmentInvalid(
                f"{secret_name(colour)}, or {WEB_SECURE} for both, has to be 16 to 128 of A-Z a-z 0-9 _ -; is it set?"
            )
        return value


@dataclass(frozen=True)
class Server:
    """A namespace under its name at the gateway, such as blue-1."""

    name: str
    colour: Colour
    space: Namespace


def load(name: str) -> Environment:
    """The environment of that name (`staging`), or in that file. Raises EnvironmentInvalid."""
    path = Path(name) if name.endswith(".yml") else FOLDER / f"{name}.yml"
    try:
        return Environment.model_validate({"name": path.stem, **yaml.safe_load(path.read_text(encoding="utf-8"))})
    except FileNotFoundError:
        raise EnvironmentInvalid(f"no environment {name}; there are {', '.join(known())}") from None
    except yaml.YAMLError as error:
        raise EnvironmentInvalid(f"{path}: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise EnvironmentInvalid(f"{path}: {'; '.join(problems)}") from None


NAMES = "local, staging, production, or a file; left out only beside ./doit serve --blue-green: local"


def pick(name: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The environment that a command means: the named one, or `local` where that was started here.

    Nothing is guessed where MONGODB_URI is set: it comes before the local system's own. Raises EnvironmentInvalid.
    """
    if name is not None:
        return name
    is_here = (ROOT / load("local").gateway.folder).is_dir()
    if is_here and not environ.get("MONGODB_URI"):
        return "local"
    raise EnvironmentInvalid(f"name the environment: {', '.join(known())}")


def known() -> list[str]:
    """The environments that stand in the folder, by name."""
    return sorted(file.stem for file in FOLDER.glob("*.yml"))


def secret_name(colour: Colour) -> str:
    """The variable that holds the secret of a colour."""
    return f"{WEB_SECURE}_{colour.upper()}"


def _read(file: Path) -> dict[str, str | None]:
    return dotenv_values(file) if file.is_file() else {}


def other(colour: Colour) -> Colour:
    """The colour beside this one."""
    return COLOURS[1 - COLOURS.index(colour)]
