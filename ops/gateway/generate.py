"""HAProxy's configuration, made of project.yml, the doors of the functions and an environment."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from getsmart import errors
from getsmart.replies import failure
from ops.functions import ROOT, load
from ops.gateway.environment import COLOURS, Colour, Environment, EnvironmentInvalid, Server
from serving.loader import Loaded

TEMPLATE = ROOT / "deploy/gateway/haproxy.cfg.jinja"
CONFIG, ROUTES, CALLS = "haproxy.cfg", "routes.map", "calls.lst"
GUARDS = "secrets.map"
MASTER = "master.sock"
_LONGEST_PATH = 90
"""What a socket's path may have, less what HAProxy appends while it makes one."""
SHARE = 240
"""The weight of a colour that has all calls; it divides well, and HAProxy counts to 256."""
BOUNDS_MS = (25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)

# What HAProxy would say itself: a call that is no HTTP or never ends, an error of its own, nobody there.
_PAGES: Mapping[int, type[errors.GetSmartError]] = {
    400: errors.InvalidRequest,
    408: errors.InvalidRequest,
    500: errors.Internal,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.Unavailable,
}
_OTHERS = (errors.NotFound, errors.MethodNotAllowed, errors.TooLarge, errors.RateLimited, errors.Unavailable)


class ConfigRefused(Exception):
    """HAProxy does not take the configuration; what it said."""


def routes(root: Path = ROOT) -> dict[str, tuple[str, ...]]:
    """The methods of each public path, in the order in which its door names them."""
    found: dict[str, tuple[str, ...]] = {}
    for function in load(root):
        if function.web:
            main: Any = Loaded(function.package, function.name, function.path, function.timeout_ms).main()
            found[f"/v1/{function.route}"] = tuple(main.asks)
    return found


def weight_of(share: int, namespaces: int) -> int:
    """The weight of each of a colour's namespaces when the colour has `share` per cent of the calls."""
    return max(1, round(SHARE * share / 100 / namespaces)) if share else 0


def all_to(colour: Colour) -> dict[Colour, int]:
    """The shares of the calls, in per cent, when one colour has them all."""
    return {one: 100 if one == colour else 0 for one in COLOURS}


def render(
    environment: Environment, *, name: str, shares: Mapping[Colour, int] | None = None, root: Path = ROOT
) -> dict[str, str]:
    """The files of the gateway by their names; by default blue has all calls where a start is told nothing else.

    HAProxy takes a kept weight for a server only while its weight in the configuration is the one of before: so the
    configuration of a gateway that has calls is written with the shares that it has. Raises EnvironmentInvalid.
    """
    spaces = environment.colours
    gateway = environment.gateway
    folder = gateway.folder if gateway.folder.is_absolute() else root / gateway.folder
    if len(str(folder / MASTER)) > _LONGEST_PATH:
        raise EnvironmentInvalid(f"{folder} is too long a path for sockets; name a shorter one")
    template = jinja2.Environment(  # noqa: S701 - no HTML
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    ).from_string(TEMPLATE.read_text(encoding="utf-8"))
    servers = list(environment.servers())
    given = shares or all_to(COLOURS[0])
    config = template.render(
        name=name,
        admin=gateway.admin or f"{folder}/admin.sock",
        folder=folder,
        bind=gateway.bind,
        internal=gateway.internal,
        certificate=gateway.certificate,
        proto="https" if environment.public.startswith("https:") else "http",
        caller=environment.caller,
        limits=environment.limits,
        health=environment.health,
        servers=servers,
        weights={colour: weight_of(given[colour], len(spaces[colour])) for colour in spaces},
        retries={colour: 2 if len(spaces[colour]) == 1 else 0 for colour in spaces},
        attempts=min(3, len(servers) - 1),
        resolve=any("." in server.space.host and server.space.is_tls for server in servers),
        bounds=BOUNDS_MS,
        pages={status: page(error, "unique-id") for status, error in _PAGES.items()},
        page={error.code: page(error) for error in _OTHERS},
        address=_address,
    )
    declared = routes(root)
    return {
        CONFIG: config,
        ROUTES: "".join(f"{path} {', '.join(methods)}\n" for path, methods in declared.items()),
        CALLS: "".join(f"{one} {path}\n" for path, methods in declared.items() for one in (*methods, "OPTIONS")),
    }


def page(error: type[errors.GetSmartError], request_id: str = "var(txn.id)") -> str:
    """An error in the API's shape as a quoted log-format of HAProxy, which puts the id of the request in."""
    text = failure(error(), "%").body
    return "'" + text.replace('"%"', f'"%[{request_id}]"') + "'"


def _address(server: Server) -> str:
    """Where a namespace is, checked to be it when it is reached by TLS; its name is looked up again and again."""
    space = server.space
    host = f"{space.host}:{space.port}"
    lookup = " resolvers system init-addr last,libc,none"
    return f"{host} ssl verify required ca-file @system-ca sni str({space.host}){lookup}" if space.is_tls else host


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write what is generated, whole files at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        draft = folder / f"{name}.new"
        draft.write_text(text, encoding="utf-8")
        draft.replace(folder / name)


def write_secrets(secrets: Mapping[Colour, str], folder: Path) -> None:
    """Write what each colour's functions ask for into a file that is its owner's alone; the folder is in memory."""
    draft = folder / f"{GUARDS}.new"
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text("".join(f"{colour} {secret}\n" for colour, secret in secrets.items()), encoding="utf-8")
    draft.replace(folder / GUARDS)


def command(folder: Path, program: str = "haproxy") -> list[str]:
    """How HAProxy is started with the configuration in that folder: a master that keeps workers."""
    return [program, "-Ws", "-f", str(folder / CONFIG), "-S", f"{folder / MASTER},mode,600"]


def check(folder: Path, program: str = "haproxy") -> str:
    """Let HAProxy read the configuration there; its warnings. Raises ConfigRefused, OSError without HAProxy."""
    command = [program, "-c", "-f", str(folder / CONFIG)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise ConfigRefused(done.stderr.strip() or done.stdout.strip())
    return done.stderr.strip()
