"""Workers serve one call at a time, stay warm, are frozen in between, and never outlive the gateway."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.answer import PROCESSING
from serving.isolated import Isolation
from serving.pool import WARDEN, Policy
from tests.local import programs
from tests.local.programs import alive, eventually
from tests.serving.calls import OBEDIENT, PID, Add, call, idle, in_background, refused, state, waiting_for
from tests.serving.conftest import Project

# --- one request at a time, warm, frozen --------------------------------------------------------------------------


def test_a_worker_serves_one_call_after_the_other(add: Add, tmp_path: Path) -> None:
    """Globals and files live on; a call while it is busy has another worker."""
    function = add()
    first = call(function, do="kept = 1")
    assert call(function, do="assert kept == 1")["pid"] == first["pid"]
    may_end = tmp_path / "may_end"
    thread, results = in_background(function, do=waiting_for(may_end))
    assert eventually(lambda: not idle(function))
    other = call(function)["pid"]
    may_end.touch()
    thread.join(60)
    assert results[0]["pid"] == first["pid"] != other


def test_the_most_recently_used_worker_is_first(add: Add, tmp_path: Path) -> None:
    """And of those that wait no more than so many stay."""
    function = add()
    begun, may_end = tmp_path / "begun", tmp_path / "may_end"
    begun.mkdir()
    do = f"open(f'{begun}/{{os.getpid()}}', 'w')\n{waiting_for(may_end)}"
    calls = [in_background(function, do=do) for _ in range(6)]
    assert eventually(lambda: len(list(begun.iterdir())) == 6)
    may_end.touch()
    for thread, _ in calls:
        thread.join(60)
    pids = {results[0]["pid"] for _, results in calls}
    waiting = [one.pid for one in idle(function)]
    assert (len(pids), len(waiting)) == (6, 4)
    assert [call(function)["pid"] for _ in range(2)] == [waiting[-1]] * 2
    assert eventually(lambda: sum(map(alive, pids)) == 4)


def test_an_idle_worker_is_frozen_and_thawed(add: Add, tmp_path: Path) -> None:
    """150 ms after its answer it stops, threads and all; the next call wakes it."""
    ticks = tmp_path / "ticks"
    tick = f"while True:\n    open({str(ticks)!r}, 'a').write('x')\n    time.sleep(0.005)"
    function = add()
    pid = call(function)["pid"]
    began = time.monotonic()
    call(function, do=f"import threading; threading.Thread(target=exec, args=({tick!r}, globals())).start()")
    assert state(pid) != "T" or time.monotonic() - began >= Policy().freeze_seconds
    assert eventually(lambda: all(state(int(task.name)) == "T" for task in Path(f"/proc/{pid}/task").iterdir()))
    frozen = ticks.read_text()
    time.sleep(0.05)
    assert ticks.read_text() == frozen
    do = f"while os.path.getsize({str(ticks)!r}) == {len(frozen)}: time.sleep(0.001)"
    assert call(function, do=do)["pid"] == pid
    assert len(ticks.read_text()) > len(frozen)
    assert eventually(lambda: state(pid) == "T")


def test_a_worker_that_was_not_needed_for_long_is_removed(project: Project) -> None:
    """Process and files."""
    project.add("fn", PID)
    with Isolation(policy=Policy(freeze_seconds=0.02, idle_seconds=0.1)) as isolation:
        function = isolation(project.functions[0])
        pid = call(function)["pid"]
        assert eventually(lambda: not alive(pid))
        assert eventually(lambda: [one.name for one in isolation.pool.folder.iterdir()] == ["code"])
        assert call(function)["pid"] != pid


def test_a_worker_that_died_while_idle_is_replaced(add: Add) -> None:
    """Nobody notices."""
    function = add()
    pid = call(function)["pid"]
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not alive(pid))
    assert call(function)["pid"] != pid


def test_when_all_workers_are_busy_the_caller_waits(project: Project, tmp_path: Path) -> None:
    """For the first that is free; 503 when none is in time."""
    project.add("fn", OBEDIENT)
    with Isolation(policy=Policy(most=1)) as isolation:
        function = isolation(project.functions[0])
        pid = call(function)["pid"]
        thread, results = in_background(function, do="time.sleep(0.3)")
        assert eventually(lambda: not idle(function))
        assert call(function)["pid"] == pid
        thread.join(60)
        assert results[0]["pid"] == pid
        may_end = tmp_path / "may_end"
        thread, results = in_background(function, do=waiting_for(may_end))
        assert eventually(lambda: not idle(function))
        isolation.wait_seconds = 0.1
        assert refused(function)[0] == 503
        may_end.touch()
        thread.join(60)


def test_a_machine_that_makes_no_process_is_out_of_capacity(
    add: Add, own: Isolation, capfd: pytest.CaptureFixture[str]
) -> None:
    """503 and no trace, and the next call is tried anew."""
    function = add()
    sound = function.plan
    function.plan = replace(sound, python="/nowhere/python")
    assert refused(function)[0] == 503
    assert "No such file" in capfd.readouterr().err
    assert [one.name for one in own.pool.folder.iterdir()] == ["code"]
    function.plan = sound
    assert call(function)["pid"]


# --- the end ------------------------------------------------------------------------------------------------------


def test_the_end_takes_frozen_and_busy_workers_and_all_files(project: Project) -> None:
    """Whoever waits for an answer gets the platform's; a call after the end is refused."""
    project.add("fn", OBEDIENT)
    isolation = Isolation()
    function = isolation(project.functions[0])
    busy: list[Any] = []
    pids = [call(function, do="time.sleep(0)")["pid"]]
    thread = threading.Thread(target=lambda: busy.append(refused(function, do="time.sleep(30)")))
    thread.start()
    assert eventually(lambda: not isolation.pool.workers(function.plan))
    pids.append(call(function)["pid"])
    assert eventually(lambda: state(pids[1]) == "T")
    isolation.close()
    thread.join(60)
    assert busy == [(400, PROCESSING)]
    assert not any(map(alive, pids))
    assert not isolation.pool.folder.exists()
    assert refused(function)[0] == 503
    isolation.close()


