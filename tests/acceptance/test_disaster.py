"""The database is killed and its disk is lost while callers mint: the commands of the runbook bring it back."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from getsmart import clock, mongo
from getsmart.amounts import UNIT
from getsmart.services import tick
from local.database import EmbeddedDatabase
from local.sandbox import Sandbox
from ops import keys, migrations
from ops.backup.objectives import RECOVERY_POINT, RECOVERY_TIME
from ops.backup.sealed import new_identity
from ops.backup.vault import Vault
from tests.conftest import forget_all
from tests.local import programs
from tests.seeding import seed
from tests.support import Client, Provider

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = ROOT / "docs/runbooks/disaster-recovery.md"
NAME = "getsmart"
WALLETS = 20
BRANCHES = {"--check", "--to", "--list", "on", "off"}  # what tells two lines of one command apart


def commands(runbook: str) -> dict[str, list[str]]:
    """The words after `./doit` of the runbook's first block, by their first word; a word twice keeps both."""
    block = runbook.split("```sh\n", 1)[1].split("```", 1)[0]
    found: dict[str, list[str]] = {}
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "./doit"
        found[" ".join(word for word in words[1:] if word in BRANCHES or word == words[1])] = words
    return found


class World:
    """One database after the other at one address, the provider with its chain, and callers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Everything of it under the folder."""
        self.folder = folder
        self.server = EmbeddedDatabase(folder / "first")
        self.uri = self.server.start()
        self.sandbox = Sandbox(folder / "sandbox")
        self.identity, recipient = new_identity()
        self.places = folder / "backups"
        self.settings = {
            "MONGODB_URI": self.uri,
            "MONGODB_DATABASE": NAME,
            "MONGODB_MAX_POOL_SIZE": "16",
            "WEBHOOK_SECRET_KEYS": "0123456789abcdef" * 4,
            "TICK_SECONDS": "1",
            "TICK_INTERVAL_SECONDS": "0.2",
            "BACKUP_PLACE": str(self.places),
            "BACKUP_RECIPIENTS": recipient,
            "CONFIRMATION_DEPTH": "0",
        }
        for name, value in self.settings.items():
            monkeypatch.setenv(name, value)

    def connect(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Start the provider and configure everything with it."""
        sandbox = self.sandbox
        values = {
            "METAKEEP_BASE_URL": sandbox.base_url,
            "METAKEEP_SIGNING_HOST": sandbox.signing_host,
            "METAKEEP_API_KEY": sandbox.api_key,
            "METAKEEP_API_SECRET": sandbox.api_secret,
            "TOKEN_CONTRACT_ADDRESS": sandbox.token_address,
            "TREASURY_ADDRESS": sandbox.treasury_address,
            "CHAIN_ID": str(sandbox.chain_id),
            "CHAIN_RPC_URL": sandbox.rpc_url,
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        forget_all()
        mongo.forget()
        migrations.up(self.uri, NAME)

    def lose_database(self) -> None:
        """kill -9 of the server, and its disk is gone."""
        child = self.server.child
        assert child is not None
        for pid in programs.descendants(child._leash.pid):
            os.kill(pid, signal.SIGKILL)
        assert child.exited.wait(10)
        shutil.rmtree(self.server.data_dir)

    def replace_database(self) -> None:
        """An empty server at the same address."""
        self.server = EmbeddedDatabase(self.folder / "second", self.server.port)
        self.server.start()

    def run(self, words: list[str], *, codes: tuple[int, ...] = (0,)) -> str:
        """A command of the runbook as its reader types it."""
        public = self.folder / "production.env"
        public.write_text(f"MONGODB_DATABASE={NAME}\n")
        meant = {"KEY": str(self.folder / "key.txt"), "production": str(public)}
        command = [meant.get(word, word) for word in words]
        done = subprocess.run(
            [sys.executable, "-m", "ops.tasks", *command[1:]],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT / 'lib'}:{ROOT}"},
            capture_output=True, text=True, timeout=3_000, check=False,
        )  # fmt: skip
        assert done.returncode in codes, (command, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """It runs."""
    made = World(tmp_path, monkeypatch)
    (tmp_path / "key.txt").write_text(f"{made.identity}\n")
    try:
        with made.sandbox:
            made.connect(monkeypatch)
            yield made
    finally:
        made.server.stop()
        mongo.forget()
        forget_all()


@contextmanager
def beside(work: Callable[[], Any]) -> Iterator[None]:
    """Do it over and over in a thread; what fails because there is no database is tried again."""
    is_over = threading.Event()

    def loop() -> None:
        while not is_over.is_set():
            try:
                work()
            except Exception:  # noqa: BLE001 - the database is gone for a while
                time.sleep(0.2)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class Caller:
    """Mints one GETS a call under keys of its own, and remembers what was accepted."""

    def __init__(self, wallets: list[dict[str, Any]]) -> None:
        """With a key that may do everything."""
        self.client = Client(keys.create(client_id="caller", scopes=keys.SCOPES, limits=keys.NO_LIMITS).token)
        self.wallets = wallets
        self.number = 0
        self.accepted: dict[str, float] = {}

    def mint(self, key: str | None = None) -> int:
        """A new call, or an earlier one again; the status of the answer."""
        if key is None:
            self.number += 1
            key = f"call-{self.number}"
        wallet = self.wallets[int(key.split("-")[1]) % len(self.wallets)]
        body = {"wallet_id": wallet["wallet_id"], "amount": "1"}
        answer = self.client.post("tokens/mint", body, key=key)
        if answer.status == 202:
            self.accepted.setdefault(key, time.time())
        return answer.status


def made_wallets() -> list[dict[str, Any]]:
    """Of people, by the API."""
    client = Client(keys.create(client_id="caller", scopes=keys.SCOPES, limits=keys.NO_LIMITS).token)
    made = [
        client.post("wallets/create", {"owner": {"email": f"learner{number}@example.com"}}) for number in range(WALLETS)
    ]
    return [one.data for one in made]


def until(condition: Callable[[], Any], seconds: float) -> None:
    """Wait for it, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


SIZES = [
    pytest.param(200, "2s", marks=pytest.mark.timeout(900)),
    pytest.param(100_000, "30s", marks=[pytest.mark.long, pytest.mark.timeout(3_600)]),
]


@pytest.mark.parametrize(("count", "every"), SIZES)
def test_the_database_and_its_disk_are_lost(world: World, count: int, every: str) -> None:
    """Within the objectives the books are back and agree with the chain, and no call that is repeated mints again."""
    typed = commands(RUNBOOK.read_text())
    provider = Provider(world.sandbox.base_url, world.sandbox.rpc_url)
    wallets = made_wallets()
    with MongoClient[dict[str, Any]](world.uri, tz_aware=True) as patient:
        seed(patient[NAME], provider, wallets, count)
    world.run(typed["reconcile"])
    caller = Caller(wallets)
    lost_at = lost_under_load(world, caller, every)
    receipt = Vault(str(world.places)).receipts()[0]
    point = receipt.manifest.point.timestamp()
    assert sum(part.documents for part in receipt.manifest.collections.values()) > 3 * count
    began = time.monotonic()
    world.replace_database()
    took, said = restored(world, caller, typed)
    recovery, loss = time.monotonic() - began, lost_at - point
    gone = sum(at > point for at in caller.accepted.values())
    figures = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in took.items())
    sys.stdout.write(
        f"\n{count:,} transactions, {len(caller.accepted)} calls answered meanwhile: {figures}\n"
        f"recovery time {recovery:.1f} s (objective {RECOVERY_TIME.total_seconds():.0f} s), "
        f"data loss {loss:.1f} s, {gone} calls (objective {RECOVERY_POINT.total_seconds():.0f} s)\n{said}"
    )
    assert recovery < RECOVERY_TIME.total_seconds()
    assert loss < RECOVERY_POINT.total_seconds()
    again(caller)
    on_chain = sum(provider.balance_of(world.sandbox.token_address, one["address"]) for one in wallets)
    assert on_chain == (count + caller.number) * UNIT
    sys.stdout.write(f"{caller.number} calls repeated, each one mint: {world.run(typed['verify'])}")


