"""Workers side by side: processes with a world each, given jobs as they become free."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Job = dict[str, Any]
Result = dict[str, Any]


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
        )
        self._complaints: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._complaints = [*self._complaints[-40:], line]

    def do(self, job: Job) -> Result:
        """One job. Raises WorkerFailed when the process ended over it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait(timeout=10)
            self._listener.join(timeout=5)
            raise WorkerFailed(f"job {job}:\n{''.join(self._complaints)}")
        result: Result = json.loads(line)
        return result

    def close(self) -> None:
        """Let it end, with its database."""
        assert self._process.stdin is not None
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
        self._free: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)

    def do(self, job: Job) -> Result:
        """One job, by whoever is free."""
        worker = self._free.get()
        try:
            return worker.do(job)
        except WorkerFailed:
            worker.close()
            self._workers[self._workers.index(worker)] = worker = Worker()
            raise
        finally:
            self._free.put(worker)

    def do_all(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """All of them, the results in their order; one over which a worker ended has that as its violation."""
        with ThreadPoolExecutor(len(self._workers)) as pool:
            try:
                yield from pool.map(self._survive, jobs)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _survive(self, job: Job) -> Result:
        try:
            return self.do(job)
        except WorkerFailed as failed:
            nothing: Result = {
                "crossings": 0,
                "sites": {},
                "faults": {},
                "paths": {},
                "plan": {},
                "actors": [],
                "trace": "",
            }
            return {**nothing, "seed": job["seed"], "scenario": "none", "violations": [f"worker: {failed}"]}

    def close(self) -> None:
        """Let all end."""
        for worker in self._workers:
            worker.close()


@contextmanager
def crew(size: int) -> Iterator[Crew]:
    """A crew until the block ends."""
    made = Crew(size)
    try:
        yield made
    finally:
        made.close()
