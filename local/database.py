"""The database of a local run: the one in MONGODB_URI, else a mongod on PATH, else the embedded server."""

import shutil
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError

from local import processes
from local.ports import free_port, is_free
from local.processes import Child, ChildFailed

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.02
_STOP_POLL_SECONDS = 0.05
_LOCKED_POLL_SECONDS = 0.2
# What the embedded server and mongod say while a dying predecessor still holds the directory.
_LOCKED = ("Device or resource busy", "DBPathInUse")
_ALREADY_INITIALIZED = 23

OnExit = Callable[[Child], None]


class Database(Protocol):
    """What `choose` gives: something to start, which has a URI, and to stop."""

    def start(self, on_exit: OnExit | None = None) -> str:
        """Return the URI once the server answers. Raises ChildFailed when it does not."""

    def stop(self) -> None:
        """End the server if it is ours; the data stays."""


class ExternalDatabase:
    """A server that somebody else runs (MONGODB_URI)."""

    ping_milliseconds = 5_000

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def start(self, on_exit: OnExit | None = None) -> str:  # noqa: ARG002 - whether it ends is not ours to see
        """Return the URI when the server answers a ping in time. Raises ChildFailed otherwise."""
        try:
            _ping(self.uri, self.ping_milliseconds)
        except PyMongoError as error:
            raise ChildFailed(f"the database in MONGODB_URI does not answer: {type(error).__name__}") from error
        return self.uri

    def stop(self) -> None:
        """Nothing: it is not ours."""


class _OwnServer(ABC):
    """A database server started as a child, with its files under `data_dir`, on `port` (0: a free one)."""

    name = "database"
    start_seconds = 30.0
    stop_seconds = 15.0

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        self.data_dir = data_dir
        self.port = port
        self.child: Child | None = None

    def start(self, on_exit: OnExit | None = None) -> str:
        """Return the URI once the server answers. Raises ChildFailed with its last log lines when it does not."""
        self.port = self.port or free_port(_HOST)
        if not is_free(self.port, _HOST):
            raise ChildFailed(f"{self.name} did not start: port {self.port} is in use")
        self.storage.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self.start_seconds
        while (child := self._attempt(deadline)) is None:
            time.sleep(_LOCKED_POLL_SECONDS)
        self.child = child
        if on_exit:
            child.when_exited(on_exit)
        return self.uri

    def stop(self) -> None:
        """End the server; it writes everything down first."""
        if self.child is not None:
            self.child.terminate()
            deadline = time.monotonic() + self.stop_seconds
            while not self.child.exited.wait(_STOP_POLL_SECONDS) and time.monotonic() < deadline:
                _listens(self.port)  # a connection wakes the embedded server from its wait of 2 s for the next one
            self.child.kill()
            self.child = None

    @property
    @abstractmethod
    def storage(self) -> Path:
        """Where the server keeps its files."""

    @property
    @abstractmethod
    def uri(self) -> str:
        """How clients reach it."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command line of the server."""

    @abstractmethod
    def prepare(self, deadline: float) -> None:
        """What is to be done when the port answers and before clients may come."""

    def _attempt(self, deadline: float) -> Child | None:
        """Start once. The child when it answers; None when the directory is still locked: try again."""
        child = processes.start(self.name, self.command(), log=self.data_dir / f"{self.name}.log")
        try:
            _wait_for_port(child, self.port, deadline)
            self.prepare(deadline)
            _ping(self.uri, max(1, int((deadline - time.monotonic()) * 1000)))
        except PyMongoError as error:
            child.kill()
            raise ChildFailed(child.obituary(f"does not answer: {type(error).__name__}")) from error
        except ChildFailed:
            child.kill()
            if time.monotonic() < deadline and any(word in "\n".join(child.tail()) for word in _LOCKED):
                return None
            raise
        return child


