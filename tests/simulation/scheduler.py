"""Simulated time and a baton: threads of which exactly one runs, handed over at boundaries, so that a seed repeats.

An actor is a thread of ours; a process is what it runs code of the product in, and what can die, freeze or have a clock
that is wrong. Time moves by a millisecond a crossing, and leaps when everybody sleeps.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pymongo

from tests.money import Killed
from tests.simulation.plan import Boundary, Fault, Plan

START = datetime(2031, 3, 1, 12, tzinfo=UTC)
_STEP = 0.001
_FUTILE_SECONDS = 0.5  # that an attempt takes at what is away: the driver tries as often as its time allows
_STUCK_SECONDS = 30.0  # of real time, without a crossing: the simulation itself hangs


class Stuck(Exception):
    """Nobody crosses a boundary any more: a real lock is waited for."""


@dataclass
class Process:
    """What runs the product's code: dead it runs no more, frozen it wakes later, and its clock may be wrong."""

    name: str
    skew_seconds: float = 0.0
    is_dead: bool = False
    frozen_until: float = 0.0
    crossed: list[str] = field(default_factory=list)


@dataclass
class Actor:
    """One thread and the process it is in now; it waits for its gate, for a time, or for something to become true."""

    name: str
    work: Callable[[], None]
    process: Process
    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    wake_at: float = 0.0
    waits_for: Callable[[], bool] | None = None
    waits_until: float | None = None
    is_done: bool = False
    children: int = 0


class Outage:
    """A time in which one part of the world is away for everybody."""

    def __init__(self, scheduler: "Scheduler") -> None:
        self._scheduler = scheduler
        self.end()

    def end(self) -> None:
        """It is over."""
        self._until, self._kind = 0.0, ""

    def meet(self, fault: Fault | None, kind: str) -> Fault | None:
        """What meets a crossing in place of `fault`; an `outage` begins here, in which all crossings meet `kind`."""
        if fault is not None and fault.kind == "outage":
            self._until, self._kind = self._scheduler.elapsed + fault.value, kind
        if self._kind == kind and self._scheduler.elapsed < self._until and self._scheduler.current is not None:
            self._scheduler.sleep(_FUTILE_SECONDS)
            return Fault(kind, "reset" if kind == "lose" else None)
        return None if fault is not None and fault.kind == "outage" else fault


