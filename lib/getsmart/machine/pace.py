"""How fast MetaKeep is asked: 100 requests a second are allowed, and callers' own requests need some of them."""

import threading
import time

from getsmart import clock

PER_SECOND = 80.0


class Pace:
    """Turns at even distances, for any number of threads."""

    def __init__(self, per_second: float = PER_SECOND) -> None:
        """The first turn is at once."""
        self._distance = 1 / per_second
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for the next turn."""
        with self._lock:
            now = clock.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._distance
        time.sleep(turn - now)
