"""The built functions, isolated, are the functions of the gateway: every one starts, and every answer is the same."""

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from pymongo import MongoClient

from getsmart import mongo
from local import processes
from local.database import EmbeddedDatabase
from local.sandbox import Sandbox
from ops import functions, keys, migrations
from serving.__main__ import Server
from serving.app import create_app
from serving.gateway import Callee, in_process
from serving.isolated import Isolation
from tests.conftest import forget_all
from tests.local import programs
from tests.local.programs import eventually
from tests.serving.calls import state
from tests.serving.mix import answers, recorded

EVENT = {"http": {"method": "BREW", "path": "", "headers": {}, "queryString": "", "body": "", "isBase64Encoded": False}}
_NEVER_MINED = 10**12

pytestmark = pytest.mark.usefixtures("built")


@pytest.mark.parametrize("forwards_logs", [False, True])
def test_every_built_function_starts_on_both_paths(
    system: Any, monkeypatch: pytest.MonkeyPatch, forwards_logs: bool
) -> None:
    """With log forwarding and without: nothing is missing in any folder; each answers, and the tick ticks."""
    monkeypatch.delenv("LOG_DESTINATIONS", raising=False)
    if forwards_logs:
        monkeypatch.setenv("LOG_DESTINATIONS", "[]")
    declared = functions.load()
    with Isolation() as isolation, ThreadPoolExecutor(2) as threads:

        def answer(function: functions.Function) -> dict[str, Any]:
            callee = isolation(function)
            return callee.call(EVENT if function.web else {}, callee.context())

        found = dict(zip([one.route for one in declared], threads.map(answer, declared), strict=True))
    assert found.pop("ops/tick")["body"]["passes"] == 1
    assert {route: result["statusCode"] for route, result in found.items()} == dict.fromkeys(found, 405)


class Bed:
    """A gateway on a database, a sandbox and a key of its own, so that two can be compared."""

    def __init__(self, name: str, folder: Path, database_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._name, self._folder, self._uri, self._patch = name, folder, database_uri, monkeypatch

    def answers(self, calls: int, run: Callable[[Any], Callee] | None, *, json_as_base64: bool = False) -> list[Any]:
        """What it answers to the recorded calls when functions run there; without a `run` in the container."""
        with contextlib.ExitStack() as ending:
            ending.callback(self._forget)
            sandbox = ending.enter_context(Sandbox(self._folder / self._name, mine_after_ms=_NEVER_MINED))
            token = self._prepare(sandbox)
            self._patch.setenv("SERVING_JSON_AS_BASE64", "on" if json_as_base64 else "off")
            url = self._contained(ending) if run is None else _served(ending, run)
            return answers(f"{url}/v1", token, recorded(calls))

    def _contained(self, ending: contextlib.ExitStack) -> str:
        """Start the container; its URL."""
        command = [sys.executable, "-m", "serving", "--port", "0", "--workers", "2"]
        environment = {**programs.environment(), "MONGODB_URI": self._uri}
        log = self._folder / "container.log"
        child = processes.start("container", command, log=log, environment=environment, announces=True)
        ending.callback(child.stop)
        return str(json.loads(child.announcement(20))["gateway"])

    def _prepare(self, sandbox: Sandbox) -> str:
        """Configure everything for this bed; the token of a new key."""
        variables = {
            "MONGODB_DATABASE": self._name,
            "METAKEEP_BASE_URL": sandbox.base_url,
            "METAKEEP_SIGNING_HOST": sandbox.signing_host,
            "METAKEEP_API_KEY": sandbox.api_key,
            "METAKEEP_API_SECRET": sandbox.api_secret,
            "METAKEEP_WEBHOOK_SENDER_KEYS": sandbox.webhook_sender_key,
            "METAKEEP_WEBHOOK_SECRETS": sandbox.webhook_secret,
            "TOKEN_CONTRACT_ADDRESS": sandbox.token_address,
            "TREASURY_ADDRESS": sandbox.treasury_address,
            "CHAIN_RPC_URL": sandbox.rpc_url,
        }
        for name, value in variables.items():
            self._patch.setenv(name, value)
        forget_all()
        mongo.forget()
        migrations.up(self._uri, self._name)
        return keys.create(client_id="recorder", scopes=keys.SCOPES, limits=keys.NO_LIMITS).token

    def _forget(self) -> None:
        mongo.forget()
        with contextlib.closing(MongoClient[dict[str, Any]](self._uri)) as client:
            client.drop_database(self._name)


def _served(ending: contextlib.ExitStack, run: Callable[[Any], Callee]) -> str:
    """Serve in this process; the URL."""
    server = Server(create_app(run=run), "127.0.0.1", 0, threads=2)
    thread = threading.Thread(target=server.run)
    thread.start()
    ending.callback(thread.join)
    ending.callback(server.end)
    return server.url


@pytest.fixture
def bed(
    tmp_path: Path, system: Any, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Bed]]:
    """Make a bed under a name."""
    yield lambda name: Bed(name, tmp_path, database_uri, monkeypatch)
    forget_all()
    mongo.forget()


