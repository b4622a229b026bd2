"""What is under way in this thread: which call, of which function, in which trace, and what it has cost so far.

Every log line says whose it is by it. Costs are lists, as appending is safe from several threads, and a call that works
in more than one shares itself with them (`enter`).
"""

import os
from _thread import _local  # what threading.local is; threading itself is not worth its import here
from typing import Any, Final

from getsmart.trace import Trace

MOST_FAILURES: Final = 20  # of one call, or one pass of the tick
_here = _local()


class Call:
    """One call of a function: `database` and `provider` are the seconds of each round trip, `failures` log lines."""

    def __init__(self, request_id: str, function: str, trace: Trace) -> None:
        """`function` is `<package>/<name>`."""
        self.trace = trace
        self.database: list[float] = []
        self.provider: list[float] = []
        self.failures: list[dict[str, Any]] = []
        self.says = {
            "request_id": request_id,
            "trace_id": trace.trace_id,
            "function": function,
            "version": os.environ.get("APP_VERSION") or "development",
            "colour": os.environ.get("COLOUR") or "blue",
        }

    def fail(self, line: dict[str, Any]) -> None:
        """Keep a log line that tells of a failure, unless there are many already."""
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(line)

    def take_failures(self) -> list[dict[str, Any]]:
        """The failures so far; from here on none."""
        taken, self.failures = self.failures, []
        return taken

    def costs(self) -> dict[str, Any]:
        """Time and number of the round trips to the database and to MetaKeep."""
        return {
            "database_ms": _ms(self.database),
            "database_round_trips": len(self.database),
            "provider_ms": _ms(self.provider),
            "provider_calls": len(self.provider),
        }


def _ms(seconds: list[float]) -> float:
    return round(sum(seconds) * 1000, 1)


def enter(call: Call | None) -> None:
    """From here on this thread works for that call, or for none."""
    _here.call = call


def shared() -> dict[str, Any]:
    """What makes the threads of a ThreadPoolExecutor work for the call that this one works for."""
    return {"initializer": enter, "initargs": (current(),)}


def current() -> Call | None:
    """The call that this thread works for."""
    return getattr(_here, "call", None)


def traceparent() -> str:
    """The current call as what it causes remembers it; empty where there is none."""
    call = current()
    return call.trace.parent if call else ""
