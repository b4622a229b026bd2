"""Workers side by side: processes with a world each, given jobs as they become free, replaced when spent."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_LONGEST_SECONDS = 240.0  # of one job; it takes less than a second on a machine that is not busy
_MOST_JOBS = 500  # of one worker: what a world keeps in memory grows a little with each
Job = dict[str, Any]
Result = dict[str, Any]


_NOTHING: Result = {"scenario": "none", "trace": "", "crossings": 0, "sites": {}, "faults": {}, "paths": {}, "plan": {}}


class WorkerFailed(Exception):
    """A worker ended; the text is the last it said."""


class Worker:
    """One process; sets are walked in the same order in all of them, else a seed would not repeat."""

    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "MONGODB"))}
        environment |= {"PYTHONHASHSEED": "0", "PYTHONPATH": f"{ROOT / 'lib'}:{ROOT}"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulation.worker"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # who presses Ctrl-C means us: a run that has begun ends in its own time
        )
        self.jobs = 0
        self._complaints: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._complaints = [*self._complaints[-40:], line]

    def do(self, job: Job) -> Result:
        """One job. Raises WorkerFailed when the process ended over it, or did not come back in time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.jobs += 1
        guard = threading.Timer(_LONGEST_SECONDS, self._process.kill)
        guard.daemon = True
        guard.start()
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        finally:
            guard.cancel()
        if not line.endswith("\n"):
            self._process.kill()
            self._process.wait(timeout=10)
            self._listener.join(timeout=5)
            raise WorkerFailed(f"job {job}:\n{''.join(self._complaints)}")
        result: Result = json.loads(line)
        return result

    def close(self) -> None:
        """Let it end, with its database."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(timeout=5)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


class Crew:
    """So many workers."""

    def __init__(self, size: int) -> None:
        self._workers = [Worker() for _ in range(size)]
        self.lost: list[str] = []  # runs over which a worker ended or hung, which were done again
        self._free: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)

    def do(self, job: Job) -> Result:
        """One job, by whoever is free. Raises WorkerFailed."""
        worker = self._free.get()
        is_spent = True
        try:
            result = worker.do(job)
            is_spent = worker.jobs >= _MOST_JOBS or _is_stuck(result)
        finally:
            self._free.put(self._renewed(worker) if is_spent else worker)
        return result

    def _renewed(self, worker: Worker) -> Worker:
        worker.close()
        self._workers[self._workers.index(worker)] = new = Worker()
        return new

    def do_all(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """All of them, the results in their order; one over which a worker ended has that as its violation."""
        with ThreadPoolExecutor(len(self._workers)) as pool:
            try:
                yield from pool.map(self._survive, jobs)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _survive(self, job: Job) -> Result:
        """What ends or hangs over a run is tried once more: a machine may be at fault, and a run repeats exactly."""
        try:
            result = self.do(job)
            if not _is_stuck(result):
                return result
            self.lost.append(f"seed {job['seed']}: {result['violations'][0]}")
        except WorkerFailed as failed:
            self.lost.append(f"seed {job['seed']}: {failed}")
        try:
            return self.do(job)
        except WorkerFailed as failed:
            return {**_NOTHING, "seed": job["seed"], "violations": [f"worker: {failed}"], "is_misfit": False}

    def close(self) -> None:
        """Let all end."""
        for worker in self._workers:
            worker.close()


def _is_stuck(result: Result) -> bool:
    """Whether threads still hang in there: such a world is of no use any more."""
    return any(sentence.startswith("stuck:") for sentence in result["violations"])


@contextmanager
def crew(size: int) -> Iterator[Crew]:
    """A crew until the block ends."""
    made = Crew(size)
    try:
        yield made
    finally:
        made.close()
