"""The database connection: one cached client a process, transactions, and int <-> Decimal128."""

import os
import threading
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar

import pymongo
from bson import CodecOptions, Decimal128
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import AutoReconnect, ConfigurationError
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from getsmart import calls, clock, config
from getsmart.errors import DatabaseUnavailable, Misconfigured

Document = dict[str, Any]
Result = TypeVar("Result")

_SERVER_SELECTION_MS = 2_000
_CONNECT_MS = 2_000
_OPERATION_MS = 8_000
_TRANSACTION_SECONDS = 8.0
_making = threading.Lock()


class Meter(CommandListener):
    """Counts each round trip, and its time, for the call that this thread works for."""

    def started(self, event: CommandStartedEvent) -> None:
        """It counts when it is over."""

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """An answer came."""
        _count(event.duration_micros)

    def failed(self, event: CommandFailedEvent) -> None:
        """A refusal came, or nothing in time."""
        _count(event.duration_micros)


def _count(micros: int) -> None:
    call = calls.current()
    if call is not None:
        call.database.append(micros / 1_000_000)


@cache
def _client(_process_id: int) -> MongoClient[Document]:
    """The client of this process. Keyed by pid: a client made before a fork must never be used after it."""
    settings = config.read(config.DatabaseSettings)
    try:
        return _connect(settings)
    except (ConfigurationError, ValueError):
        # Its text may quote the URI, and the URI holds credentials.
        raise Misconfigured("environment: MONGODB_URI (invalid)") from None


def _connect(settings: config.DatabaseSettings) -> MongoClient[Document]:
    return MongoClient(
        settings.uri,
        maxPoolSize=settings.max_pool_size,
        minPoolSize=0,
        # One request a container, frozen in between: streaming monitors would only find dead sockets on thaw.
        serverMonitoringMode="poll",
        serverSelectionTimeoutMS=_SERVER_SELECTION_MS,
        connectTimeoutMS=_CONNECT_MS,
        timeoutMS=_OPERATION_MS,
        appname=os.environ.get("__OW_ACTION_NAME", "getsmart")[-128:],
        tz_aware=True,
        event_listeners=[Meter()],
    )


def client() -> MongoClient[Document]:
    """The cached client; connects on first use. Raises Misconfigured unless MONGODB_URI is one.

    One at a time: of two threads that come first at once, `cache` would let each make one, and keep the later. A
    session of that one would then be refused by a database of the other, for as long as the process lives.
    """
    with _making:
        return _client(os.getpid())


def database() -> Database[Document]:
    """The database of this deployment; money is read and written with majority concern.

    Raises ServerSelectionTimeoutError after 2 s when no server is there, and DatabaseUnavailable in a call whose time
    is over: a slow database is given up before the platform gives up the function.
    """
    if clock.left() <= 0:
        raise DatabaseUnavailable("the call's time is over")
    connected = client()
    if not connected.topology_description.has_writable_server():
        _ = connected.is_primary  # waits for a server: an operation would do so for its whole timeoutMS
    return _database(os.getpid(), config.read(config.DatabaseSettings).name)


@cache
def _database(_process_id: int, name: str) -> Database[Document]:
    """Made once, as its client is: to make it, with its options, costs a read as much as its log line does."""
    return client().get_database(
        name,
        codec_options=CodecOptions(tz_aware=True),
        write_concern=WriteConcern("majority"),
        read_concern=ReadConcern("majority"),
    )


def forget() -> None:
    """Close and drop the client; for tests and for a process that changes its database."""
    if _client.cache_info().currsize:
        client().close()
    _client.cache_clear()
    _database.cache_clear()


def transact(work: Callable[[ClientSession], Result]) -> Result:
    """Run `work` in a short transaction, whole again on a transient conflict; it must be repeatable.

    It names its concerns: left to itself it would take the client's, and not those of `database`. Raises what `work`
    raises, or the driver's error when the conflict outlasts 8 s.
    """
    with pymongo.timeout(_TRANSACTION_SECONDS), client().start_session() as session:
        return session.with_transaction(work, ReadConcern("snapshot"), WriteConcern("majority"))


def again(work: Callable[[], Result]) -> Result:
    """Run `work`, and once more when the connection broke under it; only for work that may happen twice."""
    try:
        return work()
    except AutoReconnect:
        return work()


def to_decimal(units: int) -> Decimal128:
    """Base units as the database keeps them. Raises decimal.Inexact past 34 digits."""
    return Decimal128(Decimal(units))


def to_units(value: Decimal128) -> int:
    """Base units as an int; amounts are whole numbers by construction."""
    return int(value.to_decimal())
