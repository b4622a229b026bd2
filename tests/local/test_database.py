"""The database of a local run starts, keeps what it was told, and says clearly why when it cannot start."""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from local import database
from local.database import EmbeddedDatabase, ExternalDatabase, MongodDatabase
from local.ports import free_port
from local.processes import ChildFailed


def client(uri: str) -> MongoClient[dict[str, Any]]:
    """A client for a few calls."""
    return MongoClient(uri, serverSelectionTimeoutMS=5_000)


def leash_pid(server: EmbeddedDatabase) -> int:
    """The process between us and the server."""
    assert server.child is not None
    return server.child._leash.pid


def test_data_survives_a_restart_and_a_kill(tmp_path: Path) -> None:
    """What was acknowledged is there after a stop, and after the server was killed, on whatever port it comes back."""
    first = EmbeddedDatabase(tmp_path)
    with client(first.start()) as mongo:
        mongo.shop.things.insert_one({"_id": 1})
    first.stop()
    first.stop()  # again: nothing left to do
    second = EmbeddedDatabase(tmp_path)
    with client(second.start()) as mongo:
        mongo.shop.things.insert_one({"_id": 2})
    os.kill(leash_pid(second), signal.SIGKILL)
    third = EmbeddedDatabase(tmp_path)
    with client(third.start()) as mongo:
        assert [row["_id"] for row in mongo.shop.things.find()] == [1, 2]
    third.stop()


def test_a_dying_predecessor_is_waited_for(tmp_path: Path) -> None:
    """A start while another server still holds the directory succeeds as soon as that one is gone."""
    old = EmbeddedDatabase(tmp_path)
    old.start()
    new = EmbeddedDatabase(tmp_path)
    new.data_dir = tmp_path  # the same directory, a log of its own
    new.name = "successor"
    uris: list[str] = []
    starter = threading.Thread(target=lambda: uris.append(new.start()))
    starter.start()
    log = tmp_path / "successor.log"
    while not (log.exists() and "Device or resource busy" in log.read_text()):
        starter.join(0.01)
    starter.join(0.5)
    assert not uris
    old.stop()
    starter.join(20)
    assert uris == [new.uri]
    new.stop()


def test_the_death_of_a_server_is_told(tmp_path: Path) -> None:
    """Whoever asked is called when the server ends by itself."""
    server = EmbeddedDatabase(tmp_path)
    told = threading.Event()
    server.start(on_exit=lambda child: told.set())
    os.kill(leash_pid(server), signal.SIGKILL)
    assert told.wait(5)
    server.stop()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """Nobody is ever connected to a stranger that listens on our port."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        server = EmbeddedDatabase(tmp_path, port=stranger.getsockname()[1])
        with pytest.raises(ChildFailed, match=rf"database did not start: port {server.port} is in use"):
            server.start()


def test_a_server_that_cannot_start_is_named_with_its_last_log_lines(tmp_path: Path) -> None:
    """Files that are not a database's are one clear error: name, exit status and what the server logged last."""
    (tmp_path / "database").mkdir()
    (tmp_path / "database" / "WiredTiger.wt").write_text("not a database")
    (tmp_path / "database" / "WiredTiger.turtle").write_text("not a database")
    with pytest.raises(ChildFailed, match=r"(?s)database did not start \(exit status 1\).*WiredTigerError"):
        EmbeddedDatabase(tmp_path).start()


def test_a_server_that_never_listens_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the deadline the attempt is ended, and the child with it."""
    server = EmbeddedDatabase(tmp_path)
    server.start_seconds = 0.2
    monkeypatch.setattr(server, "command", lambda: [sys.executable, "-c", "import time; time.sleep(600)"])
    with pytest.raises(ChildFailed, match="database did not listen in time"):
        server.start()
    assert server.child is None


def test_a_server_that_listens_but_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listening is not enough: the ping has to come back before the deadline."""
    port = free_port()
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
    server = EmbeddedDatabase(tmp_path, port)
    monkeypatch.setattr(server, "command", lambda: [sys.executable, "-c", code])
    real, given = database._ping, []

    def impatient(uri: str, milliseconds: int) -> None:
        given.append(milliseconds)
        real(uri, 300)

    monkeypatch.setattr(database, "_ping", impatient)
    with pytest.raises(ChildFailed, match="database does not answer: ServerSelectionTimeoutError"):
        server.start()
    assert 0 < given[0] < server.start_seconds * 1_000


