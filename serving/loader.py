"""Import a function's `__main__.py` once and call its `main` as the Python runtime of the platform does."""

import importlib.util
import json
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from serving.answer import BAD_MESSAGE, PROCESSING, PlatformError

RESULT_BYTES = 1_048_576
# One import at a time, whichever function it is for: where two threads meet in a circle, as in pymongo, one fails.
_IMPORTING = threading.Lock()
_NAMESPACE = "fn-00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Context:
    """The second argument of `main`: who is called, under which ids, until when (`deadline` in ms since the epoch)."""

    function_name: str
    deadline: int
    activation_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    function_version: str = "0.0.1"
    api_host: str = "http://localhost"
    api_key: str = ""
    namespace: str = _NAMESPACE

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the deadline, never negative."""
        return max(0, self.deadline - int(time.time() * 1000))


def context_of(package: str, name: str, timeout_ms: int) -> Context:
    """The context of a call of that function that starts now."""
    return Context(function_name=f"/{_NAMESPACE}/{package}/{name}", deadline=int(time.time() * 1000) + timeout_ms)


class Loaded:
    """One function: imported on its first call, and again on the next one when that failed."""

    def __init__(self, package: str, name: str, folder: Path, timeout_ms: int) -> None:
        self.package = package
        self.name = name
        self.timeout_ms = timeout_ms
        self._source = folder / "__main__.py"
        self._main: Callable[..., Any] | None = None

    def context(self) -> Context:
        """The context of a call that starts now."""
        return context_of(self.package, self.name, self.timeout_ms)

    def call(self, event: dict[str, Any], context: Context) -> dict[str, Any]:
        """The result as the platform sees it. Raises PlatformError where it would answer in the function's place."""
        main = self.main()
        try:
            result = _invoke(main, event, context)
        except Exception as error:
            traceback.print_exc()
            raise PlatformError(400, BAD_MESSAGE) from error
        except SystemExit as error:
            _complain(f"{self.package}/{self.name}: command exited")
            raise PlatformError(400, PROCESSING) from error
        return self._checked(result)

    def main(self) -> Callable[..., Any]:
        """The function's `main`. Raises PlatformError when its module cannot be imported or has none."""
        if self._main is not None:
            return self._main
        with _IMPORTING:
            if self._main is None:
                try:
                    self._main = self._import().main
                except (Exception, SystemExit) as error:
                    traceback.print_exc()
                    _complain(f"{self.package}/{self.name}: the function did not initialize properly.")
                    raise PlatformError(400, PROCESSING) from error
            return self._main

    def _import(self) -> ModuleType:
        """The module under a name of its own: every function's file is called `__main__`."""
        unique = f"functions.{self.package}.{self.name}.{abs(hash(self._source)):x}"
        spec = importlib.util.spec_from_file_location(unique, self._source)
        if spec is None or spec.loader is None:  # pragma: no cover - a path that ends in .py always has a loader
            raise ImportError(self._source)
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[unique]
            raise
        return module

    def _checked(self, result: Any) -> dict[str, Any]:
        """The result after its way through JSON: a dictionary of at most 1 MB."""
        if not result:
            return {}
        if not isinstance(result, dict):
            _complain(f"{self.package}/{self.name}: the function did not return a dictionary")
            raise PlatformError(400, PROCESSING)
        try:
            text = json.dumps(result, allow_nan=False, ensure_ascii=False)
            size = len(text.encode())
        except (TypeError, ValueError, RecursionError) as error:
            _complain(f"{self.package}/{self.name}: the result is not JSON: {error}")
            raise PlatformError(400, PROCESSING) from error
        if size > RESULT_BYTES:
            _complain(f"{self.package}/{self.name}: the response exceeded the allowed length: {size} > {RESULT_BYTES}")
            raise PlatformError(400, BAD_MESSAGE)
        plain: dict[str, Any] = json.loads(text)
        return plain


def _invoke(main: Callable[..., Any], event: dict[str, Any], context: Context) -> Any:
    """With as many arguments as its code says, not counting `*args`."""
    arguments = (event, context)[: main.__code__.co_argcount]
    return main(*arguments)


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
