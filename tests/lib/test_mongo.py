"""The connection to the database: one client, whole transactions, exact amounts."""

import os
import socket
import time as real_time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Inexact
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.client_session import ClientSession
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError
from pymongo.monitoring import CommandStartedEvent

from getsmart import config, mongo
from getsmart.amounts import MAX_SUPPLY
from getsmart.errors import Misconfigured
from getsmart.services import health as health_service
from getsmart.stores import failures
from tests.conftest import CONNECT_MS
from tests.edge import Raw, assert_refused
from tests.support import Client

HEALTH = "ops/health"
A_KEY = "gsk_test_01ARZ3NDEKTSV4RRFFQ69G5FAV_" + "0" * 64  # pragma: allowlist secret


@pytest.fixture(autouse=True)
def _fresh(environment: dict[str, str]) -> Iterator[None]:
    mongo.forget()
    yield
    mongo.forget()


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database that accepts connections and never says a word; failures are kept as fast as in production."""
    monkeypatch.setattr(failures, "SECONDS", 0.25)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        point(monkeypatch, f"mongodb://127.0.0.1:{listener.getsockname()[1]}/")
        yield "deaf"


def point(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    """Another database address from here on."""
    monkeypatch.setenv("MONGODB_URI", uri)
    config.forget()
    mongo.forget()


def closed() -> str:
    """The address of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"mongodb://user:s3cret@127.0.0.1:{listener.getsockname()[1]}/"  # pragma: allowlist secret


def test_a_process_has_one_client_until_it_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm calls reuse it; a child process never uses its parent's; forgetting closes it."""
    first = mongo.client()
    assert mongo.client() is first
    monkeypatch.setattr(mongo, "os", SimpleNamespace(getpid=lambda: 1, environ=os.environ))
    other = mongo.client()
    assert other is not first
    mongo.forget()
    monkeypatch.undo()
    first.close()
    mongo.forget()  # nothing to forget is fine


def test_threads_that_come_first_at_once_share_one_client(database_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two would be a database of the one and sessions of the other: each transaction of that process would fail."""
    point(monkeypatch, database_uri)
    real, made = mongo._connect, []

    def slow(options: Any) -> Any:
        real_time.sleep(0.05)
        made.append(real(options))
        return made[-1]

    monkeypatch.setattr(mongo, "_connect", slow)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: mongo.database().client, range(8)))
    assert len(made) == 1
    assert {id(one) for one in found} == {id(mongo.client())}
    mongo.transact(lambda session: mongo.database().controls.find_one({}, session=session))


def test_the_client_is_made_for_a_function_that_freezes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool as small as configured, polling monitors, short waits, the function's name, majority both ways."""
    monkeypatch.setenv("__OW_ACTION_NAME", "/fn-1/" + "x" * 140)
    monkeypatch.setattr(mongo, "_CONNECT_MS", CONNECT_MS)
    options = mongo.client().options
    assert (options.pool_options.max_pool_size, options.server_selection_timeout) == (16, 2)
    assert (options.timeout, options.pool_options.connect_timeout) == (8, 2)
    assert options.server_monitoring_mode == "poll"
    assert options.pool_options.appname == "x" * 128
    database = mongo.database()
    assert (database.name, database.write_concern.document, database.read_concern.level) == (
        "tests",
        {"w": "majority"},
        "majority",
    )


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1",
        "mongodb://user:s3cret@127.0.0.1:port/",  # pragma: allowlist secret
        "mongodb://user:s3/cret@127.0.0.1/",  # pragma: allowlist secret
    ],
)
def test_an_address_that_is_none_is_misconfigured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    """The log names the variable; nobody sees the value, which holds credentials."""
    point(monkeypatch, uri)
    with pytest.raises(Misconfigured, match=r"^environment: MONGODB_URI \(invalid\)$"):
        mongo.client()
    answer = Client(A_KEY).get("tokens/info")
    assert_refused(answer, 503, "misconfigured")
    logged = capsys.readouterr().out
    assert "MONGODB_URI" in logged
    assert uri not in logged + answer.text
    assert "s3" not in (logged + answer.text).replace(answer.headers["X-Request-Id"], "")