class Scheduler:
    """The baton, the clock, and the plan by which both are handed on and faults happen."""

    def __init__(self) -> None:
        """Time begins at START; `begin` prepares each run."""
        self._local = threading.local()
        self.begin(Plan.quiet())

    def begin(self, plan: Plan) -> None:
        """A new run: no actors, time at its beginning, faults and switches as planned."""
        self.plan = plan
        self.elapsed = 0.0
        self.actors: list[Actor] = []
        self.crossings = 0
        self.sites: dict[str, list[int]] = {}
        self.crashes: list[str] = []
        self.paths: dict[str, list[str]] = {}
        self.alarms: list[tuple[float, Callable[[], None]]] = []
        self._trace = hashlib.blake2b(digest_size=8)
        self._over = threading.Event()

    @property
    def trace(self) -> str:
        """A digest of who crossed what, when, and what happened there."""
        return self._trace.hexdigest()

    @property
    def current(self) -> Actor | None:
        """The actor whose thread this is; None outside a run, and aside from it."""
        actor: Actor | None = getattr(self._local, "actor", None)
        return actor

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done in here is the simulation's own: no boundary, and no deadline of the driver."""
        actor, self._local.actor = self.current, None
        try:
            with pymongo.timeout(None):
                yield
        finally:
            self._local.actor = actor

    # Time

    def now(self) -> datetime:
        """The moment, by the clock of the process that asks."""
        actor = self.current
        skew = actor.process.skew_seconds if actor else 0.0
        return self.true_now() + timedelta(seconds=skew)

    def true_now(self) -> datetime:
        """The moment, by the one clock that is right: the database's, the provider's and the chain's."""
        return START + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        """Seconds that go by for everybody alike."""
        return 1_000.0 + self.elapsed

    def sleep(self, seconds: float) -> None:
        """Let time go by for this actor; outside a run time just moves."""
        actor = self.current
        if actor is None:
            self.advance(max(0.0, seconds))
            return
        actor.wake_at = self.elapsed + max(0.0, seconds)
        self._yield(actor)

    def advance(self, seconds: float) -> None:
        """Move time, and do what is due then."""
        self.elapsed += seconds
        due = [alarm for alarm in self.alarms if alarm[0] <= self.elapsed]
        self.alarms = [alarm for alarm in self.alarms if alarm[0] > self.elapsed]
        for _, work in due:
            with self.aside():
                work()

    def run_out(self) -> None:
        """Let what has a time come to its time: the transactions of the dead end."""
        while self.alarms:
            self.advance(max(0.0, min(moment for moment, _ in self.alarms) - self.elapsed))

    def at(self, elapsed: float, work: Callable[[], None]) -> None:
        """Do something, aside, when time gets there."""
        self.alarms.append((elapsed, work))

    # Actors

    def spawn(self, name: str, work: Callable[[], None], process: Process | None = None) -> Actor:
        """A new actor, which begins when the baton comes to it."""
        actor = Actor(name, work, process or Process(name))
        self.actors.append(actor)
        threading.Thread(target=self._live, args=(actor,), name=f"sim-{name}", daemon=True).start()
        return actor

    def _live(self, actor: Actor) -> None:
        actor.gate.acquire()
        self._local.actor = actor
        try:
            if not actor.process.is_dead:
                actor.work()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - reported as what it is: a break of the product's or ours
            self.crashes.append(f"{actor.name}: {type(error).__name__}: {error}")
        self._local.actor = None
        actor.is_done = True
        self._pass_on(actor)

    def run(self) -> None:
        """Let the actors live until all are done. Raises Stuck when nobody moves for long."""
        self._over.clear()
        self._pass_on(None)
        last = -1
        while not self._over.wait(_STUCK_SECONDS):
            if self.crossings == last:
                waiting = [actor.name for actor in self.actors if not actor.is_done]
                raise Stuck(f"at crossing {last}, not done: {waiting}")
            last = self.crossings

    def wait_until(self, is_so: Callable[[], bool], seconds: float | None = None) -> bool:
        """Let others go on until it is so; False when the time is over before. Raises Killed as `cross` does."""
        actor = self.current
        assert actor is not None
        if not is_so():
            actor.waits_for = is_so
            actor.waits_until = None if seconds is None else self.elapsed + seconds
            try:
                self._yield(actor)
            finally:
                actor.waits_for = actor.waits_until = None
        return is_so()

    # Crossings

    def cross(self, boundary: Boundary) -> Fault | None:
        """Pass a boundary: others may run first, and a fault may be in store, which is returned unless it acts here.

        Raises Killed in a process that dies here, or has died while others ran.
        """
        actor = self.current
        if actor is None:
            return None
        number, self.crossings = self.crossings, self.crossings + 1
        self.elapsed += _STEP
        process = actor.process
        process.crossed.append(boundary.text)
        fault = self.plan.fault_at(number, boundary, f"{process.name}@{len(process.crossed)}")
        met = self.sites.setdefault(boundary.text, [0, 0])
        met[0] += 1
        met[1] += fault is not None
        self._trace.update(f"{actor.name}|{boundary.text}|{fault}|{self.elapsed:.3f}\n".encode())
        if fault is not None and self.plan.log is not None:
            self.plan.log.append(f"{number} {actor.name} at {boundary.text}: {fault}")
        others = [one for one in self._ready() if one is not actor]
        chosen = self.plan.switch_at(number, [one.name for one in others]) if others else None
        if chosen is not None:
            self._hand_over(actor, next(one for one in others if one.name == chosen))
        self._check_alive(actor)
        return self._act(actor, fault) if fault else None

    def _act(self, actor: Actor, fault: Fault) -> Fault | None:
        """Faults that need nothing but the scheduler."""
        if fault.kind == "kill":
            actor.process.is_dead = True
            raise Killed(actor.process.name)
        if fault.kind == "delay":
            self.sleep(fault.value)
        elif fault.kind == "freeze":
            actor.process.frozen_until = self.elapsed + fault.value
            self.sleep(fault.value)
        else:
            return fault
        self._check_alive(actor)
        return None

    @staticmethod
    def _check_alive(actor: Actor) -> None:
        if actor.process.is_dead:
            raise Killed(actor.process.name)

    # The baton

    def _ready(self) -> list[Actor]:
        return [actor for actor in self.actors if not actor.is_done and self._is_ready(actor)]

    def _is_ready(self, actor: Actor) -> bool:
        if actor.process.is_dead:
            return True  # it only has to end
        if self.elapsed < max(actor.wake_at, actor.process.frozen_until):
            return False
        if actor.waits_for is None or actor.waits_for():
            return True
        return actor.waits_until is not None and self.elapsed >= actor.waits_until

    def _next(self) -> Actor | None:
        """Who runs when nobody chooses: the first that is ready, after time has gone by if need be."""
        while alive := [actor for actor in self.actors if not actor.is_done]:
            ready = [actor for actor in alive if self._is_ready(actor)]
            if ready:
                number = self.plan.pick(len(ready))
                return ready[number]
            moments = [moment for actor in alive for moment in self._moments(actor)]
            moments += [moment for moment, _ in self.alarms]
            ahead = [moment for moment in moments if moment > self.elapsed]
            if not ahead:
                self.crashes.append(f"everybody waits for ever: {[actor.name for actor in alive]}")
                for actor in alive:
                    actor.process.is_dead = True
                continue
            self.advance(min(ahead) - self.elapsed)
        return None

    @staticmethod
    def _moments(actor: Actor) -> list[float]:
        moments = [max(actor.wake_at, actor.process.frozen_until)]
        return moments if actor.waits_until is None else [*moments, actor.waits_until]

    def _yield(self, actor: Actor) -> None:
        """This actor can't go on now; raises Killed when its process died meanwhile."""
        chosen = self._next()
        if chosen is not actor:
            assert chosen is not None
            self._hand_over(actor, chosen)
        self._check_alive(actor)

    def _hand_over(self, actor: Actor, to: Actor) -> None:
        to.gate.release()
        actor.gate.acquire()

    def _pass_on(self, _actor: Actor | None) -> None:
        chosen = self._next()
        if chosen is None:
            self._over.set()
        else:
            chosen.gate.release()
