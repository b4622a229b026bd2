import inspect
import time
from collections.abc import Iterator

import pytest

from tests.simulation import hunt
from tests.simulation.aiming import Targets
from tests.simulation.crew import Crew, crew
from tests.simulation.mutations import DEFECTS
from tests.simulation.scenarios import SCENARIOS

pytestmark = pytest.mark.timeout(900)

_NEW_SEEDS = 200


@pytest.fixture(scope="module")
def workers() -> Iterator[Crew]:
    """Two worlds."""
    with crew(2) as made:
        yield made


def test_a_seed_repeats_exactly(workers: Crew) -> None:
    """The same seed, in two processes: the same actors cross the same boundaries in the same order at the same time."""
    seeds = range(15)
    first, second = (list(workers.do_all({"seed": seed} for seed in seeds)) for _ in range(2))
    assert [one["trace"] for one in first] == [one["trace"] for one in second]
    assert len({one["trace"] for one in first}) == len(seeds)
    assert sum(sum(one["faults"].values()) for one in first) > len(seeds) / 2


def test_a_plan_repeats_its_seed(workers: Crew) -> None:
    """What a seed draws can be written down and played again: that is what a schedule is shrunk from."""
    for seed in range(15, 22):
        drawn = workers.do({"seed": seed})
        played = workers.do({"seed": seed, "plan": drawn["plan"]})
        assert played["trace"] == drawn["trace"]


def test_where_nothing_is_planned_nothing_fails(workers: Crew) -> None:
    """Without faults each command has its reply, however long ago this machine was started."""
    quiet: dict[str, list[str]] = {"faults": [], "switches": [], "picks": [], "dropped": []}
    for result in workers.do_all({"seed": 1, "scenario": name, "plan": quiet} for name in SCENARIOS):
        crossed = {site: count for site, (count, _) in result["sites"].items()}
        assert not result["violations"], result["violations"]
        for site, count in crossed.items():
            assert crossed.get(site.replace("before ", "after ", 1)) == count, (result["scenario"], site)


def test_new_seeds_break_no_promise(workers: Crew) -> None:
    """Seeds that nobody has tried before: kills, lost replies, freezes and the rest, and every promise holds."""
    first = int(time.time())
    print(f"seeds from {first}")
    results = list(workers.do_all({"seed": seed} for seed in range(first, first + _NEW_SEEDS)))
    failed = {one["seed"]: one["violations"] for one in results if one["violations"]}
    assert not failed, f"./doit simulate --seed {next(iter(failed))}: {failed}"
    assert {one["scenario"] for one in results} == set(SCENARIOS)
    assert sum(one["faults"].get("kill", 0) for one in results) > 30


def test_what_chance_passed_over_is_aimed_at(workers: Crew) -> None:
    """In the end each boundary that a run came across, or was led to, met a fault; and no promise broke."""
    targets, met = Targets(), dict[str, int]()
    jobs = [{"seed": 3, "scenario": "api_keys"}]
    while jobs:
        for result in workers.do_all(jobs):
            assert not result["violations"], result["violations"]
            targets.note(result)
            for site, (_, faults) in result["sites"].items():
                met[site] = met.get(site, 0) + faults
        jobs = targets.take()
    assert len(met) > 50
    assert [site for site, faults in met.items() if not faults] == []


def test_every_kept_defect_has_a_seed() -> None:
    """A defect that is added is hunted for: `./doit simulate --mutate NAME --keep`."""
    assert sorted(hunt.kept()["defects"]) == sorted(DEFECTS)
    assert len(DEFECTS) >= 20


def test_kept_seeds_break_no_promise(workers: Crew) -> None:
    """Runs that once broke a promise, and were the reason for a change: they are played again."""
    results = list(workers.do_all(hunt.kept()["seeds"]))
    failed = {one["seed"]: one["violations"] for one in results if one["violations"]}
    assert not failed, failed


def test_planted_defects_fit_where_they_are_planted() -> None:
    """A defect takes what the real function takes: else it would be seen for breaking, and not for what it does."""
    misfits = []
    for name, defect in DEFECTS.items():
        for place, function, make in defect.planted:
            real = getattr(place, function)
            if callable(real) and _shape(make(real)) != _shape(real):
                misfits.append(f"{name}: {function}{inspect.signature(real)}")
    assert not misfits


def _shape(function: object) -> list[tuple[str, bool]]:
    """How many it takes by place, and which by name."""
    taken = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    by_name = inspect.Parameter.KEYWORD_ONLY
    return [(one.name if one.kind is by_name else "", one.default is inspect.Parameter.empty) for one in taken]


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_a_planted_defect_is_seen(workers: Crew, name: str) -> None:
    """By the seed that is kept. Where code has moved since, what that seed does has too: then by one of the next."""
    seed, violations = hunt.hunt(workers, name, hunt.kept()["defects"][name], most=40)
    assert seed is not None, f"no judge sees it any more: {DEFECTS[name].what}"
    assert violations
