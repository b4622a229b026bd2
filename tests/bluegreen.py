"""The whole system with two colours and HAProxy, its parts under the test's hand; other versions; a load on it."""

import itertools
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import requests
from pymongo import MongoClient

from local import bluegreen
from local.bluegreen import BlueGreen
from local.stack import Ports, Stack
from ops.functions import ROOT
from ops.gateway import runtime
from tests.gateway import require_haproxy
from tests.local import programs
from tests.support import Provider

_SECONDS = 40.0


@dataclass
class Town:
    """A running system."""

    both: BlueGreen
    facts: dict[str, Any]
    key: str
    wallets: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Up to and with /v1, at the gateway."""
        return f"{self.both.there.public}/v1"

    @property
    def line(self) -> runtime.Runtime:
        """The gateway's runtime socket."""
        return runtime.runtime_of(self.both.there)

    @property
    def file(self) -> str:
        """The environment's file, as commands take it."""
        return str(self.both.folder / bluegreen.ENVIRONMENT)

    @property
    def provider(self) -> Provider:
        """The sandbox's private side."""
        return Provider(self.facts["base_url"], self.facts["rpc_url"])

    def colour_row(self) -> dict[str, Any]:
        """What it says."""
        with MongoClient[dict[str, Any]](self.facts["database"]) as client:
            return client["getsmart"].controls.find_one({"_id": "colour"}) or {}

    def keep_lease(self) -> None:
        """As if a killed promotion's lease had been renewed this moment, however slow the machine is: for an hour."""
        until = datetime.now(UTC) + timedelta(hours=1)
        with MongoClient[dict[str, Any]](self.facts["database"]) as client:
            client["getsmart"].leases.update_one({"_id": "promotion"}, {"$set": {"until": until}})

    def forget_leases(self) -> None:
        """As if the time of a killed promotion's lease were over."""
        with MongoClient[dict[str, Any]](self.facts["database"]) as client:
            client["getsmart"].leases.delete_many({"_id": "promotion"})

    def replace_workers(self, name: str) -> None:
        """SIGHUP to a namespace's container: its workers are replaced, and each ends what it has begun."""
        leash = self.both.parts[name].leash_pid
        (container,) = [pid for pid in programs.descendants(leash) if _parent(pid) == leash]
        os.kill(container, signal.SIGHUP)

    def command(self, name: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end: `promote`, `rollback`, `status`, `smoke`, or one of the gateway's."""
        return self.run(*self._words(name, *words), **environment)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m words...` to its end, with the environment of a command."""
        return subprocess.run(
            [sys.executable, "-m", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=ROOT,
            env={**_environment(), **environment},
        )

    def begin(self, name: str, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", *self._words(name, *words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**_environment(), **environment},
        )

    def _words(self, name: str, *words: str) -> list[str]:
        first = ["ops.gateway", name] if name in {"generate", "reload"} else [f"ops.release.{name}"]
        return [*first, self.file, *words]

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        """A call through the gateway with the key."""
        headers = {"Authorization": f"Bearer {self.key}", **more.pop("headers", {})}
        return requests.request(method, f"{self.url}/{path}", headers=headers, timeout=_SECONDS, **more)

    def transfers(self) -> int:
        """Transfers on the chain into our wallets."""
        token = self.call("GET", "tokens/info").json()["data"]["contract_address"]
        return sum(len(self.provider.transfers_to(token, wallet["address"])) for wallet in self.wallets)

    def settled(self, transaction_ids: Sequence[str], seconds: float = 120.0) -> Counter[str]:
        """Wait until each transaction is final; how many ended how."""
        deadline = time.monotonic() + seconds
        ends: dict[str, str] = {}
        while len(ends) < len(transaction_ids):
            assert time.monotonic() < deadline, f"{len(transaction_ids) - len(ends)} are not final after {seconds} s"
            for one in transaction_ids:
                if one not in ends:
                    status = self.call("GET", f"tokens/transaction?transaction_id={one}").json()["data"]["status"]
                    if status in {"confirmed", "failed", "cancelled", "expired"}:
                        ends[one] = status
            time.sleep(0.2)
        return Counter(ends.values())


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _environment() -> dict[str, str]:
    """That of a command: without a database of somebody else's, so that its own file counts."""
    return {name: value for name, value in programs.environment().items() if name != "MONGODB_URI"}


@contextmanager
def town(*, spaces: int = 1, workers: int = 0, platform_limits: bool = False, **more: Any) -> Iterator[Town]:
    """Start the system on free ports, blue active; end it."""
    require_haproxy()
    with ExitStack() as stops:
        folder = Path(stops.enter_context(tempfile.TemporaryDirectory(prefix="town")))
        ports = Ports.free()
        environment = {name: value for name, value in os.environ.items() if name != "MONGODB_URI"}
        stack = Stack(folder, ports, environment, lambda _child: None, lambda _text: None, mine_after_ms=300)
        ground = stack.ground(stops)
        there = bluegreen.here(folder / "gateway", ports.gateway, spaces=spaces, **more)
        functions = {**ground.functions, "MONGODB_MAX_POOL_SIZE": "16", "APP_VERSION": "1"}
        both = BlueGreen(there, functions, workers=workers, platform_limits=platform_limits)
        both.start(stops, active="blue", api_key=ground.api_key)
        running = Town(both, {**ground.sandbox, "database": ground.uri}, ground.api_key)
        for number in range(4):
            made = running.call("POST", "wallets/create", json={"owner": {"email": f"caller{number}@example.com"}})
            running.wallets.append(made.json()["data"])
        yield running


def version(folder: Path, changes: Mapping[str, tuple[str, str]]) -> Path:
    """A copy of what a namespace runs, with other code: path -> (what stands there, what stands there then)."""
    for name in ("lib/getsmart", "packages", "serving"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "ops").mkdir()
    for name in ("ops/__init__.py", "ops/functions.py", "project.yml"):
        shutil.copyfile(ROOT / name, folder / name)
    for name, (old, new) in changes.items():
        text = (folder / name).read_text()
        assert re.search(old, text), f"{name} does not say {old}"
        (folder / name).write_text(re.sub(old, new, text, count=1))
    return folder


class Load:
    """So many calls a second, whether earlier ones are answered or not; one in twenty mints, under a key of its own."""

    def __init__(self, running: Town, rate: float, name: str, callers: int = 32) -> None:
        self.rate = rate
        self.statuses: Counter[int] = Counter()
        self.colours: Counter[str] = Counter()
        self.errors: list[str] = []  # every call has to be 200, or 202 for a mint
        self.seconds: list[float] = []
        self.minted: dict[str, str] = {}
        self.late = 0
        self._town, self._name = running, name
        self._slots = itertools.count()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(callers)]
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        self.took = time.monotonic() - self._began

    def said(self) -> str:
        """The figures in a line."""
        times = sorted(self.seconds) or [0.0]
        return (
            f"{len(times)} calls in {self.took:.1f} s ({len(times) / self.took:.1f} a second of {self.rate:g} asked,"
            f" {self.late} begun late), {len(self.minted)} mints: {dict(self.statuses)}, {len(self.errors)} errors,"
            f" colours {dict(self.colours)}; median {statistics.median(times) * 1000:.0f} ms,"
            f" p99 {times[int(len(times) * 0.99)] * 1000:.0f} ms"
        )

    def _call(self) -> None:
        with requests.Session() as http:
            http.headers["Authorization"] = f"Bearer {self._town.key}"
            while not self._over.is_set():
                with self._lock:
                    slot = next(self._slots)
                due = self._began + slot / self.rate
                if self._over.wait(max(0.0, due - time.monotonic())):
                    return
                self.late += time.monotonic() - due > 0.5
                self._one(http, slot)

    def _one(self, http: requests.Session, slot: int) -> None:
        wallet = {"wallet_id": self._town.wallets[slot % len(self._town.wallets)]["wallet_id"]}
        key = f"{self._name}-{slot}" if slot % 20 == 7 else None
        started = time.monotonic()
        try:
            if key is None:
                reply = http.get(f"{self._town.url}/wallets/balance", params=wallet, timeout=40)
            else:
                mint = {**wallet, "amount": "1"}
                headers = {"Idempotency-Key": key}
                reply = http.post(f"{self._town.url}/tokens/mint", json=mint, headers=headers, timeout=40)
        except requests.RequestException as error:
            self.errors.append(f"{'POST' if key else 'GET'} {error!r}")
            return
        with self._lock:
            self.seconds.append(time.monotonic() - started)
            self.statuses[reply.status_code] += 1
            self.colours[reply.headers.get("X-Colour", "none")] += 1
            if key is not None and reply.status_code == 202:
                self.minted[key] = reply.json()["data"]["transaction_id"]
            elif reply.status_code not in {200, 202}:
                self.errors.append(f"{reply.request.method} {reply.status_code} {reply.text[:200]}")
