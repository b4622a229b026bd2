"""The rate limit of a key: exact, by the database's clock, one round trip; none for a key without limits."""

from functools import cache

from getsmart import clock
from getsmart.errors import RateLimited
from getsmart.models import DEFAULT_PER_HOUR, DEFAULT_PER_SECOND, KeyRow
from getsmart.stores import keys

_TOUCH_SECONDS = 60.0


@cache
def _touched() -> dict[str, float]:
    return {}


def count(row: KeyRow, reply_headers: dict[str, str]) -> None:
    """Count one call; RateLimit headers go into `reply_headers`. Raises RateLimited with the seconds to wait."""
    per_second = row["limits"].get("per_second", DEFAULT_PER_SECOND)
    per_hour = row["limits"].get("per_hour", DEFAULT_PER_HOUR)
    if per_second is None and per_hour is None:
        _note_use(row["_id"])
        return
    usage = keys.take(row["_id"], per_second, per_hour)
    reply_headers["RateLimit-Limit"] = str(usage.limit)
    reply_headers["RateLimit-Remaining"] = str(usage.remaining)
    reply_headers["RateLimit-Reset"] = str(usage.reset_seconds)
    if not usage.is_allowed:
        raise RateLimited(f"{row['_id']} is over its limit", retry_after_seconds=usage.reset_seconds)


def _note_use(key_id: str) -> None:
    """A key without limits costs no round trip; its last use is noted about once a minute."""
    now = clock.monotonic()
    if _touched().get(key_id, 0.0) + _TOUCH_SECONDS <= now or key_id not in _touched():
        _touched()[key_id] = now
        keys.touch(key_id)


def forget() -> None:
    """Note the next use of every key again."""
    _touched.cache_clear()
