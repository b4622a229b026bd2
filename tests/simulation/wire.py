"""The database's boundaries, below the driver: a command crosses one before it leaves, and one when its reply is there.

Faults are what a socket does, or a reply that a server gives, so that the driver's own code meets them. Two things are
simulated of the server: its clock is the simulation's (`$currentDate`, `$$NOW`), and it aborts what a dead process left
open after a minute. The embedded server lets a plain write wait for an open transaction that wrote the same document; a
thread that waits there would never hand the baton on, so it waits here, for as long as it would there.
"""

import itertools
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
import pymongo.synchronous.pool as driver
from bson import CodecOptions
from pymongo import _csot
from pymongo.message import _OpMsg

from tests.simulation.plan import Boundary, Fault
from tests.simulation.scheduler import Actor, Outage, Process, Scheduler

_OURS = str(Path(__file__).resolve().parents[2] / "lib" / "getsmart") + "/"
# Not who asks, but how: the boundary is named for whoever wanted something.
_CARRIERS = ("mongo.py", "chain.py", "metakeep/client.py", "metakeep/again.py", "outbound/post.py")
_UNSEEN = frozenset({"hello", "ismaster", "isMaster", "ping", "endSessions", "killCursors", "saslStart", "buildInfo"})
_PLAIN_WRITES = frozenset({"insert", "update", "delete", "findAndModify"})
_LIFE_SECONDS = 60.0  # of an open transaction; the server's transactionLifetimeLimitSeconds
_PATIENCE_SECONDS = 8.0  # the driver's timeoutMS
_LONGEST_REAL_SECONDS = 20.0
_HEADER = struct.Struct("<iiii")
_OP_MSG = 2013
_AWARE: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
_CODES = {"NotWritablePrimary": 10107, "WriteConflict": 112, "InterruptedAtShutdown": 11600}

Write = tuple[str, str | None]


@dataclass
class _Open:
    """A transaction that a server has open: whose, and which documents it wrote."""

    process: Process
    lsid: dict[str, Any]
    number: int
    written: set[Write] = field(default_factory=set)


