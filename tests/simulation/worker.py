"""A worker: one world in a process of its own, which does one job a line, from standard input to standard output."""

import json
import os
import sys
from dataclasses import asdict
from typing import Any

from tests.simulation.mutations import plant
from tests.simulation.plan import Plan
from tests.simulation.run import run
from tests.simulation.world import World, opened

# What a planted defect does that the product has outgrown; the judges would see that, and not the defect.
_MISFITS = ("TypeError", "AttributeError", "NameError")


def work(world: World, job: dict[str, Any]) -> dict[str, Any]:
    """Do a job: the run of a seed (`where`: faults at such boundaries only), or of a plan; with a defect, or not."""
    plan = Plan.load(job["plan"]) if job.get("plan") else Plan(job["seed"], where=job.get("where"))
    with plant(job.get("defect")):
        report = run(world, job["seed"], plan, job.get("scenario"))
    return {**asdict(report), "is_misfit": any(f'"{name}"' in world.logged.getvalue() for name in _MISFITS)}


def main() -> None:
    """Until standard input ends. What the product or anybody else prints is not an answer."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with opened() as world:
        for line in sys.stdin:
            answers.write(json.dumps(work(world, json.loads(line))) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
