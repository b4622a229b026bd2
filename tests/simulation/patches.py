"""What a process takes from its surroundings without a boundary: time, chance and threads. Here it is all the seed's.

Modules are found, not listed: whichever module of ours names `time`, `random` or `ThreadPoolExecutor` gets the
simulation's.
"""

import importlib
import os
import pkgutil
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from io import StringIO
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import pymongo._csot
import pymongo.client_session_shared
import pymongo.common
import pymongo.helpers_shared
import pymongo.network_layer
import pymongo.synchronous.client_session
import pymongo.synchronous.mongo_client
import pymongo.synchronous.pool
import tenacity.nap
import tenacity.wait

import getsmart
from getsmart import clock, log
from tests.money import Killed
from tests.simulation.scheduler import Scheduler

# All that compare a moment with a deadline of `_csot`: one that did so by real time would find each one over, on a
# machine that has been up for longer than a run has gone on for.
_DRIVER = (
    pymongo._csot,
    pymongo.helpers_shared,
    pymongo.network_layer,
    pymongo.synchronous.client_session,
    pymongo.synchronous.mongo_client,
    pymongo.synchronous.pool,
)


class Chance:
    """The one source of chance of a run, as `random` and as `os.urandom`."""

    def __init__(self) -> None:
        self.random = random.Random(0)

    def seed(self, seed: object) -> None:
        """Begin anew."""
        self.random.seed(str(seed))


def ours() -> list[ModuleType]:
    """Every module of the product, imported."""
    names = [one.name for one in pkgutil.walk_packages(getsmart.__path__, "getsmart.")]
    return [importlib.import_module(name) for name in names]


def install(scheduler: Scheduler, chance: Chance) -> StringIO:
    """Patch this process for good; what the product logs is in the text that is returned."""
    written = StringIO()
    simulated = SimpleNamespace(**{**vars(time), "sleep": scheduler.sleep, "monotonic": scheduler.monotonic})
    simulated.perf_counter, simulated.time = scheduler.monotonic, lambda: scheduler.now().timestamp()
    source = SimpleNamespace(**{**vars(os), "urandom": chance.random.randbytes})
    pool = pool_of(scheduler)
    for module in ours():
        for name, value in list(vars(module).items()):
            if value is time:
                setattr(module, name, simulated)
            elif value is random:
                setattr(module, name, chance.random)
            elif value is os and hasattr(module, "_RANDOM_BYTES"):
                setattr(module, name, source)
            elif value is futures.ThreadPoolExecutor:
                setattr(module, name, pool)
    clock.set_clock(scheduler.now)
    clock.monotonic = scheduler.monotonic
    log.sys = SimpleNamespace(stdout=written)  # type: ignore[attr-defined]
    tenacity.nap.time = simulated  # type: ignore[attr-defined]
    tenacity.wait.random = chance.random  # type: ignore[attr-defined]
    _patch_driver(scheduler, simulated, chance)
    return written


def _patch_driver(scheduler: Scheduler, simulated: Any, chance: Chance) -> None:
    """The driver's deadlines and pauses are of simulated time; what a dead process held is never used again."""
    real = time.monotonic

    def monotonic() -> float:
        return real() if scheduler.current is None else scheduler.monotonic()

    def sleep(seconds: float) -> None:
        (time.sleep if scheduler.current is None else scheduler.sleep)(seconds)

    for module in _DRIVER:
        module.time = SimpleNamespace(**{**vars(time), "monotonic": monotonic, "sleep": sleep})  # type: ignore[attr-defined]
    pymongo.synchronous.client_session.random = chance.random  # type: ignore[attr-defined]
    pymongo.common.MIN_HEARTBEAT_INTERVAL = 0.005
    kind = pymongo.client_session_shared._ServerSessionPool
    give_back = kind.return_server_session

    def return_unless_dead(self: Any, session: Any) -> None:
        actor = scheduler.current
        if actor is None or not actor.process.is_dead:
            give_back(self, session)

    kind.return_server_session = return_unless_dead  # type: ignore[method-assign]


class _Future:
    """How a task of a pool ended."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.is_over, self._value = False, None
        self._error: BaseException | None = None

    def work(self, task: Callable[[], Any]) -> None:
        try:
            self._value = task()
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._error = error
        finally:
            self.is_over = True

    def done(self) -> bool:
        """Whether it has ended."""
        return self.is_over

    def result(self) -> Any:
        """What the task returned. Raises what it raised."""
        if not self.is_over:
            self._scheduler.wait_until(self.done)
        if self._error is not None:
            raise self._error
        return self._value


def pool_of(scheduler: Scheduler) -> type:
    """The class of thread pools that stands for the library's."""
    return type("Pool", (_Pool,), {"scheduler": scheduler})


class _Pool:
    """A thread pool whose threads are actors of the process that uses it; outside a run it works at once."""

    scheduler: Scheduler

    def __init__(
        self, _most: int = 1, *, initializer: Callable[..., Any] | None = None, initargs: tuple[Any, ...] = ()
    ) -> None:
        self._begun: list[_Future] = []
        self._begin = (lambda: initializer(*initargs)) if initializer else (lambda: None)

    def submit(self, task: Callable[..., Any], *arguments: Any) -> _Future:
        """Begin with a task."""
        future, parent = _Future(self.scheduler), self.scheduler.current
        self._begun.append(future)
        if parent is None:
            future.work(lambda: task(*arguments))
            return future
        parent.children += 1
        name = f"{parent.name}.{parent.children}"

        def live() -> None:
            self._begin()
            future.work(lambda: task(*arguments))

        self.scheduler.spawn(name, live, parent.process)
        return future

    def map(self, task: Callable[..., Any], *sources: Iterable[Any]) -> Iterator[Any]:
        """The results of the task over all; a single one needs no thread."""
        calls = list(zip(*sources, strict=False))
        if len(calls) == 1:
            return iter([task(*calls[0])])
        begun = [self.submit(task, *call) for call in calls]
        return (one.result() for one in begun)

    def shutdown(self, wait: bool = True) -> None:
        """Wait for what was begun."""
        if wait and self.scheduler.current is not None:
            self.scheduler.wait_until(lambda: all(one.is_over for one in self._begun))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Killed):
            self.shutdown()