def test_a_database_that_is_down_is_503(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Refusals that need no database still come; the others are database_unavailable, and name no host."""
    monkeypatch.setattr(mongo, "_SERVER_SELECTION_MS", 200)
    point(monkeypatch, closed())
    assert Client(None).get("tokens/info").code == "unauthenticated"
    answer = Client(A_KEY).get("tokens/info")
    assert_refused(answer, 503, "database_unavailable")
    assert answer.headers["Retry-After"] == "2"
    logged = capsys.readouterr().out
    assert "127.0.0.1" not in answer.text
    assert "s3cret" not in logged + answer.text


@pytest.mark.usefixtures("deaf")
def test_a_database_that_is_deaf_is_named_within_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the database fails, health says so in time for whoever balances load: by limits of its own."""
    assert health_service._DATABASE_SECONDS + failures.SECONDS < 3
    monkeypatch.setattr(mongo, "_SERVER_SELECTION_MS", 60_000)
    monkeypatch.setattr(mongo, "_OPERATION_MS", 60_000)
    started = real_time.monotonic()
    health = Client(None).get(HEALTH)
    assert real_time.monotonic() - started < 20  # a busy machine's three
    assert health.status == 503
    assert health.json["data"]["status"] == "fail"
    assert health.json["data"]["checks"]["database"]["status"] == "fail"


@settings(derandomize=True, deadline=None, database=None)
@given(st.integers(min_value=-MAX_SUPPLY * 10, max_value=MAX_SUPPLY * 10))
def test_amounts_survive_the_database_form(units: int) -> None:
    """To the last base unit, in both directions."""
    assert mongo.to_units(mongo.to_decimal(units)) == units


def test_an_amount_that_does_not_fit_is_refused() -> None:
    """34 digits fit; one more is an error and never rounded."""
    most = 10**34 - 1
    assert mongo.to_units(mongo.to_decimal(most)) == most
    with pytest.raises(Inexact):
        mongo.to_decimal(10**34 + 1)


def test_amounts_are_exact_in_the_database(system: Raw) -> None:
    """The database adds them as we do."""
    system.accounts.insert_one(
        {"_id": "sum", "posted": mongo.to_decimal(MAX_SUPPLY), "available": mongo.to_decimal(0), "sequence": 0}
    )
    mongo.database().accounts.update_one({"_id": "sum"}, {"$inc": {"posted": mongo.to_decimal(1)}})
    row = mongo.database().accounts.find_one({"_id": "sum"})
    assert row is not None
    assert mongo.to_units(row["posted"]) == MAX_SUPPLY + 1


def test_a_transaction_is_whole_or_nothing(system: Raw) -> None:
    """What its work raises undoes what it wrote; what it returns comes back."""

    def write(session: ClientSession) -> str:
        mongo.database().leases.insert_one({"_id": "a", "until": real_moment()}, session=session)
        mongo.database().leases.insert_one({"_id": "b", "until": real_moment()}, session=session)
        return "done"

    def fail(session: ClientSession) -> None:
        write(session)
        raise LookupError("no")

    with pytest.raises(LookupError):
        mongo.transact(fail)
    assert system.leases.count_documents({}) == 0
    assert mongo.transact(write) == "done"
    assert system.leases.count_documents({}) == 2


def test_a_transaction_names_its_concerns(
    system: Raw, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snapshot and majority, whatever the URI says: a transaction takes its client's concerns, and not a database's."""
    sent: list[dict[str, Any]] = []

    class Seen(mongo.Meter):
        """Keeps what is sent."""

        def started(self, event: CommandStartedEvent) -> None:
            """Before it leaves."""
            sent.append(dict(event.command))

    address, _, options = environment["MONGODB_URI"].partition("?")
    kept = [one for one in options.split("&") if one.partition("=")[0] not in ("w", "readConcernLevel")]
    point(monkeypatch, f"{address}?{'&'.join([*kept, 'readConcernLevel=local', 'w=1'])}")
    monkeypatch.setattr(mongo, "Meter", Seen)
    mongo.transact(lambda session: mongo.database().controls.find_one({"_id": "supply"}, session=session))
    (begun,) = [command for command in sent if command.get("startTransaction")]
    (ended,) = [command for command in sent if "commitTransaction" in command]
    assert begun["readConcern"]["level"] == "snapshot"
    assert ended["writeConcern"]["w"] == "majority"


def test_broken_connections_are_forgiven_once() -> None:
    """Work that may happen twice is tried twice; a database that stays away is said."""
    tries: list[int] = []

    def work(fails: int) -> str:
        tries.append(fails)
        if len(tries) <= fails:
            raise AutoReconnect("gone")
        return "done"

    assert mongo.again(lambda: work(0)) == "done"
    tries.clear()
    assert mongo.again(lambda: work(1)) == "done"
    tries.clear()
    with pytest.raises(AutoReconnect):
        mongo.again(lambda: work(2))
    assert len(tries) == 2


def test_nobody_home_is_a_connection_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's own words for it are what the edge recognises."""
    monkeypatch.setattr(mongo, "_SERVER_SELECTION_MS", 100)
    point(monkeypatch, closed())
    started = real_time.monotonic()
    with pytest.raises(ServerSelectionTimeoutError):
        mongo.database()
    assert real_time.monotonic() - started < 7  # an operation would wait for 8


def real_moment() -> object:
    """Any date: the collection's validator wants one."""
    from getsmart import clock

    return clock.now()
