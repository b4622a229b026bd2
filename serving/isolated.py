"""Run functions as the platform does: built, each in processes of its own, within its limits, with its answers."""

import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from ops.functions import ROOT
from serving.answer import BAD_MESSAGE, PROCESSING, PlatformError
from serving.gateway import Function
from serving.loader import RESULT_BYTES, Context, context_of
from serving.pool import Policy, Pool
from serving.unpack import Store, building, unlisted
from serving.worker import Plan, Worker, WorkerLost

if TYPE_CHECKING:
    from ops.functions import Function as Declared

NOT_READY = "Response not yet ready."
WAIT_SECONDS = 30.0
_INIT_MS = 10_000  # what a start may take at least, whatever the function's own limit
_PROXY_VERSION = "1.0"
_VERSION = (3, 11)
_TOO_LONG = "The function produced a response that exceeded the allowed length: {} > {} bytes."


class NotBuilt(Exception):
    """A function lists what is not there; the text is one line and says what to do."""


class Isolation(AbstractContextManager["Isolation"]):
    """Makes functions that run isolated; owns their processes and files until `close`."""

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        *,
        policy: Policy | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Functions get what project.yml declares for them, with values of `environment`; callers wait `wait_seconds`.

        Raises NotBuilt without a Python of the version that the functions are built for.
        """
        self._environment = environment
        self.wait_seconds = wait_seconds
        self._python = _interpreter()
        self.pool = Pool(policy)
        self._store = Store(self.pool.folder / "code")

    def __call__(self, function: Function) -> "Isolated":
        """Unpack a function. Raises NotBuilt."""
        with building(shared=True):
            code = self._store.unpack(function.path, _files(function))
        environment = _given(function.environment, self._environment)
        route = f"{function.package}/{function.name}"
        plan = Plan(route, code, environment, function.memory_mb * 1_048_576, function.logs_kb * 1_024, self._python)
        return Isolated(function.package, function.name, function.timeout_ms, plan, self)

    def close(self) -> None:
        """End all processes, whatever they do, and remove all files."""
        self.pool.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self


class Isolated:
    """One function, to be called; see serving.loader.Loaded for the same in this process."""

    def __init__(self, package: str, name: str, timeout_ms: int, plan: Plan, isolation: Isolation) -> None:
        """Use Isolation instead."""
        self.package = package
        self.name = name
        self.timeout_ms = timeout_ms
        self.plan = plan
        self._isolation = isolation
        self._pool = isolation.pool

    def context(self) -> Context:
        """The context of a call that starts now."""
        return context_of(self.package, self.name, self.timeout_ms)

    def call(self, event: dict[str, Any], context: Context) -> dict[str, Any]:
        """The result as the platform sees it. Raises PlatformError where it would answer in the function's place."""
        until = time.monotonic() + self._isolation.wait_seconds
        values = _values(context)
        environment = {f"__OW_{name.upper()}": value for name, value in values.items()}
        waits = {"__OW_WAIT_FOR_ACK": "true", "__OW_PROXY_VERSION": _PROXY_VERSION}
        worker = self._pool.take(self.plan, {**environment, **waits}, until)
        activation = _Activation(worker, event, values, self.timeout_ms)
        result = self._go_on(activation, until)
        if result is None:
            threading.Thread(target=self._finish, args=(activation,), daemon=True).start()
            raise PlatformError(202, NOT_READY)
        return result

    def _go_on(self, activation: "_Activation", until: float) -> dict[str, Any] | None:
        """The result, the worker given back; None when it takes longer. Raises PlatformError."""
        worker = activation.worker
        try:
            line = activation.go_on(until)
            if line is None:
                return None
            worker.end_call()
            too_long = len(line) > RESULT_BYTES
            result = {} if too_long else _object(line)
        except BaseException as error:
            self._pool.lose(self.plan, worker)
            if isinstance(error, WorkerLost):
                self._complain(str(error))
                raise PlatformError(400, PROCESSING) from error
            raise
        self._pool.give(self.plan, worker)
        if too_long:
            self._complain(_TOO_LONG.format(len(line), RESULT_BYTES))
            raise PlatformError(400, BAD_MESSAGE)
        return result

    def _finish(self, activation: "_Activation") -> None:
        """Let a function go on whose caller has been sent away."""
        with suppress(PlatformError):
            self._go_on(activation, math.inf)

    def _complain(self, text: str) -> None:
        print(f"{self.plan.route}: {text}", file=sys.stderr, flush=True)


def _interpreter(version: tuple[int, ...] = sys.version_info[:2]) -> str:
    """Python 3.11: this one, or one on PATH."""
    if version == _VERSION:
        return sys.executable
    found = shutil.which("python3.11")
    if found is None:
        raise NotBuilt("the isolated mode needs python3.11 on PATH: that is what functions are built for")
    return found


def _given(declared: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """What a function finds in its environment; what lacks a value, or is empty, is left out: nobody can deploy it."""
    from ops.deployer_template import render  # here: the container does without

    found = {name: render(text, values, ROOT) for name, text in declared.items()}
    return {name: one.text for name, one in found.items() if one.text and not one.unresolved}


def _files(function: Function) -> dict[str, Path]:
    """What the function's zip holds: each name, and the file it comes from. Raises NotBuilt."""
    if not (function.path / ".include").is_file():
        return unlisted(function.path)
    from ops.package import PackageError, contents  # here: the container does without what packing needs

    try:
        return contents(cast("Declared", function))
    except PackageError as error:
        raise NotBuilt(str(error)) from error


class _Activation:
    """One call on one worker, which can be waited for in several goes."""

    def __init__(self, worker: Worker, event: dict[str, Any], values: dict[str, str], timeout_ms: int) -> None:
        self.worker = worker
        self._event = event
        self._values = values
        self._timeout_ms = timeout_ms
        self._init_ms = max(_INIT_MS, timeout_ms)
        self._init_until = time.monotonic() + self._init_ms / 1_000
        self._run_until: float | None = None

    def go_on(self, until: float) -> bytes | None:
        """The line of the result; None when it has not come at `until`. Raises WorkerLost, out of time too."""
        if self._run_until is None:
            if not self.worker.is_ready(min(until, self._init_until)):
                self._check(self._init_until, f"{self._init_ms} milliseconds during initialization")
                return None
            self._run_until = time.monotonic() + self._timeout_ms / 1_000
            deadline = str(int(time.time() * 1_000) + self._timeout_ms)
            call = {"value": self._event, **self._values, "deadline": deadline}
            self.worker.send(json.dumps(call).encode())
        line = self.worker.receive(min(until, self._run_until))
        if line is None:
            self._check(self._run_until, f"{self._timeout_ms} milliseconds")
        return line

    @staticmethod
    def _check(deadline: float, limit: str) -> None:
        if time.monotonic() >= deadline:
            raise WorkerLost(f"The function exceeded its time limits of {limit}.")


def _values(context: Context) -> dict[str, str]:
    """What the platform tells of a call, under the names it has in `__OW_*`."""
    return {
        "api_host": context.api_host,
        "namespace": context.namespace,
        "action_name": context.function_name,
        "action_version": context.function_version,
        "activation_id": context.activation_id,
        "transaction_id": context.request_id,
        "deadline": str(context.deadline),
    }


def _object(line: bytes) -> dict[str, Any]:
    """The dictionary in a line of results. Raises WorkerLost for anything else, NaN and Infinity in it too."""
    try:
        result = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        result = None
    if not isinstance(result, dict):
        raise WorkerLost("The function did not return a dictionary.")
    return result


def _refuse(name: str) -> None:
    raise ValueError(name)
