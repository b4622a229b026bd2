"""Two colours of the functions on this machine, HAProxy in front: each namespace a process that can be replaced."""

import json
import os
import secrets
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from local import processes
from local.ports import free_port
from local.processes import Child, ChildFailed
from ops.functions import ROOT
from ops.gateway import environment, generate, runtime
from ops.gateway.environment import COLOURS, Colour, Environment, Server

HOPS = "2"  # the gateway's, and the one that `serving` adds as the platform does
ENVIRONMENT, VARIABLES = "environment.yml", "variables.env"
_READY_SECONDS, _POLL_SECONDS = 120.0, 0.05
_THREADS = "16"


class BlueGreen:
    """The parts of one such system, by name: each namespace (`blue-1`), each colour's `tick`, and the gateway."""

    def __init__(
        self, there: Environment, functions: Mapping[str, str], *, workers: int = 0, platform_limits: bool = False
    ) -> None:
        """`there` says where everything listens; `functions` is what functions get, but colour, hops and secret.

        Each namespace is a container with `workers`, or for 0 one process, which may have a namespace's limits.
        """
        self._more = ["--platform-limits"] if platform_limits else []
        self.there = there
        self.folder = there.gateway.folder
        self.secret = secrets.token_urlsafe(24)
        self._functions = {**functions, "WEB_SECURE": self.secret, "FORWARDED_HOPS": HOPS}
        self._workers = workers
        self.parts: dict[str, Child] = {}

    def start(self, stops: ExitStack, *, active: Colour, api_key: str) -> list[Child]:
        """Start everything; `stops` ends it. Returns the parts. Raises ChildFailed."""
        if shutil.which("haproxy") is None:
            raise ChildFailed("blue-green needs HAProxy 2.6 or later (Debian: apt-get install haproxy)")
        stops.callback(self.stop)
        self._tell(api_key)
        for server in self.there.servers():
            self.begin(server)
        for colour in COLOURS:
            self.begin_tick(colour)
        for part in self.parts.values():
            part.announcement(_READY_SECONDS)
        self.begin_gateway(active)
        return list(self.parts.values())

    def stop(self) -> None:
        """End all parts, the gateway first."""
        for child in reversed(self.parts.values()):
            child.terminate()
        for child in reversed(self.parts.values()):
            child.stop()

    def begin(self, server: Server, root: Path = ROOT, **more: str) -> Child:
        """Start the process of a namespace, from the project in that folder; not yet ready."""
        words = ["-m", "serving", "--host", server.space.host, "--port", str(server.space.port), *self._more]
        words += ["--workers", str(self._workers), "--threads", _THREADS] if self._workers else []
        return self._begin(server.name, [sys.executable, *words], root, {"COLOUR": server.colour, **more})

    def begin_tick(self, colour: Colour, root: Path = ROOT, **more: str) -> Child:
        """Start the process that stands for the schedule of a colour's tick."""
        words = [sys.executable, "-m", "serving.scheduler"]
        return self._begin(f"tick-{colour}", words, root, {"COLOUR": colour, "MONGODB_MAX_POOL_SIZE": "4", **more})

    def replace(self, colour: Colour, root: Path = ROOT, **more: str) -> None:
        """Other code in all namespaces of a colour, at once: what they have begun is cut off, so it has no calls."""
        for name in [*(server.name for server in self.there.servers(colour)), f"tick-{colour}"]:
            self.parts.pop(name).kill()
        begun = [self.begin(server, root, **more) for server in self.there.servers(colour)]
        for child in (*begun, self.begin_tick(colour, root, **more)):
            child.announcement(_READY_SECONDS)
        self.wait_up(colour)

    def begin_gateway(self, active: Colour = "blue") -> None:
        """Write HAProxy's configuration, start it, and wait until it takes calls."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files = generate.render(self.there, name="this machine", shares=generate.all_to(active))
        generate.write({**files, runtime.STATE: runtime.NO_STATE}, self.folder)
        generate.write_secrets(dict.fromkeys(COLOURS, self.secret), self.folder)
        generate.check(self.folder)
        command = generate.command(self.folder)
        self._begin("haproxy", command, ROOT, {}, announces=False)
        self._wait(self._is_ready, "the gateway was not ready")

    def wait_up(self, colour: Colour) -> None:
        """Wait until the gateway's checks see every namespace of a colour."""
        line = runtime.runtime_of(self.there)

        def is_up() -> bool:
            reading = line.readings()[colour]
            return reading.up == reading.servers

        self._wait(is_up, f"{colour} did not come up")

    def _begin(
        self, name: str, command: list[str], root: Path, more: Mapping[str, str], *, announces: bool = True
    ) -> Child:
        path = os.pathsep.join((str(root / "lib"), str(root)))
        child = processes.start(
            name,
            ["/usr/bin/env", "-C", str(root), *command],
            log=self.folder / f"{name}.log",
            environment={**self._functions, "PYTHONPATH": path, **more},
            announces=announces,
        )
        self.parts[name] = child
        return child

    def _is_ready(self) -> bool:
        if self.parts["haproxy"].exited.is_set():
            raise ChildFailed(self.parts["haproxy"].obituary("did not start"))
        try:
            with urllib.request.urlopen(f"http://{self.there.gateway.internal}/readyz", timeout=2) as reply:
                is_ready = bool(reply.status == 200)
            return is_ready and runtime.runtime_of(self.there).has_checked(one.name for one in self.there.servers())
        except (urllib.error.URLError, OSError, runtime.GatewayUnreachable):
            return False

    @staticmethod
    def _wait(condition: Callable[[], bool], failure: str) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise ChildFailed(f"{failure} after {_READY_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)

    def _tell(self, api_key: str) -> None:
        """Leave what `./doit promote` and the others need, in the gateway's folder, for its owner's eyes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = ("MONGODB_URI", "MONGODB_DATABASE", environment.WEB_SECURE)
        values = {name: self._functions[name] for name in names if name in self._functions} | {"SMOKE_KEY": api_key}
        for name, text in (
            (VARIABLES, "".join(f"{key}={value}\n" for key, value in values.items())),
            (ENVIRONMENT, yaml.safe_dump(json.loads(self.there.model_dump_json()), sort_keys=False)),
        ):
            file = self.folder / name
            file.unlink(missing_ok=True)
            file.touch(mode=0o600)
            file.write_text(text, encoding="utf-8")


def here(folder: Path, port: int, *, are_free: bool = True, spaces: int = 1, **more: Any) -> Environment:
    """The local environment with its gateway on that port, its files in that folder, so many namespaces a colour.

    `are_free`: all other ports are such as nobody uses.
    """
    local = environment.load("local")
    given: dict[str, Any] = json.loads(local.model_dump_json())
    given["public"], given["gateway"]["bind"] = f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"
    given["gateway"]["folder"], given["variables"] = str(folder), str(folder / VARIABLES)
    if are_free:
        ports = _fresh_ports(port)
        given["gateway"]["internal"] = f"127.0.0.1:{next(ports)}"
        given["colours"] = {
            colour: [{"label": f"{colour}-{n}", "url": f"http://127.0.0.1:{next(ports)}/v1"} for n in range(spaces)]
            for colour in COLOURS
        }
    return Environment.model_validate({**given, **more})


def _fresh_ports(*given: int) -> Iterator[int]:
    """Ports that nobody uses, each once, and none of those."""
    known = set(given)
    while True:
        port = free_port()
        if port not in known:
            known.add(port)
            yield port
