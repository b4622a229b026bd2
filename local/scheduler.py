"""`python -m local.scheduler`: call every function that has a schedule again and again, back to back, until SIGTERM.

A laptop has no minute trigger to wait for; the functions guard themselves by a lease, as they must on the platform.
"""

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

from ops.functions import ROOT, load
from serving.answer import PlatformError
from serving.app import add_library
from serving.loader import Loaded

_PERIOD_SECONDS = 1.0


class Scheduler:
    """Runs its functions one after the other, at most once a second each, until `end`."""

    def __init__(self, functions: Iterable[Loaded]) -> None:
        self._functions = list(functions)
        self._ending = threading.Event()

    def run(self) -> None:
        """Return after `end`. What a function throws is on stderr, and the next run follows."""
        while not self._ending.is_set():
            started = time.monotonic()
            for function in self._functions:
                self._call(function)
            self._ending.wait(started + _PERIOD_SECONDS - time.monotonic())

    def end(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler: stop now, in the middle of a run too, whose `finally` clauses a further signal spares."""
        signal.signal(number, signal.SIG_IGN)
        self._ending.set()
        raise SystemExit(0)

    def _call(self, function: Loaded) -> None:
        try:
            function.call({}, function.context())
        except PlatformError as error:
            if self._ending.is_set():
                return
            print(f"{function.package}/{function.name}: this run failed: {error.text}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Print one JSON line with the functions when ready; 0 after SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m local.scheduler", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of project.yml")
    root: Path = parser.parse_args(arguments).root.resolve()
    add_library(root)
    scheduled = [one for one in load(root) if one.schedule]
    scheduler = Scheduler(Loaded(one.package, one.name, one.path, one.timeout_ms) for one in scheduled)
    signal.signal(signal.SIGTERM, scheduler.end)
    signal.signal(signal.SIGINT, scheduler.end)
    print(json.dumps({"scheduled": [one.route for one in scheduled]}), flush=True)
    scheduler.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
