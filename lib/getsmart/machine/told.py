"""What was committed just now is told at once, where anybody listens; who has no endpoints pays for none of it."""

import os
from functools import cache

from getsmart import clock, log
from getsmart.stores import endpoints

_KNOWN_SECONDS = 10.0
_MOST_KNOWN = 1_000


@cache
def _known(_process_id: int) -> dict[str, tuple[float, bool]]:
    """Which clients have endpoints, and until when to believe it."""
    return {}


def forget() -> None:
    """Look again who has endpoints."""
    _known.cache_clear()


def first_attempts(client_id: str) -> None:
    """Number what was committed and make the first attempts, all within half a second; whatever fails is the tick's.

    Never raises: what was committed is answered, told or not.
    """
    try:
        if _has_endpoints(client_id):
            from getsmart.machine import deliver  # only now: it brings threads and an HTTP client

            deliver.attempt_now(client_id)
    except Exception as error:  # noqa: BLE001 - the call this belongs to has had its effect
        log.failure("webhook.first_attempts_failed", error)


def _has_endpoints(client_id: str) -> bool:
    known = _known(os.getpid())
    if client_id not in known or known[client_id][0] < clock.monotonic():
        if len(known) >= _MOST_KNOWN:
            known.clear()
        known[client_id] = (clock.monotonic() + _KNOWN_SECONDS, bool(endpoints.find_subscribed(client_id)))
    return known[client_id][1]
