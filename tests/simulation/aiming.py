"""Boundaries that chance passed over: each gets a fault of its own, in a run that is known to cross it."""

import random
from collections import Counter

from tests.simulation.crew import Job, Result
from tests.simulation.plan import Boundary, Fault, faults_of

# Where these meet nothing that they could change, nothing would have happened.
_NOT_EVERYWHERE = (Fault("error", "WriteConflict"), Fault("fate", "failed"), Fault("fate", "cancelled"))
_MOST_TRIES = 4  # a run of the same plan gets there, so one does


class Targets:
    """What was crossed and met no fault yet, each with a run that repeats exactly up to there."""

    def __init__(self) -> None:
        self._met: set[str] = set()
        self._open: dict[str, Job] = {}
        self._tries: Counter[str] = Counter()

    def note(self, result: Result) -> None:
        """What a run crossed, and what met it there."""
        for site, (_, met) in result["sites"].items():
            if met:
                self._met.add(site)
                self._open.pop(site, None)
            elif site not in self._met and site not in self._open and (place := _place(site, result)):
                self._open[site] = _aimed(site, place, result)

    def take(self) -> list[Job]:
        """The runs that aim at each of them. What they come across that is new is there the next time."""
        sites = [site for site in self._open if self._tries[site] < _MOST_TRIES]
        self._tries.update(sites)
        return [self._open.pop(site) for site in sites]


def _place(site: str, result: Result) -> str | None:
    """Which crossing of which process it was: `mint-1#1@7`."""
    for process, crossed in result["paths"].items():
        if site in crossed:
            return f"{process}@{crossed.index(site) + 1}"
    return None


def _aimed(site: str, place: str, result: Result) -> Job:
    """The same run once more, with a fault there."""
    found = [fault for fault in faults_of(Boundary.named(site)) if fault not in _NOT_EVERYWHERE]
    fault = random.Random(f"{site}:{result['seed']}").choice(found)
    plan = {**result["plan"], "aimed": {**result["plan"].get("aimed", {}), place: list(fault)}}
    return {"seed": result["seed"], "scenario": result["scenario"], "plan": plan}
