"""What happens in a run besides the product's own doing: which actor goes on, and which fault meets which crossing.

A plan is drawn from its seed as the run goes, and remembered; or it is given, and nothing is drawn. So a run repeats
exactly, and a shrunk one is the same plan with fewer entries.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast

Phase = Literal["before", "after"]


class Boundary(NamedTuple):
    """A place where the process touches the world: what it does there, by which function of ours, and on which side."""

    kind: str  # database, provider, chain, webhook, reply
    what: str
    caller: str
    phase: Phase

    @property
    def text(self) -> str:
        """One name for it."""
        return f"{self.phase} {self.kind} {self.what} by {self.caller}"

    @classmethod
    def named(cls, text: str) -> "Boundary":
        """The boundary of that name."""
        phase, kind, rest = text.split(" ", 2)
        what, _, caller = rest.rpartition(" by ")
        return cls(kind, what, caller, cast(Phase, phase))

    @property
    def writes(self) -> bool:
        """Whether something changes there."""
        if self.kind == "database":
            return self.what.split()[0] not in ("find", "aggregate", "getMore", "count")
        return self.kind in ("provider", "webhook", "reply")


class Fault(NamedTuple):
    """What goes wrong; `value` is seconds, or which error."""

    kind: str
    value: Any = None

    def __str__(self) -> str:
        """For a person."""
        return self.kind if self.value is None else f"{self.kind} {self.value}"


_DIES: list[tuple[str, Any]] = [("kill", None)] * 5
_WAITS: list[tuple[str, Any]] = [
    ("delay", 0.4),
    ("delay", 3.0),
    ("freeze", 20.0),
    ("freeze", 75.0),
    ("freeze", 200.0),
    ("freeze", 1500.0),
]
_OUTAGES: list[tuple[str, Any]] = [("outage", 2.0), ("outage", 25.0)]  # for everybody, from here on
_LOSES: list[tuple[str, Any]] = [("lose", "reset"), ("lose", "reset"), ("lose", "timeout")]
_OF: dict[tuple[str, Phase], list[tuple[str, Any]]] = {
    ("database", "before"): [
        *_DIES,
        *(("error", code) for code in ("NotWritablePrimary", "WriteConflict", "InterruptedAtShutdown")),
        *[("refuse", None), *_OUTAGES, *_WAITS],
    ],
    ("database", "after"): [*_DIES, *_LOSES, *_WAITS],
    ("provider", "before"): [
        *_DIES,
        *(("status", code) for code in (500, 503, 429, 400, 401)),
        *(("fate", fate) for fate in ("failed", "cancelled")),
        *[("refuse", None), *_OUTAGES, *_WAITS],
    ],
    ("provider", "after"): [
        *_DIES,
        *_LOSES,
        *[("duplicate", None), ("duplicate", None), ("status", 500), ("status", 502), ("garbage", None)],
        *[*_OUTAGES, *_OUTAGES, *_WAITS],
    ],
    ("chain", "before"): [("kill", None), ("refuse", None), *_OUTAGES, *_WAITS],
    ("chain", "after"): [("kill", None), *_LOSES, ("garbage", None), *_WAITS],
    ("webhook", "before"): [*_DIES[:2], ("refuse", None), ("status", 500), ("status", 429), *_WAITS],
    ("webhook", "after"): [*_DIES[:2], *_LOSES, ("duplicate", None), ("status", 500), *_WAITS],
    ("reply", "before"): [("kill", None), ("duplicate", None), ("duplicate", None), *_WAITS],
    ("reply", "after"): [("lose", None), ("lose", None), ("duplicate", None)],
}


def faults_of(boundary: Boundary) -> list[Fault]:
    """Every fault that can meet this boundary, each once."""
    return [Fault(*one) for one in dict.fromkeys(_OF[boundary.kind, boundary.phase])]


@dataclass
class Plan:
    """Where faults and switches happen; `drawn_from` is None when all of it was given."""

    drawn_from: int | None = None
    faults: dict[int, Fault] = field(default_factory=dict)
    switches: dict[int, str] = field(default_factory=dict)
    picks: list[int] = field(default_factory=list)
    aimed: dict[str, Fault] = field(default_factory=dict)  # by process and the number of its crossing: `mint#1@7`
    dropped: frozenset[str] = frozenset()
    where: str | None = None  # the one kind of boundary at which faults are drawn, and then there are more of them
    met: list[Fault] = field(default_factory=list)  # what happened of all that, in its order
    log: list[str] | None = None

    def __post_init__(self) -> None:
        """The streams of chance: one for faults and one for the order, so that neither disturbs the other."""
        self._chance = random.Random(f"{self.drawn_from}:faults")
        self._order = random.Random(f"{self.drawn_from}:order")
        self._taken = 0
        many = self._chance.choice((0, 1, 1, 2, 2, 3, 4, 6))
        self._left = many if self.where is None else max(many, 3)
        self._rate = many / 250 if self.where is None else 0.25
        self._restless = self._order.choice((0.02, 0.1, 0.3))

    @classmethod
    def quiet(cls) -> "Plan":
        """Nothing goes wrong, and nobody is interrupted."""
        return cls()

    @property
    def is_given(self) -> bool:
        """Whether nothing is drawn."""
        return self.drawn_from is None

    def fault_at(self, number: int, boundary: Boundary, place: str) -> Fault | None:
        """The fault of a crossing; `place` is its process and which of its crossings it is."""
        fault = self._fault_at(number, boundary, place)
        if fault is not None:
            self.met.append(fault)
        return fault

    def _fault_at(self, number: int, boundary: Boundary, place: str) -> Fault | None:
        if place in self.aimed:
            return self.aimed[place]
        if self.is_given:
            fault = self.faults.get(number)
            return fault if fault and tuple(fault) in _OF[boundary.kind, boundary.phase] else None
        if self.where not in (None, boundary.kind):
            return None
        weight = 2.0 if boundary.writes else 0.5
        if not self._left or self._chance.random() >= self._rate * weight:
            return None
        fault = Fault(*self._chance.choice(_OF[boundary.kind, boundary.phase]))
        self._left -= 1
        self.faults[number] = fault
        return fault

    def switch_at(self, number: int, others: Sequence[str]) -> str | None:
        """Who of the others goes on instead, if anybody."""
        if self.is_given:
            return self.switches.get(number) if self.switches.get(number) in others else None
        if self._order.random() >= self._restless:
            return None
        self.switches[number] = chosen = self._order.choice(others)
        return chosen

    def pick(self, count: int) -> int:
        """Which of so many goes on where somebody has to; a given plan that has no more picks takes the first."""
        if self.is_given:
            number = self.picks[self._taken] if self._taken < len(self.picks) else 0
            self._taken += 1
            return number if number < count else 0
        number = self._order.randrange(count)
        self.picks.append(number)
        return number

    def dump(self) -> dict[str, Any]:
        """As JSON carries it."""
        return {
            "faults": [[number, *fault] for number, fault in self.faults.items()],
            "switches": [[number, name] for number, name in self.switches.items()],
            "picks": self.picks,
            "aimed": {place: list(fault) for place, fault in self.aimed.items()},
            "dropped": sorted(self.dropped),
        }

    @classmethod
    def load(cls, content: dict[str, Any]) -> "Plan":
        """A given plan."""
        return cls(
            faults={number: Fault(kind, value) for number, kind, value in content["faults"]},
            switches=dict(content["switches"]),
            picks=list(content["picks"]),
            aimed={place: Fault(*fault) for place, fault in content.get("aimed", {}).items()},
            dropped=frozenset(content["dropped"]),
        )