def test_a_worker_given_back_after_the_end_is_gone(add: Add, own: Isolation) -> None:
    """The last answer may come late."""
    function = add()
    call(function)
    taken = own.pool.take(function.plan, {}, time.monotonic() + 1)
    own.close()
    own.pool.give(function.plan, taken)
    assert not taken.is_alive()


def test_the_keepers_kill_the_whole_group_and_remove_the_folder(tmp_path: Path) -> None:
    """When their stdin closes: whoever joined the group is gone, stopped or not, and so are the files."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "code").write_text("x")
    command = [sys.executable, str(WARDEN), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keepers:
        assert keepers.stdout
        group = int(keepers.stdout.readline())
        sleeper = [sys.executable, "-I", "-c", "import time; time.sleep(60)"]
        members = [subprocess.Popen(sleeper, process_group=group) for _ in range(2)]
        members[0].send_signal(signal.SIGSTOP)
        assert [member.poll() for member in members] == [None, None]
        keepers.communicate()
    assert keepers.returncode == 0
    assert [member.wait(60) for member in members] == [-signal.SIGKILL] * 2
    assert not folder.exists()


def test_nothing_is_left_of_a_killed_gateway(project: Project, tmp_path: Path) -> None:
    """kill -9 in the middle: busy and frozen workers, their folder and their keepers all go."""
    program = f"""
import sys, threading
from pathlib import Path
from serving.isolated import Isolation
from tests.serving.conftest import Function
isolation = Isolation()
function = isolation(Function("shop", "fn", Path({str(project.add("fn", OBEDIENT))!r}), timeout_ms=60_000))
one = function.call({{}}, function.context())
slow = {{"do": "time.sleep(60)"}}
threading.Thread(target=function.call, args=(slow, function.context()), daemon=True).start()
while isolation.pool.workers(function.plan):
    pass
two = function.call({{}}, function.context())
print(one["pid"], two["pid"], isolation.pool._warden.pid, isolation.pool._group, isolation.pool.folder, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=programs.ROOT,
        env=programs.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as gateway:
        assert gateway.stdout
        *numbers, folder = gateway.stdout.readline().split()
        pids = [int(number) for number in numbers]
        assert eventually(lambda: state(pids[1]) == "T")
        assert all(map(alive, pids))
        gateway.kill()
    assert eventually(lambda: not any(map(alive, pids)), 10.0)
    assert eventually(lambda: not Path(folder).exists())


def test_the_policy_is_the_platforms() -> None:
    """Frozen after 150 ms, removed after 15 minutes."""
    assert (Policy().freeze_seconds, Policy().idle_seconds) == (0.15, 900.0)
