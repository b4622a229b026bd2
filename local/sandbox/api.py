"""MetaKeep's paths over HTTP: signature, faults, idempotent replay, and one commit before a reply leaves."""

import hashlib
import json
import socket
from dataclasses import dataclass, field

from flask import Blueprint, Response, request

from local.sandbox import auth, faults, shapes, transactions
from local.sandbox.endpoints import ENDPOINTS, Endpoint
from local.sandbox.faults import Fault, Holds
from local.sandbox.http import CONNECTION
from local.sandbox.problems import INVALID_REQUEST, SOMETHING_WENT_WRONG, Refusal
from local.sandbox.world import World

DEFAULT_SLOW_MS = 1000
REASON_HEADER = "X-Sandbox-Reason"  # MetaKeep gives no reason; a developer at the sandbox is glad of one
_INSERT_REQUEST = "INSERT INTO requests (at_ms, path, idempotency_key, replayed, http_status) VALUES (?, ?, ?, ?, ?)"


@dataclass
class _Outcome:
    """What goes back, and which fault meets it on the way."""

    body: bytes
    http_status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    is_replay: bool = False
    delivery: Fault = field(default_factory=dict)


def _encode(reply: dict[str, object]) -> bytes:
    return json.dumps(reply, separators=(",", ":")).encode()


def _refused(refusal: Refusal) -> _Outcome:
    headers = {**refusal.headers, REASON_HEADER: json.dumps(str(refusal))}
    return _Outcome(_encode({"status": refusal.status}), refusal.http_status, headers)


def _raise_refusal_fault(world: World, path: str) -> None:
    fault = faults.take(world, path, faults.REFUSALS)
    if fault.get("kind") == "500":
        raise Refusal(SOMETHING_WENT_WRONG, 500, "a fault was ordered")
    if fault:
        seconds = str(fault.get("retry_after", 1))
        raise Refusal("TOO_MANY_REQUESTS", 429, "a fault was ordered", {"Retry-After": seconds})


def _execute(world: World, path: str, endpoint: Endpoint, raw: bytes) -> bytes:
    body = shapes.parse(raw, endpoint.shape)
    fate = faults.take(world, path, faults.FATES) if endpoint.makes_transaction else {}
    return _encode(endpoint.run(world, body, fate))


def _record(world: World, path: str, key: str | None, outcome: _Outcome) -> None:
    """Note the call for `/_sandbox/requests`: at once beside an effect, otherwise with the next commit."""
    write = world.store.defer if key is None else world.store.run
    write(_INSERT_REQUEST, world.clock.real(), path, key, int(outcome.is_replay), outcome.http_status)


def _run_once(world: World, path: str, endpoint: Endpoint, raw: bytes, key: str | None) -> _Outcome:
    """Run the call, or replay what the same key got before. Replies that are errors are not kept."""
    if key is None:
        return _Outcome(_execute(world, path, endpoint, raw))
    scope, digest = (
        (request.headers.get("x-api-key", world.credentials.api_key), path, key),
        hashlib.sha256(raw).digest(),
    )
    stored = world.store.row("SELECT * FROM replies WHERE api_key = ? AND path = ? AND idempotency_key = ?", *scope)
    if stored is None:
        reply = _execute(world, path, endpoint, raw)
        world.store.run("INSERT INTO replies VALUES (?, ?, ?, ?, ?)", *scope, digest, reply)
        return _Outcome(reply)
    if stored["body_hash"] != digest:
        raise Refusal(INVALID_REQUEST, 400, "this Idempotency-Key was used before with another body")
    return _Outcome(stored["reply"], is_replay=True)


def _commit(world: World, path: str, endpoint: Endpoint, raw: bytes, key: str | None) -> _Outcome:
    """The effect, its stored reply and the faults it used up, in one transaction.

    Another call with the same key waits at the world's lock for the first.
    """
    with world.change():
        transactions.settle(world)
        try:
            _raise_refusal_fault(world, path)
            with world.store.savepoint():
                outcome = _run_once(world, path, endpoint, raw, key)
            outcome.delivery = faults.take(world, path, faults.DELIVERIES)
        except Refusal as refusal:
            outcome = _refused(refusal)
        transactions.settle(world)  # with no mining delay the block belongs to this very commit
        _record(world, path, key, outcome)
        return outcome


def _answer(world: World, requested_path: str, endpoint: Endpoint) -> _Outcome:
    raw, key, path = request.get_data(), request.headers.get("Idempotency-Key"), requested_path.rstrip("/")
    try:
        auth.check(world, requested_path, request.headers, raw)
    except Refusal as refusal:
        outcome = _refused(refusal)
        _record(world, path, None, outcome)
        return outcome
    return _commit(world, path, endpoint, raw, key)


def _cut_connection() -> None:
    connection: socket.socket = request.environ[CONNECTION]
    connection.shutdown(socket.SHUT_RDWR)


def _deliver(outcome: _Outcome, path: str, holds: Holds) -> Response:
    kind, key = outcome.delivery.get("kind"), request.headers.get("Idempotency-Key")
    if kind == "slow":
        holds.wait(path, key, outcome.delivery.get("delay_ms", DEFAULT_SLOW_MS) / 1000, kind)
    elif kind == "hold":
        holds.wait(path, key, faults.HOLD_LIMIT_SECONDS, kind)
    elif kind == "reply_lost":
        _cut_connection()
    return Response(outcome.body, outcome.http_status, outcome.headers, content_type="application/json")


def blueprint(world: World, holds: Holds) -> Blueprint:
    """The routes of every endpoint in the table, with and without a trailing slash."""
    routes = Blueprint("metakeep", __name__)

    def register(path: str, endpoint: Endpoint) -> None:
        def view() -> Response:
            return _deliver(_answer(world, request.path, endpoint), path, holds)

        for rule in (path, path + "/"):
            routes.add_url_rule(rule, rule.strip("/").replace("/", "-") + str(len(rule)), view, methods=["POST"])

    for path, endpoint in ENDPOINTS.items():
        register(path, endpoint)
    return routes