def restored(world: World, caller: Caller, typed: dict[str, list[str]]) -> tuple[dict[str, float], str]:
    """Every step of the runbook: seconds of each, and what reconciliation said."""
    took, said = dict[str, float](), dict[str, str]()
    steps = ("backup --list", "restore --check", "restore --to", "migrate", "verify", "reconcile", "recovery off")
    for step in steps:
        if step == "recovery off":
            stands_still(caller)
        started = time.monotonic()
        said[step] = world.run(typed[step], codes=(0, 1) if step == "reconcile" else (0,))
        took[step] = time.monotonic() - started
    return took, said["reconcile"]


def stands_still(caller: Caller) -> None:
    """All is restored and read, ticks run, and no call is accepted: a person has not let money move yet."""
    forget_all()
    mongo.forget()
    for _ in range(2):
        tick.run()
    assert caller.mint() == 503


def lost_under_load(world: World, caller: Caller, every: str) -> float:
    """Back up again and again while callers mint and the tick works; after the second, lose it all. When that was."""
    backups = programs.start("ops.backup", "--every", every, **os.environ)
    try:
        with beside(caller.mint), beside(tick.run):
            until(lambda: len(Vault(str(world.places)).receipts()) >= 2, 1_200)
            held = len(caller.accepted)
            until(lambda: len(caller.accepted) >= held + 20, 120)
            world.lose_database()
            lost_at = time.time()
            time.sleep(1)
    finally:
        backups.terminate()
        backups.communicate(timeout=60)
    return lost_at


def again(caller: Caller) -> None:
    """Every call, answered or not, is repeated with its key; each is accepted, and in the end each is confirmed."""
    forget_all()
    mongo.forget()
    names = [f"call-{number + 1}" for number in range(caller.number)]
    for key in names:
        until(lambda key=key: caller.mint(key) == 202, 30)  # type: ignore[misc]
    end = clock.monotonic() + 300
    while mongo.database().transactions.find_one({"status": {"$in": ["queued", "submitted", "unknown"]}}) is not None:
        assert clock.monotonic() < end
        tick.run()
    told = list(mongo.database().transactions.find({"client_id": "caller"}))
    assert sorted(row["idempotency_key"] for row in told) == sorted(names)
    assert {row["status"] for row in told} == {"confirmed"}


def test_the_runbook_promises_what_the_drill_measures() -> None:
    """The objectives stand once in the code and once in the plan, and are the same."""
    text = RUNBOOK.read_text()
    minutes = {
        name: int(value) for name, value in re.findall(r"^\| (recovery \w+): [^|]*\| (\d+) min \|", text, re.MULTILINE)
    }
    assert minutes == {
        "recovery point": RECOVERY_POINT.total_seconds() / 60,
        "recovery time": RECOVERY_TIME.total_seconds() / 60,
    }
