"""A hundred callers with one key at once, and the first of them dies: real threads, the real database and sandbox."""

import threading
import time
from typing import Any

import pytest

from getsmart.metakeep import client
from tests.money import MINT_PATH, Bench, Killed, in_parallel
from tests.support import Answer, unique

_CALLERS = 100
_LEASE_SECONDS = 16


class FirstHolder:
    """Stands before MetaKeep's client: whoever mints first dies when the answer is there."""

    def __init__(self) -> None:
        self._real, self._lock = client.call, threading.Lock()
        self.dead: list[str] = []

    def __call__(self, request: Any, **options: Any) -> Any:
        """The real call, and then perhaps the end."""
        answer = self._real(request, **options)
        with self._lock:
            is_first = request.path == MINT_PATH and not self.dead
            if is_first:
                self.dead.append(threading.current_thread().name)
        if is_first:
            raise Killed("the first holder")
        return answer


def pursue(bench: Bench, key: str) -> Answer:
    """Call until there is an answer; who dies is a new process of the same caller."""
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline:
        try:
            answer = bench.mint(key=key)
        except Killed:
            continue
        if answer.status == 202:
            return answer
        assert answer.code == "idempotency_in_progress", answer.text
        time.sleep(0.2)
    raise AssertionError("never answered")


def test_a_hundred_threads_one_key_and_the_first_holder_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the claim dies with the request sent: one effect, and a hundred equal replies in the end."""
    first, key, start = FirstHolder(), unique("hundred"), threading.Barrier(_CALLERS)
    monkeypatch.setattr(client, "call", first)

    def caller() -> Answer:
        start.wait()
        return pursue(bench, key)

    lease = threading.Timer(3.0, lambda: bench.time.advance(_LEASE_SECONDS))
    lease.start()
    answers = in_parallel([caller] * _CALLERS)
    lease.join()
    assert len(first.dead) == 1
    assert len({answer.text for answer in answers}) == 1
    assert [answer.headers["Idempotent-Replayed"] for answer in answers].count("false") == 1
    assert len(bench.calls(MINT_PATH)) == 2
    bench.settle()
    assert (bench.logs(), bench.status(answers[0])) == (1, "confirmed")
    bench.audit()