def caller_of() -> str:
    """The function of ours that wants something, as `stores.reserves.take`."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_OURS) and not path.endswith(_CARRIERS):
            module = path[len(_OURS) : -3].replace("/", ".")
            return f"{module}.{frame.f_code.co_qualname.split('.<locals>')[0]}"
        frame = frame.f_back  # type: ignore[assignment]
    return "nobody"


class Wire:
    """Stands between the driver and its sockets, for the threads of actors; everybody else passes."""

    def __init__(self, scheduler: Scheduler, port: int) -> None:
        """`port` is the server's on this machine."""
        self._scheduler, self._port = scheduler, port
        self._sendall, self._receive = driver.sendall, driver.receive_message
        self._open: dict[tuple[bytes, int], _Open] = {}
        self._pending: dict[int, tuple[dict[str, Any], Boundary, Fault | None]] = {}
        self._outage = Outage(scheduler)
        self.written: set[str] = set()  # collections that anybody wrote to
        self.watch: Callable[[str, Process | None], None] | None = None  # told of each write: collection, and whose
        driver.sendall = self._send  # type: ignore[assignment]
        driver.receive_message = self._take  # type: ignore[assignment]

    def begin(self) -> None:
        """A new run: nothing is open."""
        for one in list(self._open.values()):
            self._abort(one)
        self._pending.clear()
        self._outage.end()

    def _send(self, wire: Any, message: bytes) -> None:
        request_id, command = _read(message)
        if next(iter(command), "hello") not in _UNSEEN:
            message = self._cross(request_id, command, message)
        if message:
            self._sendall(wire, message)

    def _cross(self, request_id: int, command: dict[str, Any], message: bytes) -> bytes:
        """What is to be sent, or nothing where something else is in store. Raises what a broken socket does."""
        name = next(iter(command))
        if name in _PLAIN_WRITES:
            self.written.add(command[name])
        actor = self._scheduler.current
        if actor is None:
            return self._dated(request_id, command, message)
        boundary = Boundary("database", _what(name, command), caller_of(), "before")
        fault = self._outage.meet(self._scheduler.cross(boundary), "refuse")
        if fault is not None and fault.value == "WriteConflict" and command.get("autocommit") is not False:
            fault = None  # a server tells nobody of one outside a transaction: it tries again itself
        if fault is None and not self._wait_for_locks(actor, name, command):
            fault = Fault("lose", "timeout")
        if fault is not None and fault.kind == "refuse":
            raise ConnectionResetError("simulated")
        self._pending[request_id] = (command, boundary, fault)
        if fault is not None:
            return b""
        self._track(actor, name, command)
        return self._dated(request_id, command, message)

    def _dated(self, request_id: int, command: dict[str, Any], message: bytes) -> bytes:
        """The message, with the moment at which it gets there where the server would read its clock."""
        return _write(request_id, command) if _with_clock(command, self._scheduler.true_now()) else message

    def _take(self, connection: Any, request_id: int | None, most: int = 0) -> _OpMsg:
        known = self._pending.pop(request_id, None) if request_id is not None else None
        if known is None:
            return self._receive(connection, request_id, most)
        command, boundary, fault = known
        if fault is not None:
            return self._refusal(command, fault)
        reply = self._receive_in_peace(connection, request_id, most)
        self._close(command, reply)
        if self.watch is not None and boundary.writes and _is_committed(command):
            actor = self._scheduler.current
            with self._scheduler.aside():
                self.watch(boundary.what.split()[-1], actor.process if actor else None)
        fault = self._scheduler.cross(boundary._replace(phase="after"))
        if fault is not None:
            raise TimeoutError("simulated") if fault.value == "timeout" else ConnectionResetError("simulated")
        return reply

    def _receive_in_peace(self, connection: Any, request_id: int | None, most: int) -> _OpMsg:
        """The reply, however long it takes for real: which deadlines pass is for simulated time to say."""
        # By the clock that the driver compares it with, which stands still meanwhile: what is left is left for real.
        before = _csot.DEADLINE.set(self._scheduler.monotonic() + _LONGEST_REAL_SECONDS)
        try:
            return self._receive(connection, request_id, most)
        finally:
            _csot.DEADLINE.reset(before)

    def _refusal(self, command: dict[str, Any], fault: Fault) -> _OpMsg:
        """What a server says that does not do it; in a transaction that ends it."""
        if fault.kind == "lose":
            raise TimeoutError("simulated")
        name = str(fault.value)
        is_inside = command.get("autocommit") is False
        reply: dict[str, Any] = {"ok": 0.0, "code": _CODES[name], "codeName": name, "errmsg": f"{name} (simulated)"}
        if is_inside and next(iter(command)) != "abortTransaction":
            reply["errorLabels"] = ["TransientTransactionError"]
            if one := self._open.get(_key(command)):
                self._abort(one)
        return _OpMsg(0, bson.encode(reply))

    # Transactions

    def _track(self, actor: Actor, name: str, command: dict[str, Any]) -> None:
        if command.get("autocommit") is not False:
            return
        key = _key(command)
        if command.get("startTransaction"):
            self._open[key] = one = _Open(actor.process, command["lsid"], key[1])
            self._scheduler.at(self._scheduler.elapsed + _LIFE_SECONDS, lambda: self._expire(key, one))
        if key in self._open and name in _PLAIN_WRITES:
            self._open[key].written |= _documents(name, command)

    def _close(self, command: dict[str, Any], reply: _OpMsg) -> None:
        if command.get("autocommit") is not False:
            return
        content = bson.decode(bytes(reply.raw_command_response()))
        name = next(iter(command))
        has_ended = name in ("commitTransaction", "abortTransaction") and content.get("ok") == 1
        if has_ended or "TransientTransactionError" in content.get("errorLabels", []):
            self._open.pop(_key(command), None)

    def _wait_for_locks(self, actor: Actor, name: str, command: dict[str, Any]) -> bool:
        """Wait, as at the server, for those that wrote the same documents; False when it lasts too long."""
        if name not in _PLAIN_WRITES or command.get("autocommit") is False:
            return True
        wanted = _documents(name, command)

        def is_free() -> bool:
            return not any(_meets(wanted, one.written) for one in self._open.values())

        return self._scheduler.wait_until(is_free, _PATIENCE_SECONDS)

    def _expire(self, key: tuple[bytes, int], one: _Open) -> None:
        if self._open.get(key) is one:
            self._abort(one)

    def _abort(self, one: _Open) -> None:
        """What the server does with a transaction whose time is over; by a connection of the simulation's own."""
        self._open.pop((bytes(one.lsid["id"]), one.number), None)
        order = {
            "abortTransaction": 1,
            "lsid": one.lsid,
            "txnNumber": bson.Int64(one.number),
            "autocommit": False,
            "$db": "admin",
        }
        with socket.create_connection(("127.0.0.1", self._port), timeout=5) as wire:
            wire.sendall(_write(next(_ids), order))
            (size,) = struct.unpack("<i", _exactly(wire, 4))
            _exactly(wire, size - 4)


