"""The sandbox's time: the real clock plus an offset that tests may push forward."""

import time
from collections.abc import Callable
from dataclasses import dataclass


def real_ms() -> int:
    """Unix milliseconds of this machine."""
    return time.time_ns() // 1_000_000


@dataclass
class Clock:
    """`now_ms()` drives mining, expiry and block times; `real()` drives signatures and webhook retries."""

    real: Callable[[], int] = real_ms
    offset_ms: int = 0

    def now_ms(self) -> int:
        """Sandbox time in Unix milliseconds."""
        return self.real() + self.offset_ms
