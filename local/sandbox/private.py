"""The private paths under /_sandbox: the clock, faults, consent, webhooks and what has happened. No auth."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field, model_validator

from local.sandbox import events, faults, transactions
from local.sandbox.endpoints import ENDPOINTS
from local.sandbox.faults import Holds
from local.sandbox.problems import INVALID_REQUEST, Refusal
from local.sandbox.shapes import Shape, parse
from local.sandbox.world import World

PREFIX = "/_sandbox"
_MILLISECONDS = Annotated[int, Field(ge=0, le=10**12)]


class ClockMove(Shape):
    """Push the sandbox's time forward."""

    advance_ms: _MILLISECONDS


class FaultOrder(Shape):
    """The next `times` matching requests meet `kind`; the other fields are options of single kinds."""

    path: str
    kind: Literal["failed", "cancelled", "stuck", "reorg", "500", "429", "slow", "reply_lost", "hold", "balance_lag"]
    times: Annotated[int, Field(ge=1)] = 1
    delay_ms: _MILLISECONDS | None = None  # slow, balance_lag, reorg
    retry_after: Annotated[int, Field(ge=0)] | None = None  # 429, in seconds
    reason: str | None = None  # failed

    @model_validator(mode="after")
    def _fits(self) -> "FaultOrder":
        path = self.path if self.path == faults.ANY_PATH else self.path.rstrip("/")
        if path != faults.ANY_PATH and path not in ENDPOINTS:
            raise ValueError(f"unknown path; known: {', '.join(ENDPOINTS)} or {faults.ANY_PATH}")
        if self.kind in faults.FATES and path in ENDPOINTS and not ENDPOINTS[path].makes_transaction:
            raise ValueError(f"{path} makes no transaction that could be {self.kind}")
        if self.kind in faults.READS and path not in ("/v2/app/coin/balance", faults.ANY_PATH):
            raise ValueError(f"{self.kind} concerns /v2/app/coin/balance only")
        return self


class ConsentAnswer(Shape):
    """What the user does in the wallet provider's frame."""

    consentToken: str  # noqa: N815 - the name on the wire
    action: Literal["approve", "deny"]


class WebhookMode(Shape):
    """How events are delivered from now on; `delay_ms` is for `late`."""

    mode: Literal["normal", "off", "duplicate", "late", "reorder", "forge"]
    delay_ms: _MILLISECONDS = events.DEFAULT_MODE["delay_ms"]  # type: ignore[assignment]


class Movement(Shape):
    """One Transfer: from the zero address it is a mint, to it a burn; `amount` is base units."""

    sender: str
    recipient: str
    amount: Annotated[str, Field(pattern=r"^[0-9]{1,78}$")]


class Movements(Shape):
    """Calls of the token contract that nobody asked MetaKeep for, each mined at once in a block of its own."""

    transfers: Annotated[list[Movement], Field(min_length=1, max_length=20_000)]


class Dropped(Shape):
    """A transaction that a reorganisation dropped, to be mined after all."""

    tx_hash: str


class Reorganisation(Shape):
    """Replace the newest `depth` blocks: all transactions are dropped, or all but `keep`, or `drop` only."""

    depth: Annotated[int, Field(ge=1)]
    keep: list[str] | None = None
    drop: list[str] | None = None

    @model_validator(mode="after")
    def _one(self) -> "Reorganisation":
        if self.keep is not None and self.drop is not None:
            raise ValueError("keep and drop exclude each other")
        return self


def _clock(world: World) -> dict[str, Any]:
    with world.change():
        transactions.settle(world)
        world.clock.offset_ms += parse(request.get_data(), ClockMove).advance_ms
        world.store.set_setting("clock_offset_ms", world.clock.offset_ms)
        transactions.settle(world)
        return {"now_ms": world.clock.now_ms(), "offset_ms": world.clock.offset_ms}


def _order_fault(world: World) -> dict[str, Any]:
    order = parse(request.get_data(), FaultOrder)
    options = order.model_dump(include={"delay_ms", "retry_after", "reason"}, exclude_none=True)
    path = order.path if order.path == faults.ANY_PATH else order.path.rstrip("/")
    with world.change():
        faults.order(world, path, order.kind, order.times, options)
        return {"pending": faults.pending(world)}


def _show_faults(world: World, holds: Holds) -> dict[str, Any]:
    with world.change():
        return {"pending": faults.pending(world), "held": holds.views()}


def _clear_faults(world: World, holds: Holds) -> dict[str, Any]:
    kind = request.args.get("kind")
    if kind is not None and kind not in faults.KINDS:
        raise Refusal(INVALID_REQUEST, 400, f"unknown kind; known: {', '.join(faults.KINDS)}")
    with world.change():
        faults.clear(world, kind)
        if kind in (None, "stuck"):
            transactions.release_stuck(world)
            transactions.settle(world)
    if kind in (None, "hold", "slow"):
        holds.release()
    return _show_faults(world, holds)


def _consent(world: World) -> dict[str, Any]:
    answer = parse(request.get_data(), ConsentAnswer)
    with world.change():
        transactions.settle(world)
        try:
            reply = transactions.answer_consent(world, answer.consentToken, is_approved=answer.action == "approve")
        except transactions.ConsentRefused as refused:
            raise Refusal(INVALID_REQUEST, 400, str(refused)) from None
        transactions.settle(world)
        return reply


def _set_webhooks(world: World) -> dict[str, Any]:
    mode = parse(request.get_data(), WebhookMode)
    with world.change():
        world.store.set_setting("webhooks", mode.model_dump())
    return mode.model_dump()


