"""Every endpoint that changes something, killed at each of its boundaries, once and twice in a row."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.simulation.crew import ROOT, Crew, Result, crew
from tests.simulation.stages import FIRST, NEXT, SECOND, STAGES

pytestmark = pytest.mark.timeout(3600)

_IN_THE_GATE = ("tokens/mint", "webhooks/metakeep")
# What changes nothing, or nothing but a note of its own use.
_READING = {
    *("tokens/info", "tokens/batch", "tokens/transactions", "wallets/get", "wallets/list", "wallets/balance"),
    *("wallets/statement", "wallets/export", "webhooks/events", "ops/health", "ops/metrics", "ops/openapi"),
}

Outcome = dict[str, list[str]]


@pytest.fixture(scope="module")
def workers() -> Iterator[Crew]:
    """Two worlds."""
    with crew(2) as made:
        yield made


def job(stage: str, following: str, **killed: int) -> dict[str, Any]:
    """The stage's one run, with its processes killed at those of their crossings."""
    names = {"first": FIRST, "second": SECOND}
    kills = {f"{names[which]}@{place}": ["kill", None] for which, place in killed.items()}
    plan = {"faults": [], "switches": [], "picks": [], "dropped": [], "aimed": kills}
    return {"seed": 0, "scenario": f"{stage} then {following}", "plan": plan}


def kill_everywhere(workers: Crew, stage: str, *, by_turns: bool = False) -> tuple[int, int]:
    """Kill the stage's call at each boundary, and then who comes next as well; how many boundaries, and kills.

    The retry, the tick and the webhook each come next at every boundary; `by_turns` one of them.
    """
    undisturbed = workers.do(job(stage, "retry"))
    assert not undisturbed["violations"], undisturbed["violations"]
    path, right = undisturbed["paths"][FIRST], [undisturbed["outcome"]]
    if STAGES[stage].may_be_late:
        right.append(workers.do(job(stage, "tick", first=1))["outcome"])
    places = [
        (place, who)
        for place in range(1, len(path) + 1)
        for number, who in enumerate(NEXT)
        if not by_turns or number == place % len(NEXT)
    ]
    once = list(workers.do_all(job(stage, who, first=place) for place, who in places))
    twice = [
        (place, who, second)
        for (place, who), run in zip(places, once, strict=True)
        for second in _second(path[place - 1], run["paths"].get(SECOND, []), place)
    ]
    again = list(workers.do_all(job(stage, who, first=place, second=second) for place, who, second in twice))
    for wanted, run in [*zip(places, once, strict=True), *zip(twice, again, strict=True)]:
        assert run["faults"].keys() == {"kill"}
        assert run["faults"]["kill"] >= len(wanted) - 1
        assert_right(right, run, STAGES[stage].again, (stage, path[wanted[0] - 1], *wanted))
    return len(path), len(once) + 2 * len(again)


def _second(site: str, path: list[str], place: int) -> list[int]:
    """Where who comes next is killed: at the same boundary, where it comes by; else at another, in turn."""
    if not path:
        return []
    return [path.index(site) + 1 if site in path else place % len(path) + 1]


def assert_right(right: list[Outcome], run: Result, again: tuple[str, ...], where: tuple[Any, ...]) -> None:
    """No promise is broken, and what there is in the end is one of the `right`; `again` as Stage has it."""
    assert not run["violations"], (where, run["violations"], run["story"])
    different = [_difference(one, run["outcome"], again) for one in right]
    assert not all(different), (where, different[0], run["story"])


def _difference(right: Outcome, seen: Outcome, again: tuple[str, ...]) -> Outcome:
    """The parts that are not as they should be."""
    return {
        name: seen[name]
        for name, lines in right.items()
        if seen[name] != lines and not (name in again and set(seen[name]) == set(lines))
    }


def test_every_function_that_changes_something_has_its_stage() -> None:
    """A new endpoint is either put on the stage or said to change nothing."""
    project = yaml.safe_load((ROOT / "project.yml").read_text())
    functions = {f"{package['name']}/{one['name']}" for package in project["packages"] for one in package["functions"]}
    assert {name.split()[0] for name in STAGES} == functions - _READING


@pytest.mark.parametrize("stage", _IN_THE_GATE)
def test_money_survives_a_kill_at_every_boundary(workers: Crew, stage: str) -> None:
    """Once, and twice in a row; retry, tick and webhook come next by turns: one effect, the same end."""
    boundaries, kills = kill_everywhere(workers, stage, by_turns=True)
    assert boundaries > 5
    assert kills > boundaries


@pytest.mark.long
@pytest.mark.parametrize("stage", STAGES)
def test_every_endpoint_survives_a_kill_at_every_boundary(workers: Crew, stage: str) -> None:
    """The same for each endpoint, with each of the three coming next at every boundary."""
    boundaries, kills = kill_everywhere(workers, stage)
    print(f"{stage}: {boundaries} boundaries, {kills} kills")
