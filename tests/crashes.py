"""Dying at every boundary: before and after each step that writes or leaves the process."""

import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import pytest

from getsmart import chain
from getsmart.machine import airdrop, conclude, correct, exchange, repair
from getsmart.metakeep import client
from getsmart.outbound.post import Line
from getsmart.stores import (
    batches,
    breaks,
    ceilings,
    controls,
    deliveries,
    endpoints,
    events,
    inbound,
    ledger,
    onchain,
    progress,
    reserves,
    transactions,
)
from tests.money import QUIET, Bench, Killed

STEPS: list[tuple[ModuleType | type, str]] = [
    (reserves, "take"),
    (reserves, "give_back"),
    (reserves, "correct"),
    (transactions, "insert"),
    (transactions, "note"),
    (transactions, "move"),
    (transactions, "find_awaiting"),
    (transactions, "insert_many"),
    (batches, "insert"),
    (batches, "insert_rows"),
    (batches, "change"),
    (batches, "remove"),
    (batches, "bind_key"),
    (ceilings, "take"),
    (ceilings, "give_back"),
    (airdrop, "transact"),
    (chain, "head"),
    (chain, "find_transfers"),
    (client, "call"),
    (conclude, "transact"),
    (ledger, "transact"),
    (ledger, "post"),
    (ledger, "_enter"),
    (ledger, "_move_wallet"),
    (inbound, "mark"),
    (events, "number"),
    (events, "clear_outboxes"),
    (deliveries, "insert_many"),
    (deliveries, "note"),
    (deliveries, "bury"),
    (deliveries, "queue_again"),
    (deliveries, "advance_replay"),
    (endpoints, "wake"),
    (endpoints, "take"),
    (endpoints, "note"),
    (endpoints, "note_and_rest"),
    (endpoints, "rest"),
    (endpoints, "let_go"),
    (endpoints, "disable"),
    (endpoints, "mark_buried"),
    (Line, "post"),
    (controls, "take_lease"),
    (controls, "drop_lease"),
    (controls, "observe"),
]

# Of reading the chain: what breaks write, beside what it shares with the rest.
RECONCILING: list[tuple[ModuleType | type, str]] = [
    *STEPS,
    (reserves, "watch"),
    (breaks, "insert"),
    (breaks, "change"),
    (breaks, "sight"),
    (breaks, "lose_sight"),
    (breaks, "look_again"),
    (progress, "advance"),
    (progress, "note"),
    (progress, "remember"),
    (onchain, "annotate"),
    (correct, "transact"),
    (exchange, "transact"),
    (ledger, "correct"),
    (controls, "end_recovery"),
]


class Crashes:
    """Notes each boundary that is crossed, and ends the process at the one it is armed for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: Sequence[tuple[ModuleType | type, str]] = STEPS) -> None:
        """Every one of the steps is watched until the test ends."""
        self._armed: str | None = None
        self._left = 0
        self._is_dead = False
        self._lock = threading.Lock()
        self.crossed: list[str] = []
        for module, name in steps:
            monkeypatch.setattr(module, name, self._watched(f"{module.__name__}.{name}", getattr(module, name)))

    def boundaries(self, work: Callable[[], Any]) -> list[str]:
        """The boundaries that `work` crosses, each once, in order."""
        self.crossed.clear()
        work()
        return list(dict.fromkeys(self.crossed))

    def die(self, boundary: str, work: Callable[[], Any], crossing: int = 1) -> None:
        """Run `work` in a process that ends at that crossing of `boundary`, the first unless another is named."""
        self._armed, self._left = boundary, crossing
        try:
            with pytest.raises(Killed):
                work()
        finally:
            self._armed, self._is_dead = None, False

    def _watched(self, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            self._cross(f"before {name}")
            result = step(*arguments, **options)
            self._cross(f"after {name}")
            return result

        return watched

    def _cross(self, boundary: str) -> None:
        with self._lock:
            self.crossed.append(boundary)
            self._left -= boundary == self._armed
            if self._is_dead or (boundary == self._armed and not self._left):
                self._is_dead = True  # its other threads end with it
                raise Killed(boundary)


def frozen(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, meanwhile: Callable[[], Any] = tuple
) -> list[int]:
    """The next call of this step comes after a repair, and after `meanwhile`; how many reserves were mended then."""
    real, mended = getattr(module, name), []

    def late(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(module, name, real)
        bench.time.advance(QUIET)
        mended.append(repair.repair_leaks())
        meanwhile()
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, late)
    return mended
