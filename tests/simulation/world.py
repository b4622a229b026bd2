"""One worker's world: a database server, the sandbox, receivers and time; and the state that every run begins with."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from getsmart import auth, clock, config, limits, mongo
from getsmart.machine import told
from getsmart.metakeep import client as provider_client
from getsmart.models import EXTERNAL, ISSUANCE
from getsmart.mongo import to_decimal, to_units
from getsmart.stores import failures
from local.database import EmbeddedDatabase
from ops import keys, migrations
from serving.loader import Context, Loaded
from tests.simulation import outside, patches
from tests.simulation.plan import Plan
from tests.simulation.scheduler import Scheduler
from tests.simulation.wire import Wire

ROOT = Path(__file__).resolve().parents[2]
_NAME = "simulation"
_NEVER_RESET = ("migrations", "migrations_lock")
HOOK = f"{outside.HOOK_URL}/events"
Row = dict[str, Any]


class QuickDatabase(EmbeddedDatabase):
    """The embedded server without a disk flush a commit: nobody kills it here."""

    def command(self) -> Sequence[str]:
        """The same, less one option."""
        return [word for word in super().command() if word != "--sync-on-commit"]


@contextmanager
def opened() -> Iterator["World"]:
    """A world until the block ends; its files are in memory where the system has such a place."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=memory if memory.is_dir() else None))
    database = QuickDatabase(folder)
    try:
        uri = database.start()
        yield World(folder, uri, database.port)
    finally:
        mongo.forget()
        database.stop()
        shutil.rmtree(folder, ignore_errors=True)


