"""Planted defects against the judges: which seed sees which, and the file of seeds that is kept and played again."""

import json
from pathlib import Path
from typing import Any

from tests.simulation.crew import Crew
from tests.simulation.mutations import DEFECTS

KEPT = Path(__file__).with_name("kept.json")
MOST_SEEDS = 200


def job(name: str, seed: int) -> dict[str, Any]:
    """The run of a seed with a defect planted, where and by what it can show."""
    defect = DEFECTS[name]
    scenario = defect.scenarios[seed % len(defect.scenarios)]
    return {"seed": seed, "scenario": scenario, "defect": name, "where": defect.where}


def hunt(workers: Crew, name: str, first: int, most: int = MOST_SEEDS) -> tuple[int | None, list[str]]:
    """The first seed from `first` on that sees the defect, and what a judge said; None after so many that did not.

    A run in which the defect itself breaks, as the product has outgrown it, has seen nothing.
    """
    for seed in range(first, first + most):
        result = workers.do(job(name, seed))
        if result["violations"] and not result["is_misfit"]:
            return seed, result["violations"]
    return None, []


def kept() -> dict[str, Any]:
    """`defects`: to each the seed that saw it; `seeds`: runs that once broke a promise, with the reason."""
    content: dict[str, Any] = json.loads(KEPT.read_text())
    return content


def keep(defects: dict[str, int]) -> None:
    """Write down which seed sees which defect."""
    content = {**kept(), "defects": dict(sorted({**kept()["defects"], **defects}.items()))}
    KEPT.write_text(json.dumps(content, indent=2) + "\n")
