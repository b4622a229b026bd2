"""Run one command that cannot outlive the process that asked for it.

Started by `local.processes` as `python leash.py FD COMMAND...`: FD is the read end of a pipe whose write end only the
owner holds. When it closes, whether by order or because the owner was killed, the command's whole process group is
killed. Standard library only and no project import, so that it starts in a few milliseconds.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

_PR_SET_PDEATHSIG = 1


def _before_exec() -> None:  # pragma: no cover - what runs between fork and exec cannot be seen
    """In the child: take SIGTERM again, and have Linux kill it too when the leash itself is killed."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill_when_closed(descriptor: int, group: int) -> None:
    """Block until the owner's end of the pipe is gone, then kill the group; `main` then sees the child exit."""
    os.read(descriptor, 1)
    _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    """Signal every process of the group; one that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def main(arguments: list[str]) -> int:
    """Start the command in its own process group; return its exit status (128 + n when signal n ended it)."""
    descriptor, command = int(arguments[0]), arguments[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # one that comes before there is a child waits
    child = subprocess.Popen(command, process_group=0, preexec_fn=_before_exec)  # noqa: PLW1509 - no thread yet

    def pass_on(number: int, _frame: FrameType | None) -> None:
        _signal_group(child.pid, number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_kill_when_closed, args=(descriptor, child.pid), daemon=True).start()
    status = child.wait()
    _signal_group(child.pid, signal.SIGKILL)  # what it started and left behind
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
