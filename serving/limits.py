"""The platform's limits on a whole namespace: calls that start in one minute, and calls under way."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serving.answer import PlatformError

_TOO_MANY = "Too many requests in the last minute (count: {}, allowed: {})."
_TOO_CONCURRENT = "Too many concurrent requests in flight (count: {}, allowed: {})."


class Limits:
    """Counts calls; minutes are those of the clock, not sliding."""

    def __init__(self, per_minute: int = 600, concurrent: int = 120, clock: Callable[[], float] = time.time) -> None:
        self._per_minute = per_minute
        self.concurrent = concurrent
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = 0
        self._started = 0
        self._under_way = 0

    @contextmanager
    def one_call(self) -> Iterator[None]:
        """Hold a place for one call. Raises PlatformError (429) when there is none."""
        with self._lock:
            self._count_in()
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def _count_in(self) -> None:
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._started = minute, 0
        self._started += 1
        if self._started > self._per_minute:
            raise PlatformError(429, _TOO_MANY.format(self._started, self._per_minute))
        if self._under_way >= self.concurrent:
            raise PlatformError(429, _TOO_CONCURRENT.format(self._under_way, self.concurrent))
        self._under_way += 1
