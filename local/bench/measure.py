"""Samples taken in turn, so that a machine that drifts drifts for all, and what is told of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Samples = dict[str, list[float]]
Limits = tuple[float | None, float | None]
Timer = Callable[[], float]
"""Does one thing and says how many seconds of it count."""


@dataclass(frozen=True)
class Row:
    """One line of the report: what, by how much of what else (the ratio's spread are its quartiles), and the limits.

    `ratio` is None for what is only told; `must` and `aim` are upper limits, lower ones where `more_is_better`.
    """

    what: str
    measured: str
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    unit: str = ""
    must: float | None = None
    aim: float | None = None
    more_is_better: bool = False
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the must is met; None where there is none."""
        if self.ratio is None or self.must is None:
            return None
        return self.ratio >= self.must if self.more_is_better else self.ratio <= self.must


@dataclass(frozen=True)
class Series:
    """Points of one line in a plot: x to y."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass
class Section:
    """One part of the run: its rows, the samples behind them (seconds, by name), and lines to plot."""

    title: str
    rows: list[Row] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)
    axes: tuple[str, str] = ("", "")


def timed(action: Callable[[], object]) -> Timer:
    """A timer for the whole of an action."""

    def time_it() -> float:
        started = time.perf_counter()
        action()
        return time.perf_counter() - started

    return time_it


def best_of(times: int, timer: Timer) -> Timer:
    """The shortest of so many: what disturbs a machine only ever adds."""
    return lambda: min(timer() for _ in range(times))


def interleaved(timers: Mapping[str, Timer], rounds: int, progress: Callable[[], object] = lambda: None) -> Samples:
    """`rounds` samples of each, one after the other in every round; one round before that counts for nothing."""
    samples: Samples = {name: [] for name in timers}
    for number in range(rounds + 1):
        for name, timer in timers.items():
            seconds = timer()
            if number:
                samples[name].append(seconds)
        progress()
    return samples


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The median of the ratios round by round, and their quartiles."""
    each = sorted(one / other for one, other in zip(above, below, strict=True))
    if len(each) < 2:
        return each[0], (each[0], each[0])
    low, middle, high = statistics.quantiles(each, n=4)
    return middle, (low, high)


def milliseconds(samples: Sequence[float]) -> str:
    """The median, for people."""
    middle = statistics.median(samples) * 1_000
    return f"{middle:.3g} ms" if middle < 100 else f"{middle:.0f} ms"


def compared(
    what: str, above: Sequence[float], below: Sequence[float], unit: str, limits: Limits = (None, None)
) -> Row:
    """A row of how one series of samples does against another; limits are must and aim."""
    ratio, spread = ratios(above, below)
    return Row(what, milliseconds(above), ratio, spread, unit, *limits)
