"""Trying again what MetaKeep did not do for a passing reason. The only module that imports tenacity."""

from collections.abc import Callable
from typing import Any

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_any,
    wait_random_exponential,
)
from tenacity.stop import stop_base

from getsmart import clock
from getsmart.metakeep.protocol import ProviderOutage

ATTEMPTS = 3
_FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 2.0
_SHORTEST_TRY_SECONDS = 1.0


def again(attempt: Callable[[], dict[str, Any]], first: ProviderOutage, deadline: float) -> dict[str, Any]:
    """What `attempt` returns in the end; `first` is how its first try went. Raises what the last one raised.

    No try begins that could not take a second before `deadline` (of the monotonic clock).
    """
    made = [first]

    def next_attempt() -> dict[str, Any]:
        if made:
            raise made.pop()
        return attempt()

    retrying = Retrying(
        retry=retry_if_exception_type(ProviderOutage),
        stop=stop_any(stop_after_attempt(ATTEMPTS), _StopBefore(deadline)),
        wait=_wait,
        reraise=True,
    )
    return retrying(next_attempt)


class _StopBefore(stop_base):
    """Stop when waiting and trying once more would pass the deadline."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def __call__(self, retry_state: RetryCallState) -> bool:
        return clock.monotonic() + retry_state.upcoming_sleep + _SHORTEST_TRY_SECONDS > self._deadline


def _wait(state: RetryCallState) -> float:
    outage = state.outcome.exception() if state.outcome else None
    asked = outage.wait_seconds if isinstance(outage, ProviderOutage) else 0.0
    backoff = wait_random_exponential(multiplier=_FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS)(state)
    return max(asked, backoff)
