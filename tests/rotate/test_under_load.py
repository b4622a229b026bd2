"""Every secret that functions, gateway and database know is rotated while calls go on, and none of them fails."""

import io
import itertools
import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import pytest
import requests
from pymongo import MongoClient

from getsmart import config, mongo, tokens
from getsmart.metakeep.signing import SigningKey
from local import bluegreen
from local.bluegreen import BlueGreen
from local.database import EmbeddedDatabase
from local.ports import free_port
from local.sandbox import Sandbox
from local.sandbox.credentials import random_secret
from ops import keys, migrations
from ops.deployer_template import read_env
from ops.gateway import __main__ as gateway
from ops.gateway import runtime
from ops.gateway.environment import Colour, other
from ops.rotate import __main__ as rotate
from ops.rotate import envfile, lists
from tests.deliveries import body_of, delivery
from tests.gateway import require_haproxy

PASSWORD = "made-up"  # pragma: allowlist secret
CALLERS = 3
PAUSE_SECONDS = 0.05
PATH = "/v1/webhooks/metakeep"


class Guarded(EmbeddedDatabase):
    """The embedded server, which asks everybody who they are."""

    def command(self) -> Sequence[str]:
        """With --auth."""
        return [*super().command(), "--auth"]

    def prepare(self, deadline: float) -> None:
        """Nothing: clients come with a name."""


class Load:
    """Callers at a gateway: reads, mints each under a key of its own, and signed deliveries from MetaKeep."""

    def __init__(self, url: str, token: str, sender: str) -> None:
        self.url, self.token, self.sender = url, token, SigningKey.from_secret(sender)
        self.wallet = ""
        self.answers: Counter[tuple[str, int]] = Counter()
        self.failures: list[str] = []
        self.minted: set[str] = set()
        self._numbers = itertools.count()
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call_on) for _ in range(CALLERS)]

    def __enter__(self) -> Self:
        self.wallet = self.ask("POST", "wallets/create", {"owner": {"email": "learner@example.com"}})["wallet_id"]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    @property
    def calls(self) -> int:
        """How many were answered, or failed."""
        return self.answers.total()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """One call with the API key; its data."""
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **headers}
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        try:
            answer = requests.request(method, f"{self.url}/v1/{path}", data=content, headers=sent, timeout=30)
        except requests.RequestException as error:
            self._note(f"{method} {path}", 0, repr(error))
            return {}
        self._note(f"{method} {path.partition('?')[0]}", answer.status_code, answer.text)
        data: dict[str, Any] = answer.json().get("data", {}) if answer.content else {}
        return data

    def _note(self, what: str, status: int, text: str) -> None:
        with self._lock:
            self.answers[what, status] += 1
            if not 200 <= status < 300:
                self.failures.append(f"{time.strftime('%X')} {what}: {status} {text[:300]}")

    def _call_on(self) -> None:
        while not self._ending.is_set():
            number = next(self._numbers)
            body = {"wallet_id": self.wallet, "amount": "1"}
            minted = self.ask("POST", "tokens/mint", body, **{"Idempotency-Key": f"load-{number}"})
            with self._lock:
                self.minted.add(minted.get("transaction_id", f"failed-{number}"))
            self.ask("GET", f"wallets/balance?wallet_id={self.wallet}")
            told = body_of("nobody-knows-this-id")
            at = int(time.time() * 1000)
            signed = delivery(self.sender, told, at_ms=at, event_id=f"event-{number}", host="localhost", path=PATH)
            self.ask("POST", "webhooks/metakeep", told, **signed)
            time.sleep(PAUSE_SECONDS)


