"""A hundred callers with one key at once, and the first of them dies: real threads, the real database and sandbox."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.crashes import STEPS
from tests.money import BEYOND_LEASES, MINT_PATH, Bench, Killed, in_parallel
from tests.support import Answer, unique

pytestmark = pytest.mark.timeout(900)

_CALLERS = 100
_PATIENCE_SECONDS = 150  # of a hundred threads on a slow machine
_CLAIM = "getsmart.stores.transactions.insert"


class FirstHolder:
    """Knows the thread that claimed the key first, and ends it where it is told to; the other threads go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every step that writes or leaves the process is watched until the test ends."""
        self.begin(None)
        for module, name in STEPS:
            monkeypatch.setattr(module, name, self._watched(f"{module.__name__}.{name}", getattr(module, name)))

    def begin(self, dies_at: str | None) -> None:
        """Another key: who claims it dies at that boundary, or never."""
        self._dies_at, self._holder = dies_at, 0
        self.crossed: list[str] = []
        self.dead = threading.Event()

    def _watched(self, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            self._cross(f"before {name}")
            result = step(*arguments, **options)
            if name == _CLAIM:  # of many that try, the database lets one come back from here
                self._holder = self._holder or threading.get_ident()
            self._cross(f"after {name}")
            return result

        return watched

    def _cross(self, boundary: str) -> None:
        if threading.get_ident() != self._holder or self.dead.is_set():
            return
        self.crossed.append(boundary)
        if boundary == self._dies_at:
            self.dead.set()
            raise Killed(boundary)


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> FirstHolder:
    """Whoever claims a key first, under the test's hand."""
    return FirstHolder(monkeypatch)


def pursue(bench: Bench, key: str, told: threading.Semaphore) -> Answer:
    """Call until there is an answer; who dies is a new process of the same caller. `told` counts who had a reply.

    A hundred threads wait for sixteen connections: whose time is over is told to come again.
    """
    is_new, deadline = True, time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            answer = bench.mint(key=key)
        except Killed:
            continue
        if answer.status == 503:
            assert answer.code == "database_unavailable", answer.text
            time.sleep(0.2)
            continue
        if is_new:
            told.release()
        is_new = False
        if answer.status == 202:
            return answer
        assert answer.code == "idempotency_in_progress", answer.text
        time.sleep(0.2)
    raise AssertionError("never answered")


def boundaries(bench: Bench, first: FirstHolder) -> list[str]:
    """What a holder of a key crosses from its claim to its reply, as it is seen to, each once and in order."""
    bench.mint()
    crossed = list(dict.fromkeys(first.crossed))
    bench.settle()
    return crossed


def a_hundred_get_one(bench: Bench, first: FirstHolder, boundary: str) -> None:
    """All at once, and the holder dies there: one effect, and everybody has the same answer in the end."""
    key, start, told = unique("hundred"), threading.Barrier(_CALLERS), threading.Semaphore(0)
    on_chain, asked = bench.logs(), len(bench.calls(MINT_PATH))
    first.begin(boundary)

    def caller() -> Answer:
        start.wait()
        return pursue(bench, key, told)

    def end_the_lease() -> None:
        for _ in range(_CALLERS):  # a call whose clock leaps while it sets an amount aside would be refused
            told.acquire(timeout=_PATIENCE_SECONDS)
        first.dead.wait(_PATIENCE_SECONDS)
        bench.time.advance(BEYOND_LEASES)

    clockwork = threading.Thread(target=end_the_lease)
    clockwork.start()
    answers = in_parallel([caller] * _CALLERS)
    clockwork.join()
    assert first.dead.is_set(), boundary
    assert len({answer.text for answer in answers}) == 1, boundary
    assert [answer.headers["Idempotent-Replayed"] for answer in answers].count("false") <= 1, boundary
    assert len(bench.calls(MINT_PATH)) - asked <= 2, boundary  # the dead holder's, and who finished its work
    bench.settle()
    assert (bench.logs() - on_chain, bench.status(answers[0])) == (1, "confirmed"), boundary
    bench.audit()


def test_a_hundred_threads_one_key_and_the_first_holder_killed(bench: Bench, first: FirstHolder) -> None:
    """At each boundary that a holder is seen to cross, from its claim to its answer: one effect, equal replies."""
    crossed = boundaries(bench, first)
    assert {f"after {_CLAIM}", "after getsmart.metakeep.client.call"} < set(crossed)
    for boundary in crossed:
        a_hundred_get_one(bench, first, boundary)
