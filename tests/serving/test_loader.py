"""How functions are imported when the first calls come all at once."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest

from serving.loader import Loaded

CODE = """
    import sys, time
    watch = sys.modules["import_watch"]
    watch.now += 1
    watch.most = max(watch.most, watch.now)
    time.sleep(0.02)
    watch.now -= 1

    def main(event, context):
        return {"body": "here"}
"""


class Watch:
    """How many imports run now, and how many ever ran at once."""

    now = 0
    most = 0


def test_functions_are_imported_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads in one library's circle of imports would leave one of them with half a module."""
    watch = Watch()
    monkeypatch.setitem(sys.modules, "import_watch", watch)
    functions = []
    for number in range(6):
        folder = tmp_path / f"f{number}"
        folder.mkdir()
        (folder / "__main__.py").write_text(dedent(CODE))
        functions.append(Loaded("shop", f"f{number}", folder, 3_000))
    start = threading.Barrier(6)

    def call(function: Loaded) -> object:
        start.wait()
        return function.call({}, function.context())

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(call, functions)) == [{"body": "here"}] * 6
    assert watch.most == 1
