"""One process that runs one function: started, called, frozen and thawed, watched, thrown away."""

import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.logs import Logs, Stream
from serving.unpack import Code

LAUNCHER = Path(__file__).with_name("launcher.py")
SECOND_PATH = "LOG_DESTINATIONS"
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_READY = {"ok": True}
_CHUNK = 65_536
_WATCH_SECONDS = 0.02
_OPEN_FILES = 1_024
_PAGE = resource.getpagesize()
_MS = 1_000


class WorkerLost(Exception):
    """The worker cannot be used any more: it ended, or did what the platform ends it for. The text says what."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How the workers of one function are made, and what they may use: bytes of memory, bytes of logs a call."""

    route: str
    code: Code
    environment: Mapping[str, str]
    memory: int
    logs: int
    python: str = sys.executable


class Worker:
    """See `start`. Not for two threads at once."""

    def __init__(self, plan: Plan, folder: Path, process: "subprocess.Popen[bytes]", results: int) -> None:
        """Use `start` instead."""
        self.ready = False
        self._plan = plan
        self._folder = folder
        self._process = process
        self._results = results
        self._logs = Logs(plan.logs)
        self._received = bytearray()
        self._unsent = memoryview(b"")
        self._pipes = [pipe for pipe in (process.stdin, process.stdout, process.stderr) if pipe]
        self._calls, out, error = (pipe.fileno() for pipe in self._pipes)
        self._streams: dict[int, Stream] = {out: "stdout", error: "stderr"}
        self._poll = select.poll()
        for descriptor in (self._results, *self._streams):
            self._poll.register(descriptor, select.POLLIN)
        for descriptor in (self._results, self._calls, *self._streams):
            os.set_blocking(descriptor, False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether its process has not ended."""
        return self._process.poll() is None

    def freeze(self) -> None:
        """Stop it where it is, until `thaw`."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def send(self, call: bytes) -> None:
        """Hand a call over; `receive` moves it and waits for its result."""
        self._unsent = memoryview(call + b"\n")
        self._write()
        if self._unsent:
            self._poll.register(self._calls, select.POLLOUT)

    def receive(self, until: float) -> bytes | None:
        """The next line of results; None when it has not come at that time of the monotonic clock.

        Raises WorkerLost when the process has ended, or holds more memory than it may.
        """
        is_last = False
        while (line := self._line()) is None:
            if is_last:
                return None
            left = until - time.monotonic()
            is_last = left <= 0  # what has come counts: it may be us who were held up
            ready = self._poll.poll(max(0.0, min(left, _WATCH_SECONDS)) * _MS)
            if not ready:
                self._watch_memory()
            for descriptor, _ in ready:
                self._move(descriptor)
        self._watch_memory()
        return line

    def is_ready(self, until: float) -> bool:
        """Wait for its word that the function is imported; False when it has not come. Raises WorkerLost."""
        if not self.ready:
            line = self.receive(until)
            if line is None:
                return False
            if not is_json(line, _READY):
                raise WorkerLost("The function did not initialize properly.")
            self.ready = True
        return True

    def end_call(self) -> None:
        """Pass on all it printed until now."""
        for descriptor in list(self._streams):
            while self._read_log(descriptor):
                pass
        self._logs.end_call()

    def discard(self) -> None:
        """End it, whatever it does, pass on what it said last, and remove its files."""
        self._process.kill()
        self._process.wait()
        self.end_call()
        os.close(self._results)
        for pipe in self._pipes:
            pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _line(self) -> bytes | None:
        line, newline, rest = self._received.partition(b"\n")
        if not newline:
            return None
        self._received = rest
        return bytes(line)

    def _move(self, descriptor: int) -> None:
        """Whatever this pipe is ready for."""
        if descriptor in self._streams:
            self._read_log(descriptor)
        elif descriptor == self._calls:
            self._write()
            if not self._unsent:
                self._poll.unregister(self._calls)
        else:
            chunk = os.read(self._results, _CHUNK)
            if not chunk:
                raise WorkerLost(_ENDED if self.ready else _NOT_STARTED)
            self._received += chunk

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._calls, self._unsent) :]
        except BrokenPipeError:
            self._unsent = memoryview(b"")  # its end shows on the other pipes

    def _read_log(self, descriptor: int) -> bool:
        """Pass on what the stream has; False when that is nothing."""
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if chunk:
            self._logs.feed(self._streams[descriptor], chunk)
        else:
            self._poll.unregister(descriptor)
            del self._streams[descriptor]
        return bool(chunk)

    def _watch_memory(self) -> None:
        if self._plan.code.size + anonymous_bytes(self.pid) > self._plan.memory:
            raise WorkerLost("The function exhausted its memory and was aborted.")


_ENDED = "The function did not produce a valid response and exited unexpectedly."
_NOT_STARTED = "The function did not initialize and exited unexpectedly."


def start(plan: Plan, folder: Path, group: int, values: Mapping[str, str]) -> Worker:
    """Start a worker in a folder that does not exist yet, in that process group, with these `__OW_*` values.

    With LOG_DESTINATIONS among its variables it starts as a script in its own folder, which then comes first on the
    import path. Raises OSError when the process cannot be made.
    """
    forwards_logs = SECOND_PATH in plan.environment
    code = folder / ("action/1" if forwards_logs else "code")
    home = folder / "tmp"
    home.mkdir(parents=True)
    plan.code.lay_out(code)
    command = [plan.python, "-I", "-S", str(LAUNCHER)]
    if forwards_logs:
        script = code / "exec__.py"
        shutil.copyfile(LAUNCHER, script)
        command = [plan.python, "-E", "-s", "-S", str(script)]
    places = {"PATH": _PATH, "HOME": str(home), "TMPDIR": str(home)}
    results, theirs = os.pipe()
    try:
        process = subprocess.Popen(
            [*command, str(theirs)],
            cwd=code,
            env={**places, **plan.environment, **values},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=[theirs],
            process_group=group,
        )
    except OSError:
        os.close(results)
        shutil.rmtree(folder)
        raise
    finally:
        os.close(theirs)
    _limit_files(process.pid)
    return Worker(plan, folder, process, results)


def anonymous_bytes(pid: int) -> int:
    """Memory of its own that a process holds: what is mapped from files is counted with the unpacked code.

    0 where the system does not tell (not Linux), or the process is gone.
    """
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as statm:  # noqa: PTH123 - read once a call: the fast way
            numbers = statm.read().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(numbers[1]) - int(numbers[2])) * _PAGE if numbers else 0


def is_json(line: bytes, wanted: Any) -> bool:
    """Whether the line says exactly this."""
    try:
        return bool(json.loads(line) == wanted)
    except (ValueError, RecursionError):
        return False


def _limit_files(pid: int) -> None:
    if sys.platform == "linux":  # pragma: no branch
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = _OPEN_FILES if most == resource.RLIM_INFINITY else min(_OPEN_FILES, most)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, files))
