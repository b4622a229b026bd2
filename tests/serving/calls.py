"""Call functions that run isolated, break them, and look at their processes."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.answer import PlatformError
from serving.isolated import Isolated
from serving.worker import Worker

Add = Callable[..., Isolated]
PID = "import os\ndef main():\n    return {'pid': os.getpid()}\n"
# Does what the event says, so that one function can be broken and then be asked again.
OBEDIENT = """
import os, sys, time
def main(given):
    global event
    event = given
    exec(event.get("do", ""), globals())
    return {"pid": os.getpid(), **event.get("give", {})}
"""


def call(function: Isolated, **event: Any) -> dict[str, Any]:
    """One call."""
    return function.call(event, function.context())


def refused(function: Isolated, **event: Any) -> tuple[int, str]:
    """What the platform answers in the function's place."""
    with pytest.raises(PlatformError) as caught:
        call(function, **event)
    return caught.value.status, caught.value.text


def idle(function: Isolated) -> list[Worker]:
    """Its workers that wait, the one that serves next last."""
    return function._pool.workers(function.plan)


def state(pid: int) -> str:
    """The process's state: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def waiting_for(file: Path) -> str:
    """What the event says to a function that is to go on until the test has made the file."""
    return f"while not os.path.exists({str(file)!r}): time.sleep(0.01)"


def in_background(function: Isolated, **event: Any) -> tuple[threading.Thread, list[dict[str, Any]]]:
    """Start a call; its result is in the list once the thread has ended."""
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(call(function, **event)))
    thread.start()
    return thread, results
