"""A run that dies anywhere is gone on with by the same command, to the same end; its lock ends by itself."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mongomig.errors import LockError

from getsmart import clock
from ops.migrations import running
from ops.migrations.__main__ import main
from tests.local import programs
from tests.migrating import AFTER, LOCK_SECONDS, NEWEST, NEXT, Raw, advance, picture, project, runner, scratch

WALLETS = 51
UP = ("up", "--contract")


def start(root: Path, raw: Raw, uri: str, nth: int, how: str = "kill") -> "subprocess.Popen[str]":
    """A runner that ends, or is stopped, before its nth message; 0: it lives, and counts them."""
    where = {"MONGODB_URI": uri, "MONGODB_DATABASE": raw.name}
    return programs.start("tests.migrating", str(root), f"{nth}", how, *UP, **where)


def well(process: "subprocess.Popen[str]") -> str:
    """What it said; it has to have ended well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    return out


def fill(raw: Raw, uri: str) -> None:
    """Today's schema, served by code that can do without; wallets enough for several batches of both migrations."""
    advance(raw, uri, NEWEST)
    raw.wallets.insert_many(
        [
            {"_id": f"wlt_{n:03}", "address": f"0xA{n}", "address_key": f"0xa{n}", "links": [], "nickname": f"n{n}"}
            for n in range(WALLETS)
        ]
    )
    seen = {"version": "2", "schema_version": int(AFTER), "at": clock.now()}
    raw.controls.update_one({"_id": "colour"}, {"$set": {"seen.blue": seen}})


def empty(raw: Raw, uri: str) -> None:
    """Nothing at all: every real migration, from the first."""


def shown(raw: Raw) -> dict[str, Any]:
    """All of it but moments, which differ from run to run."""
    found = picture(raw)
    for row in (*found["entries"]["documents"], *found["controls"]["documents"]):
        row.pop("at", None)
        row.pop("seen", None)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The real migrations and a pair that moves data."""
    return project(tmp_path)


@pytest.fixture
def databases(environment: dict[str, str]) -> Iterator[ExitStack]:
    """Databases that are gone afterwards."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("parts", [2, pytest.param(24, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
@pytest.mark.parametrize("prepare", [empty, fill])
def test_killed_anywhere_and_gone_on_with(
    root: Path, environment: dict[str, str], databases: ExitStack, prepare: Any, parts: int
) -> None:
    """Before the first message to the database, between any two, after the last: the same end as an undisturbed run."""
    uri = environment["MONGODB_URI"]
    whole = databases.enter_context(scratch(uri))
    prepare(whole, uri)
    count = int(well(start(root, whole, uri, 0)).split()[-2])
    assert count > 30
    steps = range(1 if parts < 3 else 0, parts + 1)
    points = sorted({1 + (count - 1) * part // parts for part in steps})
    wanted = shown(whole)
    for first in range(0, len(points), 4):
        _kill_and_go_on(root, uri, points[first : first + 4], prepare, wanted)
    print(f"{prepare.__name__}: {count} messages, killed before number {points}")  # noqa: T201 - the figures


def _kill_and_go_on(root: Path, uri: str, points: Sequence[int], prepare: Any, wanted: dict[str, Any]) -> None:
    with ExitStack() as stack:
        raws = [stack.enter_context(scratch(uri)) for _ in points]
        for raw in raws:
            prepare(raw, uri)
        processes = [start(root, raw, uri, nth) for raw, nth in zip(raws, points, strict=True)]
        for process in processes:
            process.communicate(timeout=60)
            assert process.returncode == -signal.SIGKILL
        time.sleep(LOCK_SECONDS + 0.2)  # then nobody waits for a lock
        for raw, nth in zip(raws, points, strict=True):
            with runner(raw, uri, root) as here:
                here.up("contract")
                assert here.pending() == [], nth
                runs = here.runs()
                assert here.up("contract") == []
            assert shown(raw) == wanted, nth
            done = [run.revision for run in runs if run.outcome == "done"]
            assert len(done) == len(set(done)) >= 2, nth
            assert {run.outcome for run in runs} <= {"done", "cut short"}, nth
            assert raw.migrations_lock.count_documents({}) == 0
            assert raw.migrations_checkpoints.count_documents({}) == 0


def test_a_dead_runners_lock_is_waited_for_and_taken_over(
    root: Path, environment: dict[str, str], scratch_database: Raw, capsys: Any
) -> None:
    """The next run needs no hand: it waits for seconds, and goes on."""
    uri = environment["MONGODB_URI"]
    fill(scratch_database, uri)
    process = start(root, scratch_database, uri, 25)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    (lock,) = scratch_database.migrations_lock.find({})
    assert lock["expires_at"] <= clock.now() + timedelta(seconds=LOCK_SECONDS)
    began = time.monotonic()
    assert main(list(UP), root) == 0
    took = time.monotonic() - began
    assert took < 60  # it has more patience than that
    assert scratch_database.wallets.count_documents({"nickname": {"$exists": True}}) == 0
    assert main(["history"], root) == 0
    said = capsys.readouterr().out
    assert [line.split()[2] for line in said.splitlines() if line.endswith("  cut short")] == [NEXT]
    assert running._LOCK_SECONDS > 15


def test_who_holds_the_lock_is_said(
    environment: dict[str, str], scratch_database: Raw, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """By a run that has waited long enough for another one that lives."""
    monkeypatch.setattr(running, "_LOCK_SECONDS", 0.5)
    until = clock.now() + timedelta(minutes=1)
    held = {"lock_token": "x", "owner": "elsewhere:42", "acquired_at": clock.now(), "expires_at": until}
    scratch_database.migrations_lock.insert_one({"_id": "migration", **held})
    assert main(["up"]) == 1
    assert "Another MongoMig run holds the migration lock (owner elsewhere:42" in capsys.readouterr().err
    assert "transactions" not in scratch_database.list_collection_names()
    assert issubclass(LockError, Exception)


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_runner_that_froze_does_no_harm_when_it_thaws(
    root: Path, environment: dict[str, str], scratch_database: Raw
) -> None:
    """Another one has taken its lock and finished meanwhile: it notices, and the end is the right one."""
    uri = environment["MONGODB_URI"]
    with scratch(uri) as whole:
        fill(whole, uri)
        well(start(root, whole, uri, 0))
        wanted = shown(whole)
    fill(scratch_database, uri)
    frozen = start(root, scratch_database, uri, 45, "stop")
    assert programs.eventually(lambda: _state(frozen.pid) == "T", 30)
    time.sleep(LOCK_SECONDS + 0.5)
    assert main(list(UP), root) == 0
    assert shown(scratch_database) == wanted
    os.kill(frozen.pid, signal.SIGCONT)
    out, err = frozen.communicate(timeout=60)
    print(f"thawed: exit {frozen.returncode}: {out}{err}")  # noqa: T201
    assert main(list(UP), root) == 0
    assert shown(scratch_database) == wanted


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
