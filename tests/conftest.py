"""The real parts every test stands on: one embedded database and one sandbox a session, clean data a test."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tenacity.nap
from pymongo import MongoClient
from pymongo.database import Database

from getsmart import auth, chain, clock, config, limits, mongo
from getsmart.machine import deliver, told
from getsmart.models import TransactionRow
from getsmart.stores import failures, transactions
from local.database import choose
from local.sandbox import Sandbox
from ops import keys, migrations, package, settings
from tests.money import Bench
from tests.receiver import Receiver, receiving
from tests.support import Client, Provider, Time, unique

_NAME = "tests"
CONNECT_MS = mongo._CONNECT_MS  # the product's own
_RECURSION_LIMIT = 1_000
_newest_request = [0]  # in the journal of the session's one sandbox, which grows with every test


@pytest.fixture(autouse=True)
def _recursion_limit() -> None:
    """As in a function: a library of the contract's compiler raises it so far that deep JSON would end the process."""
    sys.setrecursionlimit(_RECURSION_LIMIT)


@pytest.fixture(scope="session")
def built() -> None:
    """What functions share, as a deployment builds it; in a moment where it is current."""
    package.build()


@pytest.fixture(scope="session")
def database_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated database server; MONGODB_URI's if it is set."""
    server = choose(tmp_path_factory.mktemp("database"), dict(os.environ))
    uri = server.start()
    with contextlib.closing(MongoClient[dict[str, Any]](uri)) as client:
        client.drop_database(_NAME)
    migrations.up(uri, _NAME)
    yield uri
    server.stop()


@pytest.fixture(scope="session")
def raw(database_uri: str) -> Iterator[Database[dict[str, Any]]]:
    """The database, by a connection of the tests' own."""
    with contextlib.closing(MongoClient[dict[str, Any]](database_uri, tz_aware=True)) as client:
        yield client[_NAME]


