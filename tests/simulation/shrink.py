"""A failing run made small: the same promise broken, with as few faults, interruptions and actors as can be."""

import time
from collections.abc import Callable, Sequence
from typing import Any

Dump = dict[str, Any]
Runs = Callable[[Dump], list[str]]  # a plan to the promises it breaks
_MOST_RUNS = 200
_MOST_SECONDS = 300.0  # a run takes less than a second, but one that hangs takes minutes


def kinds(violations: Sequence[str]) -> set[str]:
    """What kind of promise is broken, by the first word of each sentence."""
    return {sentence.split(":")[0] for sentence in violations}


def shrink(plan: Dump, violations: Sequence[str], actors: Sequence[str], runs: Runs) -> Dump:
    """A smaller plan that still breaks one of the same promises; the same plan where it does not repeat.

    The smallest that 200 runs and five minutes find: who looks for longer prints a long plan all the same.
    """
    wanted, left, until = kinds(violations), [_MOST_RUNS], time.monotonic() + _MOST_SECONDS

    def fails(candidate: Dump) -> bool:
        left[0] -= 1
        return left[0] >= 0 and time.monotonic() < until and bool(wanted & kinds(runs(candidate)))

    if not fails(plan):
        return plan
    for part in ("faults", "switches", "picks"):
        kept = _fewest(plan[part], lambda some, part=part, base=plan: fails({**base, part: some}))  # type: ignore[misc]
        plan = {**plan, part: kept}
    for name in actors:
        candidate = {**plan, "dropped": [*plan["dropped"], name]}
        if fails(candidate):
            plan = candidate
    return plan


def _fewest(entries: list[Any], fails: Callable[[list[Any]], bool]) -> list[Any]:
    """Delta debugging: halves first, then ever smaller pieces are left out while it still fails."""
    if not entries or fails([]):
        return []
    size = len(entries) // 2
    while size:
        start = 0
        while start < len(entries):
            without = entries[:start] + entries[start + size :]
            if fails(without):
                entries = without
            else:
                start += size
        size //= 2
    return entries