class World:
    """Everything around the product's code. Made once a process, as it patches the process for good."""

    def __init__(self, folder: Path, uri: str, port: int) -> None:
        """Migrates the database and makes the state that runs begin with."""
        self.scheduler, self.chance = Scheduler(), patches.Chance()
        self.sandbox = outside.Sandbox(folder / "sandbox", self.scheduler)
        self.receivers = outside.Receivers(self.scheduler)
        self.raw: Database[Row] = MongoClient[Row](uri, tz_aware=True)[_NAME]
        migrations.up(uri, _NAME)
        self._configure(uri)
        self.logged: StringIO = patches.install(self.scheduler, self.chance)
        outside.install(self.scheduler, self.sandbox, self.receivers)
        self.wire = Wire(self.scheduler, port)
        self.scheduler.alarms.clear()
        self._functions: dict[str, Loaded] = {}
        self.told_of: list[int] = []  # the webhooks of MetaKeep that were sent, each as often as it was
        provider_client._session(os.getpid()).mount(outside.BASE_URL, self.sandbox.provider)
        self._begin_with()
        self._base = {name: list(self.raw[name].find()) for name in self._collections()}
        self._told = list(self.receivers.got)
        self.sandbox.keep()
        self.base_elapsed = self.scheduler.elapsed

    def _configure(self, uri: str) -> None:
        facts = self.sandbox.world
        os.environ.update(
            {
                "MONGODB_URI": uri,
                "MONGODB_DATABASE": _NAME,
                "MONGODB_MAX_POOL_SIZE": "100",
                "COLOUR": "blue",
                "APP_VERSION": "simulation",
                "WEBHOOK_SECRET_KEYS": "0123456789abcdef" * 4,
                "TICK_SECONDS": "0",
                "METAKEEP_BASE_URL": outside.BASE_URL,
                "METAKEEP_SIGNING_HOST": facts.options.signing_host,
                "METAKEEP_API_KEY": facts.credentials.api_key,
                "METAKEEP_API_SECRET": facts.credentials.api_secret,
                "METAKEEP_TRANSFER_TO_ADDRESS": "on",
                "TOKEN_CONTRACT_ADDRESS": facts.token,
                "TREASURY_ADDRESS": facts.treasury,
                "CHAIN_ID": "80002",
                "CHAIN_RPC_URL": outside.RPC_URL,
                "CONFIRMATION_DEPTH": "0",
                "METAKEEP_WEBHOOK_SCHEME": "p256",
                "METAKEEP_WEBHOOK_SENDER_KEYS": facts.credentials.webhook_sender_key,
                "METAKEEP_WEBHOOK_SECRETS": facts.credentials.webhook_secret,
                "METAKEEP_WEBHOOK_HOST": "localhost",
                "METAKEEP_WEBHOOK_PATH": "/v1/webhooks/metakeep",
            }
        )

    def _collections(self) -> list[str]:
        return [name for name in self.raw.list_collection_names() if name not in _NEVER_RESET]

    # The state that every run begins with

    def _begin_with(self) -> None:
        """Applications with their keys, three wallets of which one is funded, and an endpoint that is told of all."""
        self.forget()
        self.tokens = {
            "app": self._key("app", keys.SCOPES[:-1]),
            "other": self._key("other", keys.SCOPES[:-1]),
            "capped": self._key("capped", keys.SCOPES[:-1], mint_per_day=str(25 * 10**18)),
            "admin": self._key("admin", ("admin",)),
        }
        made = [
            self.ask("app", "POST", "wallets/create", {"owner": {"email": f"learner-{one}@example.com"}})["data"]
            for one in "abc"
        ]
        self.ask("capped", "POST", "wallets/create", {"owner": {"email": "learner-a@example.com"}})
        self.wallets: dict[str, Row] = dict(zip("abc", made, strict=True))
        self.ask("app", "POST", "webhooks/endpoints", {"url": HOOK})
        body = {"wallet_id": self.wallets["a"]["wallet_id"], "amount": "100"}
        self.ask("app", "POST", "tokens/mint", body, key="funds")
        for _ in range(4):
            self.scheduler.advance(70)
            self.tick()
        assert self.raw.transactions.find_one({"status": "confirmed"}) is not None
        assert not any(self.raw[name].find_one({"outbox.0": {"$exists": True}}) for name in self._collections())

    def _key(self, client: str, scopes: Sequence[str], **limits: Any) -> str:
        options = {**keys.NO_LIMITS, **limits}
        return keys.create(client_id=client, scopes=scopes, limits=options).token  # type: ignore[arg-type]

    def forget(self) -> None:
        """What warm processes remember."""
        for one in (auth, limits, told, config, failures):
            one.forget()

    def begin(self, plan: Plan, seed: object) -> None:
        """A new run: the base state, fresh processes, chance by the seed."""
        self.wire.begin()
        for name in self.wire.written:
            self.raw[name].delete_many({})
            if self._base.get(name):
                self.raw[name].insert_many(self._base[name])
        self.wire.written.clear()
        self.scheduler.begin(plan)
        self.scheduler.elapsed = self.base_elapsed + 3600.0
        self.sandbox.restore()
        self.receivers.got[:] = self._told
        self.told_of.clear()
        self.receivers.answer = lambda _: 200
        self.logged.seek(0)
        self.logged.truncate()
        self.forget()
        self.chance.seed(seed)

    def leave_of_supply(self, units: int) -> int:
        """Let only so much be left to mint: the rest went elsewhere before the run; how much that was."""
        supply = self.raw.controls.find_one({"_id": "supply"})
        assert supply is not None
        gone = to_units(supply["available"]) - units
        self.wire.written.add("controls")
        self.raw.controls.update_one({"_id": "supply"}, {"$set": {"available": to_decimal(units)}})
        moved = {ISSUANCE: to_decimal(-gone), EXTERNAL: to_decimal(gone)}
        self.raw.controls.update_one({"_id": "books"}, {"$inc": moved})
        return gone

    # Calling functions

    def call(self, path: str, event: Row) -> Row:
        """Call a function as the platform does; its reply crosses a boundary on its way."""
        loaded = self._functions.get(path)
        if loaded is None:
            package, name = path.split("/")
            loaded = self._functions[path] = Loaded(package, name, ROOT / "packages" / package / name, 30_000)
        deadline = int(clock.now().timestamp() * 1000) + 30_000
        context = Context(f"/fn/{path}", deadline, activation_id="sim", request_id="sim")
        return loaded.call(event, context)

    def ask(self, client: str, method: str, path: str, body: Any = None, *, key: str | None = None) -> Row:
        """Call a function outside of a run; the JSON of its reply."""
        content: Row = json.loads(self.call(path, self.event(client, method, body, key=key))["body"])
        assert content["status"] == "success", content
        return content

    def event(self, client: str, method: str, body: Any, *, key: str | None = None, query: str = "") -> Row:
        """A raw web event of an application."""
        headers = {"authorization": f"Bearer {self.tokens[client]}", "content-type": "application/json"}
        if key is not None:
            headers["idempotency-key"] = key
        text = "" if body is None else json.dumps(body)
        http = {"method": method, "path": "", "headers": headers, "queryString": query, "body": text}
        return {"http": {**http, "isBase64Encoded": False}}

    def tick(self) -> Row:
        """One run of the tick."""
        return self.call("ops/tick", {})
