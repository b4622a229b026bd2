"""Start database, sandbox, scheduler and gateway in order, each configured by its environment, all on leashes."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from local import database, processes
from local.bluegreen import BlueGreen
from local.ports import free_port, is_free
from local.processes import Child, ChildFailed
from ops.gateway.environment import Colour, Environment

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
GATEWAY = "gateway"
WEBHOOK_HOST = "localhost"
WEBHOOK_PATH = "/v1/webhooks/metakeep"
_READY_SECONDS = 120.0
_PORT_SECONDS = 2.0
_PORT_POLL_SECONDS = 0.05

# All that a run leaves in its data directory; nothing else in there is ever touched.
OWNED = (
    *("database", "mongod", "sandbox", "gateway", "credentials.json", "serve.json"),
    *("database.log", "sandbox.log", "prepare.log", "scheduler.log", "gateway.log"),
)


@dataclass(frozen=True)
class Ports:
    """Where to listen."""

    gateway: int
    sandbox: int
    rpc: int

    @classmethod
    def free(cls) -> "Ports":
        """Ports that nobody uses."""
        return cls(free_port(HOST), free_port(HOST), free_port(HOST))

    def require_free(self) -> None:
        """Raises ChildFailed naming a port that is taken and stays so (a killed predecessor gets time to vanish)."""
        deadline = time.monotonic() + _PORT_SECONDS
        for name, port in asdict(self).items():
            while not is_free(port, HOST):
                if time.monotonic() > deadline:
                    raise ChildFailed(f"port {port} for the {name} is in use; --port 0 takes free ports for everything")
                time.sleep(_PORT_POLL_SECONDS)


@dataclass(frozen=True)
class Facts:
    """What scripts need to know of a running system; the content of serve.json. `gateway` is without `/v1`."""

    gateway: str
    sandbox: str
    rpc: str
    database: str
    api_key: str
    webhook_scheme: str
    webhook_sender_key: str
    webhook_secret: str
    pid: int


@dataclass(frozen=True)
class Ground:
    """What functions stand on: the database, the sandbox's facts, their variables, a key, the active colour."""

    uri: str
    sandbox: Mapping[str, Any]
    functions: Mapping[str, str]
    api_key: str
    active: Colour


