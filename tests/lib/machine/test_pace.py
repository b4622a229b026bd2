"""MetaKeep is asked at even steps, however many threads ask."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from getsmart import clock
from getsmart.machine import pace


def test_turns_are_even_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 turns of 8 threads at 200 a second take half a second, and no less."""
    started = clock.monotonic()
    turns = pace.Pace(200.0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: turns.wait(), range(101)))
    assert clock.monotonic() - started >= 0.5


def test_who_was_idle_does_not_catch_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause the next turn is at once, and the one after it a step later: no burst."""
    slept: list[float] = []
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    monkeypatch.setattr(pace, "time", SimpleNamespace(sleep=slept.append))
    turns = pace.Pace(10.0)
    turns.wait()
    now[0] = 200.0
    turns.wait()
    turns.wait()
    assert slept == [0.0, 0.0, pytest.approx(0.1)]
