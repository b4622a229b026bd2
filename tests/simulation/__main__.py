"""`./doit simulate`: runs by seed; one that breaks a promise prints its seed and a shrunk schedule."""

import argparse
import json
import shlex
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.simulation.aiming import Targets
from tests.simulation.crew import Crew, Job, Result, WorkerFailed, crew
from tests.simulation.hunt import hunt, keep, kept
from tests.simulation.mutations import DEFECTS
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.shrink import shrink

_SHOW_EVERY_SECONDS = 5.0
_MOST_SHOWN = 5


def main(arguments: list[str]) -> int:
    """Run; exit 0 when every promise held, else 1."""
    options = _parser().parse_args(arguments)
    if options.mutate:
        return _mutate(options)
    first = int(time.time()) if options.seed is None else options.seed
    count = options.runs or (1 if options.seed is not None else 100)
    jobs: list[Job] = [{"seed": seed, "scenario": options.scenario} for seed in range(first, first + count)]
    print(f"seeds {first} to {first + count - 1}, {options.workers} workers", file=sys.stderr)
    if options.plan:
        jobs = [{"seed": first, "scenario": options.scenario, "plan": json.loads(options.plan)}]
    summary = Summary()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.default_int_handler)
    with crew(min(options.workers, count)) as workers:
        try:
            _run_all(workers, jobs, summary, is_alone=count == 1)
        except KeyboardInterrupt:
            summary.is_interrupted = True
        finally:
            summary.lost = workers.lost
            print(json.dumps(summary.content(), indent=2) if options.json else summary.text(), flush=True)
    return 1 if summary.failed or summary.is_interrupted else 0


def _run_all(workers: Crew, jobs: list[Job], summary: "Summary", *, is_alone: bool) -> None:
    """These, then the runs that aim at the boundaries that met nothing, until there is none left.

    What failed is told at once and shrunk last: that takes minutes, and the workers.
    """
    targets = Targets()
    failed: list[tuple[Job, Result]] = []
    while jobs:
        for job, result in zip(jobs, workers.do_all(jobs), strict=True):
            summary.add(result)
            targets.note(result)
            if result["violations"] and len(failed) < _MOST_SHOWN:
                failed.append((job, result))
                show(result)
            elif is_alone:
                show(result)
        jobs = [] if is_alone else targets.take()
        summary.aimed += len(jobs)
    for job, result in failed:
        show_shrunk(workers, job, result)


def _mutate(options: argparse.Namespace) -> int:
    """Plant defects and see that each is seen; with --keep the seeds that saw them are written down."""
    names = list(DEFECTS) if options.mutate == "all" else [options.mutate]
    first = {name: kept()["defects"].get(name, 0) if options.seed is None else options.seed for name in names}
    seen: dict[str, int] = {}
    with crew(min(options.workers, len(names))) as workers, ThreadPoolExecutor(options.workers) as pool:
        found = pool.map(lambda name: hunt(workers, name, first[name]), names)
        for name, (seed, violations) in zip(names, found, strict=True):
            what = f"seed {seed}: {violations[0]}" if seed is not None else "NOT SEEN"
            print(f"{name:20} {DEFECTS[name].what:30} {what}"[:180], flush=True)
            if seed is not None:
                seen[name] = seed
    print(f"{len(seen)} of {len(names)} planted defects were seen")
    if options.keep:
        keep(seen)
    return 0 if len(seen) == len(names) else 1


