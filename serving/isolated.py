"""Run functions as the platform does: built, each in processes of its own, within its limits, with its answers."""

import json
import math
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Self

from serving.answer import BAD_MESSAGE, PROCESSING, PlatformError
from serving.gateway import Function
from serving.loader import RESULT_BYTES, Context, context_of
from serving.pool import Policy, Pool
from serving.unpack import Store, unlisted
from serving.worker import Plan, Worker, WorkerLost

NOT_READY = "Response not yet ready."
WAIT_SECONDS = 30.0
INIT_SECONDS = 10.0
_PROXY_VERSION = "1.0"


class Isolation(AbstractContextManager["Isolation"]):
    """Makes functions that run isolated; owns their processes and files until `close`."""

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        *,
        policy: Policy | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Functions get from `environment` what project.yml declares for them; callers wait `wait_seconds`."""
        self._environment = environment
        self._wait_seconds = wait_seconds
        self.pool = Pool(policy)
        self._store = Store(self.pool.folder / "code")

    def __call__(self, function: Function) -> "Isolated":
        """Unpack a function. Raises ops.package.PackageError when what it lists has not been built."""
        from ops.package import contents  # here, so that the container does without what packing needs

        listed = (function.path / ".include").is_file()
        code = self._store.unpack(function.path, contents(function) if listed else unlisted(function.path))
        given = {name: self._environment.get(name, "") for name in function.environment}
        environment = {name: value for name, value in given.items() if value}  # the deployer knows no empty ones
        plan = Plan(code, environment, memory=function.memory_mb * 1_048_576, logs=function.logs_kb * 1_024)
        return Isolated(function.package, function.name, function.timeout_ms, plan, self)

    def close(self) -> None:
        """End all processes, whatever they do, and remove all files."""
        self.pool.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def wait_seconds(self) -> float:
        """How long a caller waits for an answer."""
        return self._wait_seconds

    def __enter__(self) -> Self:
        return self


class Isolated:
    """One function, to be called; see serving.loader.Loaded for the same in this process."""

    def __init__(self, package: str, name: str, timeout_ms: int, plan: Plan, isolation: Isolation) -> None:
        """Use Isolation instead."""
        self.package = package
        self.name = name
        self.timeout_ms = timeout_ms
        self._plan = plan
        self._isolation = isolation
        self._pool = isolation.pool

    @property
    def route(self) -> str:
        """`package/name`."""
        return f"{self.package}/{self.name}"

    def context(self) -> Context:
        """The context of a call that starts now."""
        return context_of(self.package, self.name, self.timeout_ms)

    def call(self, event: dict[str, Any], context: Context) -> dict[str, Any]:
        """The result as the platform sees it. Raises PlatformError where it would answer in the function's place."""
        until = time.monotonic() + self._isolation.wait_seconds
        values = _values(context)
        environment = {f"__OW_{name.upper()}": value for name, value in values.items()}
        waits = {"__OW_WAIT_FOR_ACK": "true", "__OW_PROXY_VERSION": _PROXY_VERSION}
        worker = self._pool.take(self.route, self._plan, {**environment, **waits}, until)
        activation = _Activation(worker, event, values, self.timeout_ms)
        line = self._line(activation, until)
        if line is None:
            threading.Thread(target=self._line, args=(activation, math.inf), daemon=True).start()
            raise PlatformError(202, NOT_READY)
        return self._result(line)

    def _line(self, activation: "_Activation", until: float) -> bytes | None:
        """The result; None when it takes longer. The worker is given back or lost. Raises PlatformError."""
        worker = activation.worker
        try:
            line = activation.go_on(until)
            if line is None:
                return None
            worker.end_call()
            if not _is_object(line):
                raise WorkerLost("The function did not return a dictionary.")
        except WorkerLost as lost:
            self._pool.lose(self.route, worker)
            self._complain(str(lost))
            raise PlatformError(400, PROCESSING) from lost
        except BaseException:
            self._pool.lose(self.route, worker)
            raise
        self._pool.give(self.route, worker)
        return line

    def _result(self, line: bytes) -> dict[str, Any]:
        if len(line) > RESULT_BYTES:
            self._complain(
                f"The function produced a response that exceeded the allowed length: {len(line)} > {RESULT_BYTES} bytes."
            )
            raise PlatformError(400, BAD_MESSAGE)
        result: dict[str, Any] = json.loads(line)
        return result

    def _complain(self, text: str) -> None:
        print(f"{self.route}: {text}", file=sys.stderr, flush=True)
