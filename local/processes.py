"""Child processes that never outlive their owner, not even when it is killed with signal 9."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

_LEASH = Path(__file__).with_name("leash.py")
_TAIL_LINES = 12
_KILL_SECONDS = 5.0


class ChildFailed(Exception):
    """A child could not be started or ended by itself; the text names it and ends with its last log lines."""


class Child:
    """One running command on a leash: see `start`."""

    def __init__(self, name: str, log: Path, leash: subprocess.Popen[bytes], rope: int) -> None:
        """Use `start` instead."""
        self.name = name
        self.log = log
        self.exited = threading.Event()
        self._leash = leash
        self._rope = rope
        self._announcement: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._watch, name=f"{name}-watch", daemon=True).start()
        if leash.stdout is not None:
            threading.Thread(target=self._pump, args=(leash.stdout,), name=f"{name}-log", daemon=True).start()

    @property
    def leash_pid(self) -> int:
        """The process that holds it; what was started is its child."""
        return self._leash.pid

    @property
    def status(self) -> int | None:
        """Exit status once it has ended (128 + n when signal n ended it), else None."""
        if not self.exited.is_set():
            return None
        status = self._leash.returncode
        return status if status >= 0 else 128 - status

    def announcement(self, seconds: float) -> str:
        """The line that says it is ready. Raises ChildFailed when none comes."""
        try:
            line = self._announcement.get(timeout=seconds)
        except queue.Empty:
            raise ChildFailed(self._with_tail(f"{self.name} was not ready after {seconds:g} s")) from None
        if not line:
            self.exited.wait(_KILL_SECONDS)
            raise ChildFailed(self.obituary("did not start"))
        return line.decode("utf-8", "replace").rstrip("\n")

    def when_exited(self, callback: Callable[["Child"], None]) -> None:
        """Call `callback`, in another thread, when it has ended, whatever the reason; soon if it has already."""

        def wait() -> None:
            self.exited.wait()
            callback(self)

        threading.Thread(target=wait, name=f"{self.name}-exit", daemon=True).start()

    def obituary(self, fact: str = "ended by itself") -> str:
        """One clear line with the exit status, and its last log lines."""
        return self._with_tail(f"{self.name} {fact} (exit status {self.status})")

    def tail(self) -> list[str]:
        """The last lines it logged."""
        if not self.log.exists():
            return []
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Ask it to end (SIGTERM), kill what is left of it after the grace time, and return when it is gone."""
        self.terminate()
        self.exited.wait(grace_seconds)
        self.kill()

    def terminate(self) -> None:
        """Ask it to end and return at once."""
        if not self.exited.is_set():
            self._leash.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, with everything it started."""
        rope, self._rope = self._rope, -1
        if rope >= 0:
            os.close(rope)
        if not self.exited.wait(_KILL_SECONDS):  # pragma: no cover - only a stopped leash does not obey its pipe
            self._leash.kill()

    def _with_tail(self, line: str) -> str:
        return "\n".join([line, *(f"  | {entry}" for entry in self.tail())])

    def _watch(self) -> None:
        self._leash.wait()
        self.exited.set()

    def _pump(self, source: BinaryIO) -> None:
        """Hand the first line over, copy the rest to the log as it comes."""
        with source, self.log.open("ab", buffering=0) as log:
            self._announcement.put(source.readline())
            log.writelines(source)


def start(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    announces: bool = False,
) -> Child:
    """Start `command` in a process group of its own, so that Ctrl-C reaches only us; both its outputs go to `log`.

    The first line of one that `announces` is for `announcement` alone and not logged: it may hold keys.
    """
    read_end, rope = os.pipe()
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    try:
        with log.open("ab") as log_file:
            leash = subprocess.Popen(
                [sys.executable, "-I", str(_LEASH), str(read_end), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if announces else log_file,
                stderr=log_file,
                env=None if environment is None else dict(environment),
                pass_fds=[read_end],
                process_group=0,
            )
    finally:
        os.close(read_end)
    return Child(name, log, leash, rope)