class Summary:
    """What came of all runs, with progress on a terminal."""

    def __init__(self) -> None:
        self.runs, self.crossings, self.aimed = 0, 0, 0
        self.failed: list[int] = []
        self.lost: list[str] = []
        self.is_interrupted = False
        self.faults: Counter[str] = Counter()
        self.sites: dict[str, list[int]] = {}
        self.scenarios: Counter[str] = Counter()
        self._started = self._shown = time.monotonic()

    def add(self, result: Result) -> None:
        """One more run."""
        self.runs, self.crossings = self.runs + 1, self.crossings + result["crossings"]
        self.faults.update(result["faults"])
        self.scenarios[result["scenario"]] += 1
        for site, (crossed, met) in result["sites"].items():
            known = self.sites.setdefault(site, [0, 0])
            known[0], known[1] = known[0] + crossed, known[1] + met
        if result["violations"]:
            self.failed.append(result["seed"])
        if time.monotonic() - self._shown > _SHOW_EVERY_SECONDS:
            self._shown = time.monotonic()
            met = sum(1 for _, faults in self.sites.values() if faults)
            seconds = self._shown - self._started
            print(
                f"{seconds:.0f} s: {self.runs} runs, {self.aimed} to aim, {len(self.failed)} failed,"
                f" {met} of {len(self.sites)} boundaries",
                file=sys.stderr,
            )

    def content(self) -> dict[str, Any]:
        """As JSON."""
        met = [site for site, (_, faults) in self.sites.items() if faults]
        return {
            "runs": self.runs,
            "aimed_runs": self.aimed,
            "violations": len(self.failed),
            "failed_seeds": self.failed,
            "done_again": self.lost,
            "is_interrupted": self.is_interrupted,
            "boundaries": len(self.sites),
            "boundaries_with_faults": len(met),
            "boundaries_without": sorted(self.sites.keys() - set(met)),
            "crossings": self.crossings,
            "faults": dict(sorted(self.faults.items())),
            "scenarios": dict(self.scenarios),
            "seconds": round(time.monotonic() - self._started, 1),
        }

    def text(self) -> str:
        """For a person."""
        content = self.content()
        share = 100 * content["boundaries_with_faults"] / max(1, content["boundaries"])
        faults = ", ".join(f"{count} {kind}" for kind, count in content["faults"].items())
        return "\n".join(
            [
                f"{content['runs']} runs of {len(self.scenarios)} scenarios, {content['violations']} with violations",
                f"{content['aimed_runs']} of them aimed at boundaries that chance had passed over",
                f"{content['boundaries']} boundaries enumerated in {content['crossings']} crossings",
                f"{content['boundaries_with_faults']} of them met a fault ({share:.1f} %)",
                *(f"  without one: {site}" for site in content["boundaries_without"]),
                f"faults: {faults}",
                f"{content['seconds']} s",
                *([f"failed seeds: {content['failed_seeds']}"] if self.failed else []),
                *(f"done again, as a worker ended over it: {one}" for one in self.lost),
                *(["interrupted: this is what was seen until then"] if self.is_interrupted else []),
            ]
        )


def show(result: Result) -> None:
    """A run as a person wants to see it."""
    of = f"seed {result['seed']}, scenario {result['scenario']}"
    print(f"\n{of}, {result['crossings']} crossings, trace {result['trace']}")
    for sentence in result["violations"] or ["every promise held"]:
        print(f"  {sentence}", flush=True)


def show_shrunk(workers: Crew, job: Job, failed: Result) -> None:
    """The schedule of a run that failed, made small, with its story and the command that repeats it."""
    seed, scenario = failed["seed"], failed["scenario"]
    if not failed["plan"]:
        return

    def runs(plan: dict[str, Any]) -> list[str]:
        again: list[str] = workers.do({**job, "scenario": scenario, "plan": plan})["violations"]
        return again

    try:
        small = shrink(failed["plan"], failed["violations"], failed["actors"], runs)
        last = workers.do({**job, "scenario": scenario, "plan": small})
    except WorkerFailed as ended:
        print(f"\nseed {seed} was not shrunk: {ended}")
        return
    print(f"\nseed {seed} shrunk to", json.dumps(small))
    for line in (*last["story"], *last["violations"]):
        print(f"  {line}")
    print(f"again: ./doit simulate --seed {seed} --scenario {scenario} --plan {shlex.quote(json.dumps(small))}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./doit simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first seed (default: the time); alone, the one run of it")
    parser.add_argument("--runs", type=int, help="how many seeds from there on (default 100)")
    parser.add_argument("--workers", type=int, default=2, help="processes, each with a database of its own (default 2)")
    parser.add_argument("--scenario", choices=SCENARIOS, help="only this one; else all in turn")
    parser.add_argument("--plan", help="with --seed and --scenario: a schedule, as a failing run prints it")
    parser.add_argument("--mutate", choices=[*DEFECTS, "all"], help="plant a defect, and see that it is seen")
    parser.add_argument("--keep", action="store_true", help="with --mutate: keep the seeds that saw them (kept.json)")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
