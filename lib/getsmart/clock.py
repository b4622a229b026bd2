"""The one place that asks for the time, so that tests and simulations can set it."""

import time
from _thread import _local  # what threading.local is; threading itself is not worth its import here
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


# How long a call may begin what takes time. After 30 s the platform answers in a function's place; what begins last, a
# command of the database, may take 8 s more and 2 s to find a server.
CALL_SECONDS = 18.0
_ENDLESS = float("inf")


def _system_now() -> datetime:
    return datetime.now(UTC)


_source: "list[Callable[[], datetime]]" = [_system_now]
_call = _local()


def now() -> datetime:
    """The current moment, aware, in UTC, cut to the milliseconds that the database keeps."""
    moment = _source[0]()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def monotonic() -> float:
    """Seconds that never go backwards; for deadlines within one process."""
    return time.monotonic()


class Begun(NamedTuple):
    """When somebody began, by both clocks: one may be set, the other may stand while one sleeps."""

    at: datetime
    ticks: float

    def seconds(self) -> float:
        """How long ago that was, by the clock that says longer."""
        return max((now() - self.at).total_seconds(), monotonic() - self.ticks)


def begin() -> Begun:
    """This moment, by both clocks."""
    return Begun(now(), monotonic())


def begin_call() -> None:
    """From here on this thread's time runs out, until `end_call`."""
    _call.ends_at = monotonic() + CALL_SECONDS


def end_call() -> None:
    """This thread has all the time again."""
    _call.ends_at = _ENDLESS


def left() -> float:
    """Seconds in which this thread's call may begin what takes time; endless outside of a call, as in the tick."""
    ends_at: float = getattr(_call, "ends_at", _ENDLESS)
    return ends_at - monotonic()


def set_clock(source: "Callable[[], datetime] | None") -> None:
    """Replace the clock, or with None go back to the system's."""
    _source[0] = source or _system_now


def to_wire(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and Z."""
    # Not strftime: it leaves the zeros out of a year before 1000, and a caller may ask for such a moment.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