def _show_webhooks(world: World) -> dict[str, Any]:
    with world.change(flush=True):
        transactions.settle(world)
        deliveries = world.store.rows("SELECT * FROM deliveries ORDER BY seq")
        waiting = world.store.rows("SELECT * FROM outbox WHERE state = 'pending' ORDER BY seq")
        setting = world.store.setting("webhooks", events.DEFAULT_MODE)
    return {
        **setting,
        "deliveries": [
            {
                "eventId": row["event_id"],
                "type": row["type"],
                "transactionId": row["transaction_id"],
                "kind": row["kind"],
                "httpStatus": row["http_status"],
                "at_ms": row["at_ms"],
            }
            for row in deliveries
        ],
        "pending": [{"eventId": row["event_id"], "type": row["type"], "attempts": row["attempts"]} for row in waiting],
    }


def _requests(world: World) -> dict[str, Any]:
    with world.change(flush=True):
        after = request.args.get("after", 0, type=int)
        rows = world.store.rows("SELECT * FROM requests WHERE seq > ? ORDER BY seq", after)
    return {
        "requests": [
            {
                "seq": row["seq"],
                "at_ms": row["at_ms"],
                "path": row["path"],
                "idempotencyKey": row["idempotency_key"],
                "replayed": bool(row["replayed"]),
                "httpStatus": row["http_status"],
            }
            for row in rows
        ]
    }


def _digests(texts: list[str]) -> list[bytes]:
    try:
        return [bytes.fromhex(text.removeprefix("0x")) for text in texts]
    except ValueError:
        raise Refusal(INVALID_REQUEST, 400, "transaction hashes are 0x hex") from None


def _move(world: World) -> dict[str, Any]:
    order = parse(request.get_data(), Movements)
    with world.change():
        transactions.settle(world)
        blocks = [
            transactions.mine_transfer(world, one.sender, one.recipient, int(one.amount)) for one in order.transfers
        ]
        return {
            "transfers": [
                {
                    "tx_hash": f"0x{(block.call.tx_hash or b'').hex()}",
                    "block_number": block.number,
                    "block_hash": f"0x{block.hash.hex()}",
                    "failure": block.failure,
                }
                for block in blocks
            ]
        }


def _remine(world: World) -> dict[str, Any]:
    tx_hash = _digests([parse(request.get_data(), Dropped).tx_hash])[0]
    with world.change():
        try:
            return {"block_number": world.mine_again(tx_hash).number}
        except ValueError as error:
            raise Refusal(INVALID_REQUEST, 400, str(error)) from None


def _reorganise(world: World) -> dict[str, Any]:
    order = parse(request.get_data(), Reorganisation)
    with world.change():
        transactions.settle(world)
        there = [block.call.tx_hash for block in world.chain.blocks[-order.depth :] if block.call.tx_hash]
        kept = _digests(order.keep or [])
        dropped = _digests(order.drop) if order.drop is not None else [item for item in there if item not in kept]
        try:
            world.reorganise(order.depth, dropped)
        except ValueError as error:
            raise Refusal(INVALID_REQUEST, 400, str(error)) from None
        return {"head": world.chain.head.number, "dropped": [f"0x{item.hex()}" for item in dropped if item in there]}


def _info(world: World, addresses: dict[str, str]) -> dict[str, Any]:
    with world.change():
        transactions.settle(world)
        counts = world.store.rows("SELECT state, count(*) AS number FROM transactions GROUP BY state")
        return {
            **addresses,
            "signing_host": world.options.signing_host,
            "app_id": world.credentials.app_id,
            "api_key": world.credentials.api_key,
            "api_signature_required": world.options.api_signature_required,
            "webhook_sender_key": world.credentials.webhook_sender_key,
            "webhook_secret": world.credentials.webhook_secret,
            "webhook_url": world.options.webhook_url,
            "token_address": world.token,
            "treasury_address": world.treasury,
            "chain_id": world.chain.chain_id,
            "block_number": world.chain.head.number,
            "now_ms": world.clock.now_ms(),
            "mine_after_ms": world.options.mine_after_ms,
            "transactions": {row["state"]: row["number"] for row in counts},
        }


def blueprint(world: World, holds: Holds, addresses: dict[str, str]) -> Blueprint:
    """The routes; `addresses` are facts known only once the sockets are bound (base_url, rpc_url)."""
    routes = Blueprint("private", __name__, url_prefix=PREFIX)

    def add(method: str, path: str, work: Callable[[], dict[str, Any]]) -> None:
        def view() -> ResponseReturnValue:
            try:
                return jsonify(work())
            except Refusal as refusal:
                return jsonify({"status": refusal.status, "message": str(refusal)}), refusal.http_status

        routes.add_url_rule(path, f"{method}{path.replace('/', '-')}", view, methods=[method])

    add("POST", "/clock", lambda: _clock(world))
    add("POST", "/faults", lambda: _order_fault(world))
    add("GET", "/faults", lambda: _show_faults(world, holds))
    add("DELETE", "/faults", lambda: _clear_faults(world, holds))
    add("POST", "/consent", lambda: _consent(world))
    add("POST", "/webhooks", lambda: _set_webhooks(world))
    add("GET", "/webhooks", lambda: _show_webhooks(world))
    add("GET", "/requests", lambda: _requests(world))
    add("POST", "/reorg", lambda: _reorganise(world))
    add("POST", "/remine", lambda: _remine(world))
    add("POST", "/transfers", lambda: _move(world))
    add("GET", "/info", lambda: _info(world, addresses))
    return routes