_ids = itertools.count(1_000_000_000)


def _exactly(wire: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        more = wire.recv(size - len(parts))
        if not more:
            raise ConnectionError("the server hung up")
        parts += more
    return parts


def _read(message: bytes) -> tuple[int, dict[str, Any]]:
    """The request's number and its command, with the documents of its sections; empty where it is no OP_MSG."""
    size, request_id, _, code = _HEADER.unpack_from(message)
    if code != _OP_MSG:
        return request_id, {}
    place, command = 20, {}
    while place < size:
        kind, place = message[place], place + 1
        (length,) = struct.unpack_from("<i", message, place)
        section = message[place : place + length]
        if kind == 0:
            command |= bson.decode(section, _AWARE)
        else:
            name_end = section.index(b"\0", 4)
            command[section[4:name_end].decode()] = bson.decode_all(section[name_end + 1 :], _AWARE)
        place += length
    return request_id, command


def _write(request_id: int, command: dict[str, Any]) -> bytes:
    body = b"\0\0\0\0\0" + bson.encode(command)
    return _HEADER.pack(16 + len(body), request_id, 0, _OP_MSG) + body


def _with_clock(command: dict[str, Any], now: Any) -> bool:
    """Put the simulation's moment where the server would read its own clock; whether there was such a place."""
    changed = False
    for update in [*command.get("updates", []), command]:
        name = "u" if "u" in update else "update"
        change = update.get(name)
        if isinstance(change, dict) and "$currentDate" in change:
            change.setdefault("$set", {}).update(dict.fromkeys(change.pop("$currentDate"), now))
            changed = True
        elif isinstance(change, list):
            update[name] = _replaced(change, now)
            changed = True
    return changed


def _replaced(value: Any, now: Any) -> Any:
    if value == "$$NOW":
        return now
    if isinstance(value, list):
        return [_replaced(one, now) for one in value]
    return {name: _replaced(one, now) for name, one in value.items()} if isinstance(value, dict) else value


def _what(name: str, command: dict[str, Any]) -> str:
    target = command[name]
    return f"{name} {target}" if isinstance(target, str) else name


def _is_committed(command: dict[str, Any]) -> bool:
    return command.get("autocommit") is not False or "commitTransaction" in command


def _key(command: dict[str, Any]) -> tuple[bytes, int]:
    return bytes(command["lsid"]["id"]), int(command["txnNumber"])


def _documents(name: str, command: dict[str, Any]) -> set[Write]:
    """What a command writes: documents by their ids, or a whole collection."""
    collection = command[name]
    if name == "insert":
        return {(collection, str(row["_id"])) for row in command["documents"]}
    filters = [command["query"]] if name == "findAndModify" else [one["q"] for one in command[name + "s"]]
    ids = [one.get("_id") for one in filters]
    return {(collection, one if isinstance(one, str) else None) for one in ids}


def _meets(wanted: set[Write], written: set[Write]) -> bool:
    return any(
        collection == other and (one is None or another is None or one == another)
        for collection, one in wanted
        for other, another in written
    )
