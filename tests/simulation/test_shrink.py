import json
import shlex
from typing import Any

import pytest

from tests.simulation import __main__ as simulate
from tests.simulation import shrink
from tests.simulation.crew import crew
from tests.simulation.hunt import job, kept

_PLAN: dict[str, Any] = {
    "faults": list(range(40)),
    "switches": list(range(30)),
    "picks": list(range(20)),
    "dropped": [],
}


def test_only_what_it_takes_is_left() -> None:
    """Of forty faults the two that matter, no interruption, and no actor but the one without whom nothing breaks."""

    def runs(plan: dict[str, Any]) -> list[str]:
        return ["I1: twice"] if {3, 37} <= set(plan["faults"]) and "caller" not in plan["dropped"] else []

    small = shrink.shrink(_PLAN, ["I1: another text"], ["caller", "tick", "provider"], runs)
    assert small == {"faults": [3, 37], "switches": [], "picks": [], "dropped": ["tick", "provider"]}


def test_another_broken_promise_is_not_the_same() -> None:
    """What breaks otherwise when made smaller is not the failure that is looked for."""
    small = shrink.shrink(_PLAN, ["I1: twice"], [], lambda plan: ["I1: twice"] if plan == _PLAN else ["I4: lost"])
    assert small == _PLAN


def test_what_does_not_repeat_is_left_as_it_is() -> None:
    """One run is enough to know it."""
    asked: list[dict[str, Any]] = []
    assert shrink.shrink(_PLAN, ["I1: twice"], ["tick"], lambda plan: asked.append(plan) or []) == _PLAN  # type: ignore[func-returns-value]
    assert len(asked) == 1


def test_shrinking_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many runs, and after so long: each time with what still breaks."""
    asked = 0

    def runs(plan: dict[str, Any]) -> list[str]:
        nonlocal asked
        asked += 1
        return ["I1: twice"] if len(plan["faults"]) > 150 else []

    long = {**_PLAN, "faults": list(range(300))}
    small = shrink.shrink(long, ["I1: twice"], [], runs)
    assert asked == 200
    assert runs(small)
    monkeypatch.setattr(shrink, "_MOST_SECONDS", 0.0)
    asked = 0
    assert shrink.shrink(long, ["I1: twice"], [], runs) == long
    assert asked == 0


@pytest.mark.timeout(600)
def test_the_other_runs_go_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that fails is told at once, its small schedule comes after all others, and that breaks the promise too."""
    monkeypatch.setattr(shrink, "_MOST_RUNS", 12)
    monkeypatch.setattr(simulate.Targets, "take", lambda _self: [])
    name = "another_key"
    seed = kept()["defects"][name]
    summary = simulate.Summary()
    with crew(2) as workers:
        jobs = [job(name, seed), {"seed": 1, "scenario": "api_keys"}]
        simulate._run_all(workers, jobs, summary, is_alone=False)
        told = capsys.readouterr().out
        assert summary.failed == [seed]
        assert summary.runs == 2 + summary.aimed
        words = shlex.split(told.partition("again: ./doit ")[2])
        small = json.loads(words[words.index("--plan") + 1])
        again = workers.do({**jobs[0], "plan": small})
        drawn = workers.do(jobs[0])
    assert told.index(f"seed {seed}, ") < told.index(f"seed {seed} shrunk to")
    assert shrink.kinds(again["violations"]) & shrink.kinds(drawn["violations"])
    assert sum(len(small[part]) for part in ("faults", "switches", "picks")) < sum(
        len(drawn["plan"][part]) for part in ("faults", "switches", "picks")
    )
