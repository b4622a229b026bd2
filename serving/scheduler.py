"""`python -m serving.scheduler`: call every function that has a schedule again and again, back to back, until SIGTERM.

For where there is no minute trigger to wait for: a laptop, and a container, in as many replicas as one likes. The
functions guard themselves by a lease, as they must on the platform.
"""

import argparse
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from ops.functions import ROOT, load
from serving.answer import PlatformError
from serving.app import add_library
from serving.gateway import in_process
from serving.isolated import Isolated, Isolation
from serving.loader import Loaded

Scheduled = Loaded | Isolated

_PERIOD_SECONDS = 1.0


class Scheduler:
    """Runs its functions one after the other, at most once a second each, until `end`."""

    def __init__(self, functions: Iterable[Scheduled]) -> None:
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

    def _call(self, function: Scheduled) -> None:
        try:
            problem = function.call({}, function.context()).get("error")
        except PlatformError as error:
            problem = error.text
        if problem is not None and not self._ending.is_set():
            print(f"{function.package}/{function.name}: this run failed: {problem}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Print one JSON line with the functions when ready; 0 after SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m serving.scheduler", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of project.yml")
    parser.add_argument("--isolated", action="store_true", help="functions in processes of their own, limited")
    options = parser.parse_args(arguments)
    root: Path = options.root.resolve()
    scheduled = [one for one in load(root) if one.schedule]
    with ExitStack() as ending:
        if options.isolated:
            isolation = ending.enter_context(Isolation(wait_seconds=math.inf))  # nobody waits for a scheduled run
            scheduler = Scheduler(map(isolation, scheduled))
        else:
            add_library(root)
            scheduler = Scheduler(map(in_process, scheduled))
        signal.signal(signal.SIGTERM, scheduler.end)
        signal.signal(signal.SIGINT, scheduler.end)
        print(json.dumps({"scheduled": [one.route for one in scheduled]}), flush=True)
        scheduler.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
