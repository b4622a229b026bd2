"""Faults on demand: which are ordered, which request meets which, and the replies that are held back."""

import json
import threading
from dataclasses import dataclass, field
from typing import Any

from local.sandbox.clock import real_ms
from local.sandbox.world import World

REFUSALS = ("500", "429")  # nothing happens
FATES = ("failed", "cancelled", "stuck", "reorg")  # what becomes of the transaction
DELIVERIES = ("slow", "reply_lost", "hold")  # the effect is committed, the reply suffers
READS = ("balance_lag",)
KINDS = REFUSALS + FATES + DELIVERIES + READS
ANY_PATH = "*"
HOLD_LIMIT_SECONDS = 60.0

Fault = dict[str, Any]  # {"kind": ..., **options}


def order(world: World, path: str, kind: str, times: int, options: dict[str, Any]) -> None:
    """The next `times` requests to `path` (or `*`) that can meet this kind of fault will."""
    world.store.run(
        "INSERT INTO faults (path, kind, remaining, options) VALUES (?, ?, ?, ?)",
        *(path, kind, times, json.dumps(options)),
    )


def take(world: World, path: str, kinds: tuple[str, ...]) -> Fault:
    """Use up the oldest matching fault; empty when none is ordered."""
    candidates = world.store.rows("SELECT * FROM faults WHERE path IN (?, ?) ORDER BY seq", path, ANY_PATH)
    row = next((item for item in candidates if item["kind"] in kinds), None)
    if row is None:
        return {}
    world.store.run("UPDATE faults SET remaining = remaining - 1 WHERE seq = ?", row["seq"])
    world.store.run("DELETE FROM faults WHERE remaining <= 0")
    return {"kind": row["kind"], **json.loads(row["options"])}


def pending(world: World) -> list[dict[str, Any]]:
    """The faults still ordered, oldest first."""
    rows = world.store.rows("SELECT * FROM faults ORDER BY seq")
    return [
        {"path": row["path"], "kind": row["kind"], "times": row["remaining"], **json.loads(row["options"])}
        for row in rows
    ]


def clear(world: World, kind: str | None) -> None:
    """Forget the ordered faults, of one kind or all."""
    if kind is None:
        world.store.run("DELETE FROM faults")
    else:
        world.store.run("DELETE FROM faults WHERE kind = ?", kind)


@dataclass
class Holds:
    """The replies held back right now; each waits in its own request thread."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _held: dict[int, tuple[dict[str, Any], threading.Event]] = field(default_factory=dict)
    _count: int = 0

    def wait(self, path: str, idempotency_key: str | None, seconds: float, kind: str) -> None:
        """Block until released, at most `seconds`."""
        released = threading.Event()
        with self._lock:
            self._count += 1
            number = self._count
            view = {"path": path, "idempotencyKey": idempotency_key, "kind": kind, "since_ms": real_ms()}
            self._held[number] = (view, released)
        try:
            released.wait(seconds)
        finally:
            with self._lock:
                del self._held[number]

    def views(self) -> list[dict[str, Any]]:
        """What is held right now."""
        with self._lock:
            return [view for view, _ in self._held.values()]

    def release(self) -> None:
        """Let every held reply go."""
        with self._lock:
            for _, released in self._held.values():
                released.set()
