"""The one place that asks for the time, so that tests and simulations can set it."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _system_now() -> datetime:
    return datetime.now(UTC)


_source: "list[Callable[[], datetime]]" = [_system_now]


def now() -> datetime:
    """The current moment, aware, in UTC, cut to the milliseconds that the database keeps."""
    moment = _source[0]()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def monotonic() -> float:
    """Seconds that never go backwards; for deadlines within one process."""
    return time.monotonic()


def set_clock(source: "Callable[[], datetime] | None") -> None:
    """Replace the clock, or with None go back to the system's."""
    _source[0] = source or _system_now


def to_wire(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and Z."""
    # Not strftime: it leaves the zeros out of a year before 1000, and a caller may ask for such a moment.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
