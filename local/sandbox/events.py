"""Webhook events: written into the outbox in the same commit as the change they tell of."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from local.sandbox.world import World

MODES = ("normal", "off", "duplicate", "late", "reorder", "forge")
DEFAULT_MODE = {"mode": "normal", "delay_ms": 5000}
REORDER_WINDOW_MS = 500
_REORDER_STEP_MS = 250
_REORDER_LIMIT_MS = 5000


def _insert(world: World, event: dict[str, Any], kind: str, due_ms: int, *, is_silent: bool = False) -> None:
    transaction_id = event["data"].get("transactionId")
    world.store.run(
        "INSERT INTO outbox (event_id, type, transaction_id, payload, kind, next_ms, state)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        *(event["id"], event["type"], transaction_id, json.dumps(event), kind, due_ms),
        "suppressed" if is_silent else "pending",
    )
    world.news.set()


def _let_pass(world: World, now: int) -> None:
    """Put off the events that wait for reordering, so that the next one overtakes them."""
    world.store.run(
        "UPDATE outbox SET next_ms = next_ms + ? WHERE state = 'pending' AND attempts = 0 AND next_ms BETWEEN ? AND ?",
        *(_REORDER_STEP_MS, now, now + _REORDER_LIMIT_MS),
    )


def _forgery(event: dict[str, Any]) -> dict[str, Any]:
    """What an attacker would send: another id, and the opposite outcome."""
    fake: dict[str, Any] = json.loads(json.dumps(event))
    fake["id"] = str(uuid.uuid4())
    fake["type"] = "transaction.failed" if event["type"] == "transaction.completed" else "transaction.completed"
    fake["data"]["status"] = "FAILED" if event["type"] == "transaction.completed" else "COMPLETED"
    return fake


def publish(world: World, event_type: str, data: dict[str, Any]) -> None:
    """Queue one event for delivery as the current webhook mode says; nothing when no receiver is configured."""
    if world.options.webhook_url is None:
        return
    now = world.clock.real()
    created_at = datetime.fromtimestamp(world.clock.now_ms() / 1000, UTC).isoformat(timespec="milliseconds")
    event = {
        "id": str(uuid.uuid4()),
        "type": event_type,
        "createdAt": created_at.replace("+00:00", "Z"),
        "data": {**data, "appId": world.credentials.app_id},
    }
    setting = world.store.setting("webhooks", DEFAULT_MODE)
    mode = setting["mode"]
    if mode == "reorder":
        _let_pass(world, now)
    if mode == "forge":
        _insert(world, _forgery(event), "forged", now)
    delay = {"late": setting["delay_ms"], "reorder": REORDER_WINDOW_MS}.get(mode, 0)
    _insert(world, event, "genuine", now + delay, is_silent=mode == "off")
    if mode == "duplicate":
        _insert(world, event, "duplicate", now)