class EmbeddedDatabase(_OwnServer):
    """The embedded server: MongoDB's wire protocol on WiredTiger, a one-node replica set, as a process of its own."""

    def __init__(self, data_dir: Path, port: int = 0, *, is_durable: bool = True) -> None:
        """Not durable is for what is thrown away: a kill -9 loses acknowledged commits."""
        super().__init__(data_dir, port)
        # What is thrown away needs no log of the last 100,000 changes either, cut with each batch.
        self._durability = ("--sync-on-commit",) if is_durable else ("--oplog-max-entries", str(10**9))

    @property
    def storage(self) -> Path:
        """Where the server keeps its files."""
        return self.data_dir / "database"

    @property
    def uri(self) -> str:
        """Retryable writes are off here only: this server's table of them slows it down and is lost at a restart."""
        return f"mongodb://{_HOST}:{self.port}/?retryWrites=false&w=majority"

    def command(self) -> Sequence[str]:
        """With --sync-on-commit, unless all of it may be lost."""
        return [
            str(Path(sys.executable).with_name("secantusd-py")),
            *("--host", _HOST, "--port", str(self.port), "--storage-path", str(self.storage)),
            *(*self._durability, "--log-level", "WARNING"),
        ]

    def prepare(self, deadline: float) -> None:
        """Nothing: it is a replica set of one from the start."""


class MongodDatabase(_OwnServer):
    """A mongod of this machine as a replica set of one."""

    replica_set = "getsmart"

    @property
    def storage(self) -> Path:
        """Where the server keeps its files."""
        return self.data_dir / "mongod"

    @property
    def uri(self) -> str:
        """A direct connection: the one member is known."""
        return f"mongodb://{_HOST}:{self.port}/?directConnection=true&w=majority"

    def command(self) -> Sequence[str]:
        """The command line of the server."""
        where = ("--dbpath", str(self.storage), "--bind_ip", _HOST, "--port", str(self.port))
        return ["mongod", "--replSet", self.replica_set, *where]

    def prepare(self, deadline: float) -> None:
        """Make it a replica set at this port, or move the one it was to this port, and wait for its primary."""
        make_replica_set(self.uri, self.replica_set, f"{_HOST}:{self.port}", deadline)


def make_replica_set(uri: str, name: str, host: str, deadline: float) -> None:
    """Make the mongod at `uri` a replica set of one, reached as `host`, and wait for its primary; any number of times.

    Raises PyMongoError, also when `deadline` (of the monotonic clock) passes.
    """
    members = [{"_id": 0, "host": host}]
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=5_000) as client:
        try:
            client.admin.command("replSetInitiate", {"_id": name, "members": members})
        except OperationFailure as error:
            if error.code != _ALREADY_INITIALIZED:
                raise
            config = client.admin.command("replSetGetConfig")["config"]
            if config["members"][0]["host"] != host:
                moved = {**config, "version": config["version"] + 1, "members": members}
                client.admin.command("replSetReconfig", moved, force=True)
        while not client.admin.command("hello")["isWritablePrimary"]:
            if time.monotonic() > deadline:
                raise ServerSelectionTimeoutError("the replica set of one has no primary")
            time.sleep(_POLL_SECONDS)


def choose(data_dir: Path, environment: Mapping[str, str], port: int = 0) -> Database:
    """The database of a run whose files are under `data_dir`."""
    if uri := environment.get("MONGODB_URI"):
        return ExternalDatabase(uri)
    if shutil.which("mongod", path=environment.get("PATH")):
        return MongodDatabase(data_dir, port)
    return EmbeddedDatabase(data_dir, port)


def _ping(uri: str, milliseconds: int) -> None:
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=milliseconds) as client:
        client.admin.command("ping")


def _listens(port: int) -> bool:
    """Whether somebody accepts connections on the port."""
    try:
        socket.create_connection((_HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _wait_for_port(child: Child, port: int, deadline: float) -> None:
    """Until something listens on the port; raises ChildFailed when the child ends or the deadline passes."""
    while not child.exited.wait(_POLL_SECONDS):
        if _listens(port):
            return
        if time.monotonic() > deadline:
            raise ChildFailed(child.obituary("did not listen in time"))
    raise ChildFailed(child.obituary("did not start"))
