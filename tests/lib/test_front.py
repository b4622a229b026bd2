"""The front of a function: what it refuses before a handler is imported, and how a handler is."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from getsmart import front
from tests.support import event

CONTEXT = SimpleNamespace(function_name="/namespace/some/thing")

# Says when its import begins and ends.
HANDLER = """
import time
from getsmart.replies import success
from getsmart.web import endpoint
from tests.lib.test_front import imports

imports.append(1)
time.sleep(0.2)
imports.append(-1)


@endpoint("GET")
def main(request):
    return success(200, len(imports), "ok")
"""
imports: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_imported() -> None:
    imports.clear()


def function(folder: Path, handler: str = HANDLER) -> Any:
    """The main of a function with that handler."""
    folder.mkdir()
    (folder / "handler.py").write_text(handler)
    return front.function(str(folder / "__main__.py"), GET=front.NOTHING)


def test_functions_of_one_process_are_imported_one_at_a_time(tmp_path: Path) -> None:
    """Where two threads import what imports each other, as pymongo's modules do, one of them would fail."""
    mains = [function(tmp_path / name) for name in ("a", "b", "c")]
    together = threading.Barrier(3)

    def call(main: Any) -> int:
        together.wait(5)
        return int(main(event("GET"), CONTEXT)["statusCode"])

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(call, mains)) == [200, 200, 200]
    assert imports == [1, -1] * 3


def test_a_handler_is_imported_once_and_by_no_refusal(tmp_path: Path) -> None:
    """A method that it does not answer, and a body that cannot be read, are refused without it."""
    main = function(tmp_path / "a")
    assert main(event("PUT"), CONTEXT)["statusCode"] == 405
    assert main(event("GET", body="!", is_base64=True), CONTEXT)["statusCode"] == 400
    assert imports == []
    assert [main(event("GET"), CONTEXT)["statusCode"] for _ in range(2)] == [200, 200]
    assert imports == [1, -1]


def test_a_handler_that_cannot_be_imported_is_an_error_of_ours_each_time(tmp_path: Path) -> None:
    """500, logged, and tried anew by the next call: what is missing may have been put right."""
    main = function(tmp_path / "broken", "raise RuntimeError('no such thing')\n")
    assert main(event("GET"), CONTEXT)["statusCode"] == 500
    (tmp_path / "broken" / "handler.py").write_text(HANDLER)
    assert main(event("GET"), CONTEXT)["statusCode"] == 200
