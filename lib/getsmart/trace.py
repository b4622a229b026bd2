"""The trace that a call belongs to, as W3C's Trace Context tells it in headers (https://www.w3.org/TR/trace-context-1/).

Here because the library for it brings a whole SDK to every start; a test reads ours with that library.
"""

import os
import re
from typing import NamedTuple

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_SAMPLED = 1
_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER = re.compile(rf"({_KEY})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]", re.ASCII)
_MOST_MEMBERS, _MOST_STATE = 32, 512


class Trace(NamedTuple):
    """One span of a trace: ours, a child of the caller's; `state` is what other systems keep of the trace."""

    trace_id: str
    span_id: str
    flags: str = "01"
    state: str = ""

    @property
    def parent(self) -> str:
        """The `traceparent` that names this span."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    @property
    def headers(self) -> dict[str, str]:
        """What carries the trace on from this span."""
        return {"traceparent": self.parent, **({"tracestate": self.state} if self.state else {})}


def follow(parent: str, state: str = "") -> Trace:
    """A new span of the trace that the headers tell of; where they tell of none, of a new trace without their state."""
    found = _PARENT.fullmatch(parent.strip(" \t"))
    if found is None or not _is_valid(*found.group(1, 2, 3, 5)):
        return Trace(os.urandom(16).hex(), _span_id())
    flags = f"{int(found[4], 16) & _SAMPLED:02x}"  # the other bits mean nothing yet, and are not passed on
    return Trace(found[2], _span_id(), flags, _clean(state))


def _is_valid(version: str, trace_id: str, span_id: str, more: str | None) -> bool:
    """Whether those are ids; only a version that is yet to come may say more."""
    return version != "ff" and trace_id != _NO_TRACE and span_id != _NO_SPAN and not (version == "00" and more)


def _span_id() -> str:
    return os.urandom(8).hex()


def _clean(state: str) -> str:
    """The members of a `tracestate` as they came, or nothing where one of them is malformed."""
    members = [member for member in (one.strip(" \t") for one in state.split(",")) if member]
    found = [_MEMBER.fullmatch(member) for member in members[: _MOST_MEMBERS + 1]]
    names = {one[1] for one in found if one}
    is_whole = len(names) == len(members) <= _MOST_MEMBERS and len(state) <= _MOST_STATE
    return ",".join(members) if is_whole else ""