@dataclass(frozen=True)
class Stack:
    """How a system is started: where its data is, on which ports, and who is told when a part ends by itself."""

    data: Path
    ports: Ports
    environment: Mapping[str, str]
    on_exit: Callable[[Child], None]
    say: Callable[[str], None]
    mine_after_ms: int = 2_000
    isolated: bool = False
    platform_limits: bool = False
    workers: int = 0  # of the container; 0 for one process of our own
    there: Environment | None = None  # blue-green: where its parts listen

    def start(self, stops: ExitStack) -> Facts:
        """Start everything; `stops` ends it in the reverse order. Raises ChildFailed; `stops` ends what was started."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.ports.require_free()
        ground = self.ground(stops)
        self.say("starting the functions ...")
        if self.there:
            self._blue_green(stops, self.there, ground)
        else:
            self._one_gateway(stops, ground.functions)
        return Facts(
            gateway=f"http://{HOST}:{self.ports.gateway}",
            sandbox=ground.sandbox["base_url"],
            rpc=ground.sandbox["rpc_url"],
            database=ground.uri,
            api_key=ground.api_key,
            webhook_scheme=ground.functions["METAKEEP_WEBHOOK_SCHEME"],
            webhook_sender_key=ground.sandbox["webhook_sender_key"],
            webhook_secret=ground.sandbox["webhook_secret"],
            pid=os.getpid(),
        )

    def ground(self, stops: ExitStack) -> Ground:
        """Start what functions stand on: the database, prepared, and the sandbox. Raises ChildFailed."""
        self.say("starting the database ...")
        server = database.choose(self.data, self.environment)
        stops.callback(server.stop)
        uri = server.start(self.on_exit)
        self.say("starting the sandbox and preparing the database ...")
        base = self._base(uri)
        prepare = self._module(stops, "prepare", base, str(self.data / "credentials.json"), watched=False)
        sandbox = json.loads(self._sandbox(stops, base).announcement(_READY_SECONDS))
        prepared = json.loads(prepare.announcement(_READY_SECONDS))
        functions = {**base, **_provider(sandbox), "METAKEEP_WEBHOOK_SCHEME": _scheme(base)}
        return Ground(uri, sandbox, functions, prepared["api_key"], prepared["active"])

    def _base(self, uri: str) -> dict[str, str]:
        """What every part gets: the caller's own environment, the import path and the database."""
        inherited = self.environment.get("PYTHONPATH", "")
        path = os.pathsep.join(filter(None, (str(ROOT / "lib"), str(ROOT), inherited)))
        return {**self.environment, "PYTHONPATH": path, "MONGODB_URI": uri}

    def _sandbox(self, stops: ExitStack, environment: Mapping[str, str]) -> Child:
        arguments = {
            "--host": HOST,
            "--port": self.ports.sandbox,
            "--rpc-port": self.ports.rpc,
            "--data": self.data / "sandbox",
            "--webhook-url": f"http://{HOST}:{self.ports.gateway}{WEBHOOK_PATH}",
            "--webhook-host": WEBHOOK_HOST,
            "--webhook-scheme": _scheme(environment),
            "--mine-after-ms": self.mine_after_ms,
        }
        words = [str(word) for pair in arguments.items() for word in pair]
        return self._module(stops, "sandbox", environment, *words)

    def _one_gateway(self, stops: ExitStack, functions: Mapping[str, str]) -> None:
        """The functions, met by callers as they are, and their schedule."""
        mode = ["--isolated"] if self.isolated else []
        alone = {**functions, "WEB_SECURE": "", "FORWARDED_HOPS": "1"}  # whatever a deployment's .env says
        few = {**alone, "MONGODB_MAX_POOL_SIZE": "4"}
        scheduler = self._module(stops, "scheduler", few, *mode, module="serving.scheduler")
        connections = "1" if self.isolated else "16"  # of one process
        gateway = self._gateway(stops, {**alone, "MONGODB_MAX_POOL_SIZE": connections}, *mode)
        scheduler.announcement(_READY_SECONDS)
        gateway.announcement(_READY_SECONDS)

    def _blue_green(self, stops: ExitStack, there: Environment, ground: Ground) -> None:
        """Two colours of the functions, their schedules, and HAProxy in front."""
        both = BlueGreen(there, {**ground.functions, "MONGODB_MAX_POOL_SIZE": "16"}, workers=self.workers)
        for part in both.start(stops, active=ground.active, api_key=ground.api_key):
            part.when_exited(self.on_exit)

    def _gateway(self, stops: ExitStack, environment: Mapping[str, str], *mode: str) -> Child:
        words = [*mode, "--host", HOST, "--port", str(self.ports.gateway)]
        if self.platform_limits:
            words.append("--platform-limits")
        if self.workers:
            words += ["--workers", str(self.workers)]
        return self._module(stops, GATEWAY, environment, *words, module="serving")

    def _module(
        self,
        stops: ExitStack,
        name: str,
        environment: Mapping[str, str],
        *words: str,
        module: str | None = None,
        watched: bool = True,
    ) -> Child:
        """Start `python -m` a module on a leash; it is stopped with the stack, and its own end is reported."""
        command = [sys.executable, "-m", module or f"local.{name}", *words]
        child = processes.start(name, command, log=self.data / f"{name}.log", environment=environment, announces=True)
        stops.callback(child.stop)
        if watched:
            child.when_exited(self.on_exit)
        return child


def _scheme(environment: Mapping[str, str]) -> str:
    """How the sandbox signs and the functions verify: METAKEEP_WEBHOOK_SCHEME, p256 where it is not set."""
    return environment.get("METAKEEP_WEBHOOK_SCHEME") or "p256"


def _provider(sandbox: Mapping[str, Any]) -> dict[str, str]:
    """The configuration of the functions that follows from the sandbox, which stands in for provider and chain."""
    return {
        "METAKEEP_BASE_URL": sandbox["base_url"],
        "METAKEEP_SIGNING_HOST": sandbox["signing_host"],
        "METAKEEP_API_KEY": sandbox["api_key"],
        "METAKEEP_API_SECRET": sandbox["api_secret"],
        "METAKEEP_TRANSFER_TO_ADDRESS": "on",
        "METAKEEP_WEBHOOK_SENDER_KEYS": sandbox["webhook_sender_key"],
        "METAKEEP_WEBHOOK_SECRETS": sandbox["webhook_secret"],
        "METAKEEP_WEBHOOK_HOST": WEBHOOK_HOST,
        "METAKEEP_WEBHOOK_PATH": WEBHOOK_PATH,
        # The same in every run with this data, as secrets of endpoints are derived from it.
        "WEBHOOK_SECRET_KEYS": hashlib.sha256(f"endpoints {sandbox['api_secret']}".encode()).hexdigest(),
        "WEBHOOK_PRIVATE_TARGETS": "test",
        "TOKEN_CONTRACT_ADDRESS": sandbox["token_address"],
        "TREASURY_ADDRESS": sandbox["treasury_address"],
        "CHAIN_ID": str(sandbox["chain_id"]),
        "CHAIN_RPC_URL": sandbox["rpc_url"],
        "CONFIRMATION_DEPTH": "0",
    }
