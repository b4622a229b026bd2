"""traceparent and tracestate: taken when they are what W3C's Trace Context says, and carried on."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace as theirs
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from getsmart import trace

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{ID}-{SPAN}-01"


@pytest.mark.parametrize(
    ("parent", "flags"),
    [
        (GOOD, "01"),
        (f" {GOOD}\t", "01"),
        (f"00-{ID}-{SPAN}-00", "00"),
        (f"00-{ID}-{SPAN}-ff", "01"),
        (f"00-{ID}-{SPAN}-fe", "00"),
        (f"cc-{ID}-{SPAN}-01", "01"),
        (f"cc-{ID}-{SPAN}-01-what-is-yet-to-come", "01"),
    ],
)
def test_a_valid_parent_is_followed(parent: str, flags: str) -> None:
    """The same trace, a span of our own in it, and of the flags the one that means something."""
    found = trace.follow(parent)
    assert (found.trace_id, found.flags) == (ID, flags)
    assert found.span_id != SPAN
    assert found.parent == f"00-{ID}-{found.span_id}-{flags}"


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        f"ff-{ID}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID.upper()}-{SPAN}-01",
        f"00-{ID}-{SPAN}-01-more",
        f"cc-{ID}-{SPAN}-01.more",
        f"00-{ID}-{SPAN}",
        f"00-{ID[1:]}-{SPAN}-01",
        f"00-{ID}-{SPAN}-1",
        f"{GOOD},{GOOD}",
        f"00-{ID}-{SPAN}-01\n",
        f"00-{ID[:-1]}\u0661-{SPAN}-01",
    ],
)
def test_anything_else_begins_a_new_trace(parent: str) -> None:
    """Without the state that came with it, as that belongs to a trace which nobody can name."""
    found = trace.follow(parent, "vendor=1")
    assert re.fullmatch(r"[0-9a-f]{32}", found.trace_id)
    assert found.trace_id not in (ID, "0" * 32)
    assert found.headers == {"traceparent": found.parent}


@pytest.mark.parametrize(
    "state", ["vendor=1", "a=1,b@c=x y", "0t@v=!~", "a=1,,b=2", "k*/-_=v", ",".join(f"k{n}=v" for n in range(32))]
)
def test_a_valid_state_is_passed_on(state: str) -> None:
    """Member by member, in its order."""
    expected = ",".join(member for member in state.split(",") if member)
    assert trace.follow(GOOD, state).headers["tracestate"] == expected


@pytest.mark.parametrize(
    "state",
    [
        "",
        "a",
        "a=",
        "=1",
        "A=1",
        "a=1,a=2",
        "a=\u00e4",
        "a=b=c",
        "a=" + "x" * 600,
        ",".join(f"k{n}=v" for n in range(33)),
        "a=\x01",
    ],
)
def test_an_invalid_state_is_dropped_whole(state: str) -> None:
    """The trace goes on without it."""
    found = trace.follow(GOOD, state)
    assert (found.trace_id, found.state) == (ID, "")
    assert "tracestate" not in found.headers


def test_without_a_parent_each_call_has_a_trace_of_its_own() -> None:
    """Ids do not repeat."""
    assert len({part for _ in range(100) for part in trace.follow("")[:2]}) == 200


def read_by_another(headers: dict[str, str]) -> theirs.SpanContext:
    """The span that OpenTelemetry's reader finds in the headers."""
    return theirs.get_current_span(TraceContextTextMapPropagator().extract(headers)).get_span_context()


@settings(derandomize=True, deadline=None, database=None)
@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.integers(0, 255))
def test_another_reader_finds_the_same(trace_id: bytes, span_id: bytes, flags: int) -> None:
    """What OpenTelemetry makes of the caller's headers we follow, and it reads ours."""
    sent = {"traceparent": f"00-{trace_id.hex()}-{span_id.hex()}-{flags:02x}", "tracestate": "vendor=1"}
    known, found = read_by_another(sent), trace.follow(sent["traceparent"], sent["tracestate"])
    assert known.is_valid == (found.trace_id == trace_id.hex())
    passed_on = read_by_another(found.headers)
    assert f"{passed_on.trace_id:032x}" == found.trace_id
    assert f"{passed_on.span_id:016x}" == found.span_id
    assert passed_on.trace_state.to_header() == found.state