class World:
    """A system of two colours, its env file, and the load on it."""

    def __init__(self, both: BlueGreen, env: Path, load: Load, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.both, self.env, self.load, self.uri = both, env, load, uri
        self.monkeypatch = monkeypatch
        self.active: Colour = "blue"
        self.deployed = 0

    def step(self, *words: str, value: str = "", wait: int = 60) -> str:
        """One step of `./doit rotate`; what it printed. It leaves no variables behind, as a process would."""
        self.monkeypatch.setattr("sys.stdin", io.StringIO(f"{value}\n"))
        with redirect_stdout(io.StringIO()) as said, patch.dict(os.environ):
            assert rotate.main([*words, "--env", str(self.env), "--wait", str(wait)]) == 0, words
        return said.getvalue()

    def everywhere(self) -> None:
        """Deploy the env file to the idle colour and give it the calls; then to the other one, which is idle then."""
        for _ in range(2):
            self.deploy()
            self.promote()

    def deploy(self) -> None:
        """New processes for the idle colour, with the values of the env file."""
        idle = other(self.active)
        values = read_env(self.env)
        own = values.get(f"WEB_SECURE_{idle.upper()}") or values["WEB_SECURE"]
        names = ("METAKEEP_", "MONGODB_", "WEBHOOK_", "LOG_")
        changed = {name: value for name, value in values.items() if name.startswith(names)}
        self.both.replace(idle, **{**changed, "WEB_SECURE": own})
        self.deployed += 1

    def promote(self) -> None:
        """All calls to the idle colour, then its tick."""
        idle = other(self.active)
        line = runtime.runtime_of(self.both.there)
        line.give({idle: 100, self.active: 0})
        line.save(self.both.folder)
        with MongoClient[dict[str, Any]](self.uri) as client:
            client.getsmart.controls.update_one({"_id": "colour"}, {"$set": {"active": idle}}, upsert=True)
        time.sleep(0.5)  # what the old colour was given, it answers
        self.active = idle


def guarded_database(stack: ExitStack, data: Path) -> str:
    """A migrated database with an administrator and the functions' first user; its address, without a name."""
    plain = EmbeddedDatabase(data)
    uri = plain.start()
    roles = {"admin": {"role": "root", "db": "admin"}, "first": {"role": "readWrite", "db": "getsmart"}}
    with MongoClient[dict[str, Any]](uri) as client:
        for name, role in roles.items():
            client.admin.command("createUser", name, pwd=PASSWORD, roles=[role])
    migrations.up(uri, "getsmart")
    plain.stop()
    guarded = Guarded(data, plain.port)
    guarded.start()
    stack.callback(guarded.stop)
    return uri


@pytest.fixture
def world(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Iterator[World]:
    """HAProxy before two colours, a database that asks for passwords, MetaKeep's sandbox, and callers."""
    require_haproxy()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rotate")))
        uri = guarded_database(stack, folder / "data")
        mine, admin = (uri.replace("//", f"//{name}:{PASSWORD}@") for name in ("first", "admin"))
        monkeypatch.setenv("MONGODB_URI", mine)
        monkeypatch.setenv("MONGODB_DATABASE", "getsmart")
        monkeypatch.setenv("MONGODB_ADMIN_URI", admin)
        sender = random_secret()
        values = {
            "MONGODB_URI": mine,
            "MONGODB_DATABASE": "getsmart",
            "METAKEEP_API_KEY": sandbox.api_key,
            "METAKEEP_API_SECRET": sandbox.api_secret,
            "METAKEEP_WEBHOOK_SENDER_KEYS": SigningKey.from_secret(sender).public_key,
            "WEBHOOK_SECRET_KEYS": "0123456789abcdef" * 4,
            "LOG_DESTINATIONS": "[]",
        }
        fixed = {
            "PATH": os.environ["PATH"],
            "MONGODB_MAX_POOL_SIZE": "16",
            "METAKEEP_BASE_URL": sandbox.base_url,
            "METAKEEP_SIGNING_HOST": sandbox.signing_host,
            "METAKEEP_WEBHOOK_SCHEME": "p256",
            "METAKEEP_WEBHOOK_HOST": "localhost",
            "METAKEEP_WEBHOOK_PATH": PATH,
            "TOKEN_CONTRACT_ADDRESS": sandbox.token_address,
            "TREASURY_ADDRESS": sandbox.treasury_address,
            "CHAIN_ID": str(sandbox.chain_id),
            "CHAIN_RPC_URL": sandbox.rpc_url,
            "CONFIRMATION_DEPTH": "0",
        }
        token = made_key()
        with MongoClient[dict[str, Any]](admin) as client:
            client.getsmart.controls.update_one({"_id": "colour"}, {"$set": {"active": "blue"}}, upsert=True)
        there = bluegreen.here(folder, free_port())
        both = BlueGreen(there, {**fixed, **values})
        both.start(stack, active="blue", api_key=token)
        env = folder / bluegreen.VARIABLES
        envfile.change(env, values)
        with Load(there.public, token, sender) as load:
            yield World(both, env, load, admin, monkeypatch)


def made_key() -> str:
    """A key of the application under load."""
    config.forget()
    mongo.forget()
    scopes = ["wallets:write", "wallets:read", "tokens:read", "tokens:mint"]
    return keys.create(client_id="load", scopes=scopes, limits=keys.NO_LIMITS).token


def api_key(world: World, _sandbox: Sandbox) -> None:
    """The application gets its successor key, and both work."""
    said = world.step("api-key", "replace", "--key", tokens.parse(world.load.token).key_id)
    world.load.token = said.split()[1]
    time.sleep(2)


def metakeep(world: World, sandbox: Sandbox) -> None:
    """MetaKeep's key: known everywhere, then used for what is new, then the old one goes once nothing needs it."""
    world.step("metakeep", "add", value=sandbox.next_api_secret)
    world.everywhere()
    world.step("metakeep", "switch")
    world.everywhere()
    world.step("metakeep", "drop")
    world.everywhere()
    assert read_env(world.env)["METAKEEP_API_KEY"] == sandbox.next_api_key


def webhook_keys(world: World, _sandbox: Sandbox) -> None:
    """What endpoints' secrets are derived from."""
    for step in ("add", "switch", "drop"):
        world.step("webhook-keys", step)
        world.everywhere()


def metakeep_webhook(world: World, _sandbox: Sandbox) -> None:
    """The key that deliveries are signed with: the sender changes once both are known."""
    new = random_secret()
    world.step("metakeep-webhook-key", "add", value=SigningKey.from_secret(new).public_key)
    world.everywhere()
    world.load.sender = SigningKey.from_secret(new)
    time.sleep(1)
    world.step("metakeep-webhook-key", "drop")
    world.everywhere()


def web_secure(world: World, _sandbox: Sandbox) -> None:
    """The secret between gateway and functions: a colour at a time, by a switch."""
    for _ in range(2):
        world.step("web-secure", "replace", "--colour", other(world.active))
        assert gateway.main(["reload", str(world.both.folder / bluegreen.ENVIRONMENT)]) == 0
        world.deploy()
        world.promote()


def database_user(world: World, _sandbox: Sandbox) -> None:
    """Another user of the database; the old one is dropped when nobody comes as it any more."""
    world.step("database", "add", "--user", "second")
    world.everywhere()
    world.step("database", "drop", "--user", "first", wait=10)
    time.sleep(1)


def log_destinations(world: World, _sandbox: Sandbox) -> None:
    """The token of the log sink."""
    world.step("log-destinations", "replace", value='[{"logtail": {"token": "made-up"}}]')
    world.everywhere()


ROTATIONS: list[Callable[[World, Sandbox], None]] = [
    api_key,
    metakeep,
    webhook_keys,
    metakeep_webhook,
    web_secure,
    database_user,
    log_destinations,
]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_each_secret_is_rotated_without_one_failed_call(
    world: World, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Reads, mints and deliveries go on; every answer is a success, and each mint is on the chain exactly once."""
    monkeypatch.setattr(lists, "LATELY", lists.timedelta(seconds=5))
    figures = []
    for turn in ROTATIONS:
        calls, failed, deployed, began = world.load.calls, len(world.load.failures), world.deployed, time.monotonic()
        turn(world, sandbox)
        made = (world.load.calls - calls, len(world.load.failures) - failed, world.deployed - deployed)
        figures.append((turn.__name__, *made, time.monotonic() - began))
        assert world.load.failures == []
    world.load.__exit__()
    total = len(world.load.minted)
    balance = settled(world, total)
    with capfd.disabled():
        for name, calls, failed, deployed, seconds in figures:
            print(f"{name:18} {calls:6,} calls, {failed} failed, {deployed} deployments, {seconds:5.1f} s")  # noqa: T201
        print(f"{total:,} mints answered, {balance} GETS on the chain, {world.load.calls:,} calls in all")  # noqa: T201
    assert not any(one.startswith("failed") for one in world.load.minted)
    assert balance == str(total)


def settled(world: World, total: int) -> str:
    """What the chain says that the wallet has, once every mint is confirmed."""
    until = time.monotonic() + 120
    while True:
        with MongoClient[dict[str, Any]](world.uri) as client:
            states = Counter(row["status"] for row in client.getsmart.transactions.find({}, {"status": 1}))
        if states == {"confirmed": total} or time.monotonic() > until:
            break
        time.sleep(0.5)
    assert states == {"confirmed": total}
    found = world.load.ask("GET", f"wallets/balance?wallet_id={world.load.wallet}&source=chain")
    return str(found["chain"]["balance"])