def test_the_database_is_chosen_by_what_there_is(tmp_path: Path) -> None:
    """MONGODB_URI wins, then a mongod on PATH, then the embedded server."""
    mongod = tmp_path / "bin" / "mongod"
    mongod.parent.mkdir()
    mongod.write_text("#!/bin/sh\n")
    mongod.chmod(0o755)
    with_mongod = {"PATH": str(mongod.parent)}
    assert isinstance(database.choose(tmp_path, {"MONGODB_URI": "mongodb://x", **with_mongod}), ExternalDatabase)
    assert isinstance(database.choose(tmp_path, with_mongod), MongodDatabase)
    assert isinstance(database.choose(tmp_path, {"PATH": str(tmp_path), "MONGODB_URI": ""}), EmbeddedDatabase)


def test_an_external_database_is_used_as_it_is(tmp_path: Path) -> None:
    """It is asked once whether it answers, its URI is handed on, and stopping leaves it running."""
    server = EmbeddedDatabase(tmp_path)
    uri = server.start()
    external = ExternalDatabase(uri)
    assert external.start() == uri
    external.stop()
    with client(uri) as mongo:
        assert mongo.admin.command("ping")["ok"] == 1
    server.stop()
    gone = ExternalDatabase(uri.replace("&w", "&serverSelectionTimeoutMS=50&w"))
    gone.ping_milliseconds = 50
    with pytest.raises(ChildFailed, match="the database in MONGODB_URI does not answer: ServerSelectionTimeoutError"):
        gone.start()


@pytest.fixture
def mongod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MongodDatabase:
    """A mongod (its lookalike) on PATH, and the database that uses it."""
    program = tmp_path / "bin" / "mongod"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("mongod_lookalike.py")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    chosen = database.choose(tmp_path, dict(os.environ, MONGODB_URI=""))
    assert isinstance(chosen, MongodDatabase)
    return chosen


def test_a_mongod_becomes_a_replica_set_of_one_and_may_move(mongod: MongodDatabase) -> None:
    """It is initiated once, moved when it comes back on another port, and used when it is primary."""
    for port in (0, 0, None):  # a free one, another free one, the same again
        mongod.port = mongod.port if port is None else port
        with client(mongod.start()) as mongo:
            assert mongo.admin.command("hello")["isWritablePrimary"]
            members = mongo.admin.command("replSetGetConfig")["config"]["members"]
            assert members == [{"_id": 0, "host": f"127.0.0.1:{mongod.port}"}]
        mongod.stop()


def test_a_mongod_that_refuses_or_never_becomes_primary_is_given_up(
    mongod: MongodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clear error with what went wrong, and it does not run on."""
    monkeypatch.setenv("LOOKALIKE_ELECTION_SECONDS", "600")
    real, ends = database.make_replica_set, time.monotonic() + mongod.start_seconds

    def impatient(uri: str, name: str, host: str, deadline: float) -> None:
        assert ends < deadline < time.monotonic() + mongod.start_seconds
        real(uri, name, host, time.monotonic() + 1)

    monkeypatch.setattr(database, "make_replica_set", impatient)
    with pytest.raises(ChildFailed, match="database does not answer: ServerSelectionTimeoutError"):
        mongod.start()
    monkeypatch.setattr(mongod, "replica_set", "another")
    (mongod.storage / "replica-set.json").unlink()
    with pytest.raises(ChildFailed, match="database does not answer: OperationFailure"):
        mongod.start()