def differences(one: list[Any], other: list[Any]) -> list[Any]:
    """The calls that were answered differently, with both answers."""
    return [(call, mine, theirs) for (call, mine), (_, theirs) in zip(one, other, strict=True) if mine != theirs]


def test_a_recorded_mix_is_answered_the_same_in_every_mode(bed: Callable[[str], Bed]) -> None:
    """Functions in the gateway and JSON as text; isolated and JSON as base64; in the container."""
    plain = bed("mix_plain").answers(200, in_process)
    with Isolation() as isolation:
        isolated = bed("mix_isolated").answers(200, isolation, json_as_base64=True)
    assert differences(plain, isolated) == []
    assert differences(plain, bed("mix_container").answers(200, None)) == []
    statuses = [status for _, (status, _, _) in plain]
    assert {200, 201, 202, 204, 400, 401, 404, 405, 413, 415, 422} - set(statuses) <= {204, 422}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_5000_recorded_requests_are_answered_the_same(bed: Callable[[str], Bed]) -> None:
    """Ids and times aside."""
    plain = bed("long_plain").answers(5_000, in_process)
    with Isolation() as isolation:
        isolated = bed("long_isolated").answers(5_000, isolation)
    assert differences(plain, isolated) == []
    assert differences(plain, bed("long_container").answers(5_000, None)) == []


def test_a_worker_thawed_after_its_database_died_still_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server restarts while the worker is frozen: its socket is dead, its next answer is good all the same."""
    server = EmbeddedDatabase(tmp_path)
    monkeypatch.setenv("MONGODB_URI", server.start())
    monkeypatch.setenv("MONGODB_DATABASE", "thaw")
    monkeypatch.setenv("COLOUR", "blue")
    monkeypatch.setenv("APP_VERSION", "test")
    with contextlib.ExitStack() as ending:
        ending.callback(server.stop)
        ending.callback(forget_all)
        ending.callback(mongo.forget)
        migrations.up(server.uri, "thaw")
        forget_all()
        token = keys.create(client_id="reader", scopes=["wallets:read"], limits=keys.NO_LIMITS).token
        mongo.forget()
        isolation = ending.enter_context(Isolation())
        read = isolation(next(one for one in functions.load() if one.route == "wallets/get"))
        http = {**EVENT["http"], "method": "GET", "queryString": "wallet_id=wlt_" + "0" * 26}
        event = {"http": {**http, "headers": {"authorization": f"Bearer {token}"}}}
        assert read.call(event, read.context())["statusCode"] == 404
        worker = isolation.pool.workers(read.plan)[0]
        assert eventually(lambda: state(worker.pid) == "T")
        server.stop()
        server.start()
        assert read.call(event, read.context())["statusCode"] == 404
        assert isolation.pool.workers(read.plan) == [worker]


def test_the_program_serves_built_functions_isolated() -> None:
    """`python -m serving --isolated --platform-limits`: as without, and nothing is left after SIGTERM."""
    process = programs.start("serving", "--isolated", "--platform-limits", "--port", "0")
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["gateway"]
    assert requests.put(f"{url}/v1/ops/health", timeout=20).json()["error"]["code"] == "method_not_allowed"
    assert requests.get(f"{url}/v1/ops/tick", timeout=20).status_code == 404
    family = programs.descendants(process.pid)
    assert len(family) == 3  # two keepers and the worker
    process.terminate()
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert '"status":405' in out
    assert not any(map(programs.alive, family))
