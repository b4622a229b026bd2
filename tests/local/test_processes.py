"""Children end with their owner, whatever happens to it."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from local import processes
from local.processes import ChildFailed
from tests.local.programs import ROOT, alive, eventually

# Prints its own id and that of a child of its own, then waits for ever.
FAMILY = """
import os, subprocess, sys, time
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), inner.pid, flush=True)
time.sleep(600)
"""


def python(code: str) -> list[str]:
    """The command line that runs the code."""
    return [sys.executable, "-c", textwrap.dedent(code)]


def test_an_announcement_tells_that_a_child_is_ready_and_the_rest_is_logged(tmp_path: Path) -> None:
    """What a child prints on stdout and stderr stands in its log, but for the first line, which may hold a key."""
    code = "import sys; print('ready', flush=True); print('then'); print('oops', file=sys.stderr)"
    child = processes.start("echo", python(code), log=tmp_path / "logs" / "echo.log", announces=True)
    assert child.announcement(5) == "ready"
    assert child.exited.wait(5)
    assert child.status == 0
    assert eventually(lambda: sorted(child.tail()) == ["oops", "then"])
    child.stop()


def test_a_child_that_does_not_become_ready_is_named_with_its_last_words(tmp_path: Path) -> None:
    """An early end and a missing first line are both ChildFailed: name, exit status, last log lines."""
    failing = processes.start(
        "broken", python("raise SystemExit('no such thing')"), log=tmp_path / "a.log", announces=True
    )
    with pytest.raises(ChildFailed, match=r"broken did not start \(exit status 1\)\n  \| no such thing"):
        failing.announcement(5)
    silent = processes.start("silent", python("import time; time.sleep(600)"), log=tmp_path / "b.log", announces=True)
    with pytest.raises(ChildFailed, match=r"silent was not ready after 0\.05 s"):
        silent.announcement(0.05)
    silent.kill()
    assert silent.status == 128 + signal.SIGKILL
    (tmp_path / "b.log").unlink()
    assert silent.obituary() == "silent ended by itself (exit status 137)"


def test_a_command_that_does_not_exist_fails_by_name(tmp_path: Path) -> None:
    """The log of a command that cannot be run names it."""
    child = processes.start("ghost", ["/no/such/command"], log=tmp_path / "ghost.log", announces=True)
    with pytest.raises(ChildFailed, match="/no/such/command"):
        child.announcement(5)


def test_stop_is_polite_first(tmp_path: Path) -> None:
    """SIGTERM reaches the command, which may end in its own way and time."""
    code = """
        import signal, sys, time
        def leave(number, frame):
            print("tidying"); sys.exit(7)
        signal.signal(signal.SIGTERM, leave)
        print("ready", flush=True)
        time.sleep(600)
    """
    child = processes.start("polite", python(code), log=tmp_path / "polite.log", announces=True)
    seen: list[int | None] = []
    child.when_exited(lambda ended: seen.append(ended.status))
    child.announcement(5)
    child.stop()
    assert child.status == 7
    assert eventually(lambda: child.tail() == ["tidying"])
    assert eventually(lambda: seen == [7])
    child.stop()  # again: nothing left to do


def test_stop_kills_what_does_not_obey_with_all_it_started(tmp_path: Path) -> None:
    """A command that ignores SIGTERM is killed after the grace time, its own children too."""
    code = "import signal; signal.signal(15, signal.SIG_IGN)" + FAMILY
    child = processes.start("deaf", python(code), log=tmp_path / "log", announces=True)
    family = [int(pid) for pid in child.announcement(5).split()]
    child.stop(grace_seconds=0.1)
    assert child.status == 128 + signal.SIGKILL
    assert eventually(lambda: not any(map(alive, family)))


def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    """When a command ends by itself, processes of its group that it started do not linger."""
    code = FAMILY.rpartition("time.sleep(600)")[0]
    child = processes.start("careless", python(code), log=tmp_path / "log", announces=True)
    _, inner = (int(pid) for pid in child.announcement(5).split())
    assert child.exited.wait(5)
    assert child.status == 0
    assert eventually(lambda: not alive(inner))


@pytest.mark.parametrize("victim", ["owner", "leash"])
def test_nothing_outlives_a_kill_9(tmp_path: Path, victim: str) -> None:
    """After kill -9 of the owner, or of the leash between, the command and its children are gone within seconds."""
    owner_code = f"""
        import time
        from pathlib import Path
        from local import processes
        child = processes.start("family", {python(FAMILY)!r}, log=Path({str(tmp_path / "log")!r}), announces=True)
        print(child._leash.pid, child.announcement(5), flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(python(owner_code), cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        leash, command, inner = (int(pid) for pid in owner.stdout.readline().split())
        # Linux kills the command with its leash; what the command started itself ends only with the owner.
        mourners = [leash, command, inner] if victim == "owner" else [leash, command]
        os.kill(owner.pid if victim == "owner" else leash, signal.SIGKILL)
        gone = eventually(lambda: not any(map(alive, mourners)), seconds=10.0)
        owner.kill()
        if alive(inner):
            os.kill(inner, signal.SIGKILL)
    assert gone
