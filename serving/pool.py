"""Which worker serves a call: the most recently used idle one, else a new one; frozen in between, removed when old."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.answer import PlatformError
from serving.worker import Plan, Worker, start

WARDEN = Path(__file__).with_name("warden.py")
_UNAVAILABLE = "The server is currently unavailable (because it is overloaded or down for maintenance)."
_NEVER = float("inf")


@dataclass(frozen=True)
class Policy:
    """How long idle workers stay, and how many of one function there are at most: `idle` unused, `most` in all."""

    freeze_seconds: float = 0.15
    idle_seconds: float = 900.0
    idle: int = 4
    most: int = 16


@dataclass
class _Idle:
    worker: Worker
    since: float
    frozen: bool = False


@dataclass
class _Squad:
    """The workers of one function: idle ones, the most recently used last, and how many there are in all."""

    idle: list[_Idle] = field(default_factory=list)
    size: int = 0


class Pool:
    """The workers of all functions of a gateway, and the folder with all their files."""

    def __init__(self, policy: Policy | None = None) -> None:
        """Start the two processes that clear up after us, however we end."""
        self.folder = Path(tempfile.mkdtemp(prefix="getsmart-"))
        self._policy = policy or Policy()
        self._squads: dict[Plan, _Squad] = {}
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._due = threading.Condition(self._lock)
        self._count = 0
        self._closed = False
        self._wakes_at = _NEVER
        self._warden = subprocess.Popen(
            [sys.executable, "-I", "-S", str(WARDEN), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        told = self._warden.stdout
        self._group = int(told.readline()) if told else 0
        self._keeper = threading.Thread(target=self._keep, name="worker-keeper", daemon=True)
        self._keeper.start()

    def take(self, plan: Plan, values: Mapping[str, str], until: float) -> Worker:
        """A worker for one call, to be given back or lost.

        `values` is what a new one finds in its environment besides the plan's. Raises PlatformError (503) when all are
        busy until that time of the monotonic clock, or the gateway ends.
        """
        with self._lock:
            squad = self._squads.setdefault(plan, _Squad())
            seconds = None if until == _NEVER else until - time.monotonic()
            if not self._room.wait_for(lambda: self._has_room(squad), seconds) or self._closed:
                raise PlatformError(503, _UNAVAILABLE)
            if squad.idle:
                found = squad.idle.pop()
                if found.frozen:
                    found.worker.thaw()
                return found.worker
            squad.size += 1
            self._count += 1
            folder = self.folder / f"{plan.route.replace('/', '-')}-{self._count}"
        return self._start(plan, folder, values)

    def give(self, plan: Plan, worker: Worker) -> None:
        """Take a worker back after a good answer."""
        surplus = None
        with self._lock:
            squad = self._squads[plan]
            now = time.monotonic()
            squad.idle.append(_Idle(worker, now))
            if self._closed or len(squad.idle) > self._policy.idle:
                surplus = self._let_go(squad, squad.idle[0])
            if now + self._policy.freeze_seconds < self._wakes_at:
                self._due.notify()
            self._room.notify_all()
        if surplus:
            surplus.discard()

    def lose(self, plan: Plan, worker: Worker) -> None:
        """Throw a worker away."""
        worker.discard()
        self._one_less(plan)

    def workers(self, plan: Plan) -> list[Worker]:
        """The idle workers of a function, the one that serves next last."""
        with self._lock:
            return [idle.worker for idle in self._squads.get(plan, _Squad()).idle]

    def close(self) -> None:
        """End every worker, busy ones too, and remove all files."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            idle = [self._let_go(squad, entry) for squad in self._squads.values() for entry in list(squad.idle)]
            self._room.notify_all()
            self._due.notify()
        self._keeper.join()
        self._warden.communicate()
        for worker in idle:
            worker.discard()

    def _has_room(self, squad: _Squad) -> bool:
        """Whether a call need not wait; idle workers that have died meanwhile are gone after this."""
        while squad.idle and not squad.idle[-1].worker.is_alive():
            self._let_go(squad, squad.idle[-1]).discard()
        return self._closed or bool(squad.idle) or squad.size < self._policy.most

    def _start(self, plan: Plan, folder: Path, values: Mapping[str, str]) -> Worker:
        try:
            return start(plan, folder, self._group, values)
        except OSError as error:
            self._one_less(plan)
            print(f"{plan.route}: no process: {error}", file=sys.stderr, flush=True)
            raise PlatformError(503, _UNAVAILABLE) from error

    def _one_less(self, plan: Plan) -> None:
        with self._lock:
            self._squads[plan].size -= 1
            self._room.notify_all()

    def _let_go(self, squad: _Squad, entry: _Idle) -> Worker:
        """Forget an idle worker, which the caller discards."""
        squad.idle.remove(entry)
        squad.size -= 1
        return entry.worker

    def _keep(self) -> None:
        """Freeze and remove idle workers when their time has come, until the end."""
        while True:
            with self._lock:
                if self._closed:
                    return
                old = self._round()
                if not old:
                    self._due.wait(None if self._wakes_at == _NEVER else self._wakes_at - time.monotonic())
            for worker in old:
                worker.discard()

    def _round(self) -> list[Worker]:
        """One look at every idle worker; those that are too old, let go, and in `_wakes_at` when to look again."""
        now, policy = time.monotonic(), self._policy
        self._wakes_at = _NEVER
        old = []
        for squad in self._squads.values():
            for entry in list(squad.idle):
                if now >= entry.since + policy.idle_seconds:
                    old.append(self._let_go(squad, entry))
                    continue
                if not entry.frozen and now >= entry.since + policy.freeze_seconds:
                    entry.worker.freeze()
                    entry.frozen = True
                wait = policy.idle_seconds if entry.frozen else policy.freeze_seconds
                self._wakes_at = min(self._wakes_at, entry.since + wait)
        return old