@pytest.fixture(scope="session")
def genesis(raw: Database[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What the first migration wrote."""
    return {name: list(raw[name].find({})) for name in ("controls", "entries")}


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """MetaKeep's stand-in with its chain; transactions are mined 2 s after submission, by the clock of the tests."""
    with Sandbox(tmp_path_factory.mktemp("sandbox"), clock=lambda: int(clock.now().timestamp() * 1000)) as running:
        yield running


@pytest.fixture
def provider(sandbox: Sandbox) -> Iterator[Provider]:
    """The sandbox's private side; no fault outlives a test."""
    side = Provider(sandbox.base_url, sandbox.rpc_url)
    yield side
    side.clear()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, database_uri: str) -> Iterator[dict[str, str]]:
    """The variables that need no provider; read anew in each test."""
    values = {
        "MONGODB_URI": database_uri,
        "MONGODB_DATABASE": _NAME,
        "MONGODB_MAX_POOL_SIZE": "16",
        "COLOUR": "blue",
        "APP_VERSION": "test",
        "WEBHOOK_SECRET_KEYS": "0123456789abcdef" * 4,
        "TICK_SECONDS": "0",
        "TICK_INTERVAL_SECONDS": "0.05",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    # On a busy machine too a test finds what it looks for, and a database that stands still for a moment is there.
    monkeypatch.setattr(failures, "SECONDS", 10.0)
    monkeypatch.setattr(deliver, "BOX_SECONDS", 10.0)
    forget_all()
    yield values
    clock.set_clock(None)
    forget_all()


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A command that reads an env file changes its process: no test sees what another one's did, nor anybody's .env."""
    monkeypatch.setattr(settings, "OWN", tmp_path_factory.getbasetemp() / "no.env")
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def time(environment: dict[str, str], raw: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Time:
    """The clock that the library and the sandbox share, under the test's hand; the database's goes with it."""
    made, insert = Time(), transactions.insert

    def dated(row: TransactionRow) -> None:
        insert(row)
        if made.is_ahead:
            raw.transactions.update_one({"_id": row["_id"]}, {"$set": {"inserted_at": clock.now()}})

    monkeypatch.setattr(transactions, "insert", dated)
    return made


def forget_all() -> None:
    """Whatever a process remembers of its environment."""
    config.forget()
    auth.forget()
    limits.forget()
    told.forget()
    failures.forget()


@pytest.fixture
def system(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    sandbox: Sandbox,
    raw: Database[dict[str, Any]],
    genesis: dict[str, list[dict[str, Any]]],
) -> Database[dict[str, Any]]:
    """Everything configured, and the data of a fresh migration."""
    values = {
        "METAKEEP_BASE_URL": sandbox.base_url,
        "METAKEEP_SIGNING_HOST": sandbox.signing_host,
        "METAKEEP_API_KEY": sandbox.api_key,
        "METAKEEP_API_SECRET": sandbox.api_secret,
        "METAKEEP_TRANSFER_TO_ADDRESS": "on",
        "TOKEN_CONTRACT_ADDRESS": sandbox.token_address,
        "TREASURY_ADDRESS": sandbox.treasury_address,
        "CHAIN_ID": str(sandbox.chain_id),
        "CHAIN_RPC_URL": sandbox.rpc_url,
        "CONFIRMATION_DEPTH": "0",
        "TOKEN_FIRST_BLOCK": str(sandbox.settle_and_forget() + 1),
        "METAKEEP_WEBHOOK_SCHEME": "p256",
        "METAKEEP_WEBHOOK_SENDER_KEYS": sandbox.webhook_sender_key,
        "METAKEEP_WEBHOOK_SECRETS": sandbox.webhook_secret,
        "METAKEEP_WEBHOOK_HOST": "localhost",
        "METAKEEP_WEBHOOK_PATH": "/v1/webhooks/metakeep",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    config.forget()
    for name in raw.list_collection_names():
        if not name.startswith("migrations"):
            raw[name].delete_many({})
    for name, rows in genesis.items():
        raw[name].insert_many(rows)
    return raw


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change the environment; None unsets."""

    def change(**values: str | None) -> None:
        for name, value in values.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        config.forget()

    return change


@pytest.fixture(scope="session", autouse=True)
def _a_database_may_stand_still() -> Iterator[None]:
    """For as long as a busy machine lets it: the driver cuts all connections of one that is silent for 2 s."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mongo, "_CONNECT_MS", 30_000)
        yield


@pytest.fixture(scope="session", autouse=True)
def _close_client() -> Iterator[None]:
    yield
    mongo.forget()
    chain.forget()


@pytest.fixture
def make_client(system: Database[dict[str, Any]]) -> Callable[..., Client]:
    """Make an application with a key: by default all scopes and no rate limit."""

    def make(name: str = "app", **options: Any) -> Client:
        settings = {"scopes": keys.SCOPES[:-1], "limits": keys.NO_LIMITS, **options}
        return Client(keys.create(client_id=name, **settings).token)

    return make


@pytest.fixture
def app(make_client: Callable[..., Client]) -> Client:
    """An application that may do everything but administer."""
    return make_client()


@pytest.fixture
def wallet(app: Client) -> dict[str, Any]:
    """A fresh wallet linked to `app`."""
    created = app.post("wallets/create", {"owner": {"email": f"{unique('learner')}@example.com"}})
    assert created.status == 201, created.text
    return created.data


@pytest.fixture
def bench(
    app: Client,
    wallet: dict[str, Any],
    provider: Provider,
    sandbox: Sandbox,
    system: Database[dict[str, Any]],
    time: Time,
) -> Bench:
    """An application with a wallet, and the clockwork under the test's hand."""
    made = Bench(app, wallet, provider, sandbox, system, time, _newest_request[0])
    _newest_request[0] = made.began = made.mark()
    return made


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the provider's client made; they take no time, but count against its deadlines."""
    made: list[float] = []
    real = clock.monotonic
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=made.append))
    monkeypatch.setattr(clock, "monotonic", lambda: real() + sum(made))
    return made


@pytest.fixture
def repository() -> Path:
    """The root of the tree."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks on this machine."""
    with receiving() as made:
        yield made
