"""`./doit bench [cold warm signing throughput growth] [--quick] [--rows N] [--html FILE]`: what the product costs.

Everything in one run on this machine, taken in turn; ratios, since absolute times drift. Exit 1 when a must is missed
or a part could not be measured.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from local.bench import cold, growth, report, signing, throughput, warm
from local.bench.measure import Section
from local.bench.stage import Stage, stage
from local.processes import ChildFailed
from ops.functions import ROOT

PARTS = ("cold", "warm", "signing", "throughput", "growth")


def main(arguments: list[str]) -> int:
    """0 when every must holds."""
    options = _options(arguments)
    sections, failed = [], False
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for section in _sections(options, Path(folder)):
            if isinstance(section, str):
                print(f"bench: {section}", file=sys.stderr)
                failed = True
                continue
            report.show(section)
            sections.append(section)
    report.write(sections, options.html)
    print(f"written: {options.html}")
    missed = [row.what for section in sections for row in section.rows if row.holds is False]
    for what in missed:
        print(f"bench: over its must: {what}", file=sys.stderr)
    return 1 if failed or missed else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./doit bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it works, not to quote")
    parser.add_argument(
        "--rows", type=int, default=100_000, help="how far collections grow; 1000000 takes half an hour"
    )
    parser.add_argument("--html", type=Path, default=ROOT / ".local/bench.html", help="where the page goes")
    options = parser.parse_args(arguments)
    options.parts = options.parts or list(PARTS)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def _sections(options: argparse.Namespace, folder: Path) -> Iterator[Section | str]:
    """Measure part by part; in the place of one that could not be measured, why."""
    quick: bool = options.quick
    with ExitStack() as ending:
        stages: list[Stage] = []

        def on() -> Stage:
            if not stages:
                stages.append(ending.enter_context(stage(folder)))
            return stages[0]

        rounds = {"cold": 21, "warm": 15, "signing": 5, "throughput": 5, "growth": 21}
        few = {"cold": 3, "warm": 3, "signing": 1, "throughput": 1, "growth": 3}
        rows = min(options.rows, 10_000) if quick else options.rows
        ways: dict[str, Callable[[int, Progress], Section]] = {
            "cold": lambda number, tick: cold.run(_new(folder, "cold"), number, tick),
            "warm": lambda number, tick: warm.run(on(), _new(folder, "warm"), number, tick),
            "signing": signing.run,
            "throughput": lambda number, tick: throughput.run(
                on(), _new(folder, "http"), number, 1 if quick else 6, tick
            ),
            "growth": lambda number, tick: growth.run(on(), _new(folder, "growth"), number, rows, tick.tell),
        }
        for part in options.parts:
            console = Console(stderr=True)
            with console.status(f"measuring: {part}") as status:
                show = status.update if console.is_terminal else Lines(console.print)
                try:
                    yield ways[part]((few if quick else rounds)[part], Progress(part, show))
                except (throughput.Missing, RuntimeError, ChildFailed) as error:
                    yield f"{part} could not be measured: {error}"


class Progress:
    """Shows how many rounds of a part are done, or what it does."""

    def __init__(self, part: str, show: Callable[[str], object]) -> None:
        self._part, self._show, self._done = part, show, 0

    def __call__(self) -> None:
        """One more."""
        self._done += 1
        self.tell(str(self._done))

    def tell(self, what: str) -> None:
        """What is being done."""
        self._show(f"measuring: {self._part}, {what}")


class Lines:
    """Progress where it cannot be shown in place: a line now and then."""

    every_seconds = 20.0

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show, self._next = show, 0.0

    def __call__(self, what: str) -> None:
        """Show it, unless the last line is young."""
        if time.monotonic() >= self._next:
            self._show(what)
            self._next = time.monotonic() + self.every_seconds


def _new(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
