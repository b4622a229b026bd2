"""A sandbox a test, on the test's own folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.sandbox import Sandbox
from tests.local.sandbox.support import Caller


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Caller]]:
    """Start sandboxes on the test's folder with given options; all end with the test."""
    started: list[tuple[Sandbox, Caller]] = []

    def run(**options: Any) -> Caller:
        sandbox = Sandbox(options.pop("data", tmp_path / "data"), **options).start()
        caller = Caller(sandbox.facts() | {"app_id": sandbox.app_id})
        started.append((sandbox, caller))
        return caller

    yield run
    for sandbox, caller in started:
        caller.close()
        sandbox.stop()


@pytest.fixture
def caller(start: Callable[..., Caller]) -> Caller:
    """A caller of a sandbox that mines 2 s after a call, by its own clock."""
    return start()
