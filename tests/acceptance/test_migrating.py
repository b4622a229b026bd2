"""Calls go on while the schema changes under them: no error, each mint once, and no colour lacks what it needs."""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from getsmart.stores import controls
from local import bluegreen
from ops.functions import ROOT
from tests import past
from tests.bluegreen import Load, Town, town, version
from tests.migrating import AFTER, NEWEST, NEXT, PAIR, Raw, project
from tests.wire import wait_until

pytestmark = pytest.mark.timeout(600)
RULES = {"fewest_calls": 8, "watch_seconds": 1, "slower_times": 6}


def migrate(system: Town, root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """`./doit migrate` with the files of a root, on the system's database."""
    command = [sys.executable, "-m", "tests.migrating", str(root), "0", "kill", *words]
    where = ["--env", str(system.both.folder / bluegreen.VARIABLES)]
    return subprocess.run([*command, *where], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def controls_say(raw: Raw, colour: str) -> str:
    """The version that a colour said last to run."""
    row = raw.controls.find_one({"_id": controls.COLOUR}) or {}
    return str(row["seen"][colour]["version"])


def applied(done: "subprocess.CompletedProcess[str]") -> str:
    """What it said; it has to have ended well."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def up_in_the_end(system: Town, root: Path) -> str:
    """What `up` said, and again where it told to: today's code may make a collection in the moment in which it does.

    Code of an earlier schema does not know of collections to come; only here does newer code run on an older schema.
    """
    done = migrate(system, root, "up")
    if done.returncode and "already exists, but with different options" in done.stderr:
        assert "the same command goes on where it stopped" in done.stderr
        return done.stdout + applied(migrate(system, root, "up"))
    return applied(done)


def refuses(done: "subprocess.CompletedProcess[str]", why: str) -> None:
    """It did not do it, and said why."""
    assert done.returncode == 1, done.stdout
    assert why in done.stderr


def old_code_gets_no_calls(system: Town) -> None:
    """What is deployed over blue now was made before the contract: neither command gives it any."""
    system.both.replace("blue", APP_VERSION="1")
    for name, words in (("rollback", ["--to", "blue"]), ("promote", [])):
        refuses(
            system.command(name, *words), f"made for schema {NEWEST}; migration {AFTER} has taken away what it needs"
        )
    assert system.line.shares() == {"blue": 0, "green": 100}
    assert "moving" not in system.colour_row()


def database(client: "MongoClient[dict[str, Any]]") -> Raw:
    """The system's."""
    return client["getsmart"]


def wallets_of_others(raw: Raw, count: int) -> None:
    """Documents that the migrations of data have to go through."""
    rows = []
    link = {"client_id": "others", "label": None, "metadata": {}, "linked_at": past.AT}
    for n in range(count):
        row = {"_id": f"wlt_{n:026}", "email": f"other{n}@example.com", "address": f"0xA{n:039}", "nickname": f"n{n}"}
        row |= {"address_key": f"0xa{n:039}", "created_at": past.AT, "links": [link]}
        rows.append(row)
    raw.wallets.insert_many(rows)


def once_each(system: Town, load: Load, before: int) -> None:
    """No call failed; every mint that was answered is confirmed, and is one Transfer on the chain."""
    assert load.errors == []
    assert load.minted
    assert system.settled(list(load.minted.values())) == {"confirmed": len(load.minted)}
    assert len(set(load.minted.values())) == len(load.minted) == system.transfers() - before


@pytest.mark.parametrize(
    ("rate", "others"), [(40.0, 200), pytest.param(50.0, 2_000, marks=pytest.mark.long)], ids=["40", "50"]
)
def test_reads_and_mints_go_on_from_the_first_schema_to_the_newest(tmp_path: Path, rate: float, others: int) -> None:
    """Today's code on the schema of the beginning, while everything since then is applied, and data is moved."""
    root = project(tmp_path, {name: text for name, text in PAIR.items() if name.startswith(NEXT)})
    with town(workers=1, promotion=RULES) as system, MongoClient[dict[str, Any]](system.facts["database"]) as client:
        raw = database(client)
        wallets_of_others(raw, others)
        system.both.parts.pop("tick-blue").stop()  # it would make again what is taken away here
        applied(migrate(system, root, "down", "0001", "--force"))
        system.both.begin_tick("blue").announcement(120)
        assert "breaks" not in raw.list_collection_names()
        before = system.transfers()
        with Load(system, rate, f"schema-{rate:g}") as load:
            time.sleep(2)
            started = time.monotonic()
            said = up_in_the_end(system, root)
            took = time.monotonic() - started
            time.sleep(2)
        print(f"0001 to {NEXT} in {took:.1f} s\n{said}{load.said()}")  # noqa: T201 - the figures are the point
        # All since the first, and the one that moves data; each once.
        assert [int(number) for number in re.findall(r"^upgrade (\d+) ", said, re.MULTILINE)] == [*range(2, NEWEST + 2)]
        assert raw.wallets.count_documents({"address_lower": {"$exists": False}}) == 0
        once_each(system, load, before)


@pytest.mark.long
def test_a_pair_from_beginning_to_end_under_load(tmp_path: Path) -> None:
    """Expand, promote, contract: refused while older code may have calls, and older code is refused afterwards."""
    root = project(tmp_path / "project")
    change = {"lib/getsmart/stores/controls.py": (r"\nSCHEMA = \d+\n", f"\nSCHEMA = {int(AFTER)}\n")}
    newer = version(tmp_path / "newer", change)
    with town(workers=1, promotion=RULES) as system, MongoClient[dict[str, Any]](system.facts["database"]) as client:
        raw = database(client)
        wallets_of_others(raw, 500)
        before = system.transfers()
        with Load(system, 25, "pair") as load:
            time.sleep(2)
            said = applied(migrate(system, root, "up"))
            assert f"{AFTER} contracts: it and what follows wait" in said
            refuses(migrate(system, root, "up", "--contract"), f"blue runs version 1, made for schema {NEWEST}")
            system.both.replace("green", newer, APP_VERSION="2")
            promoted = system.command("promote", "--weight", "50,100")
            assert promoted.returncode == 0, promoted.stdout + promoted.stderr
            refuses(migrate(system, root, "up", "--contract"), "deploy such a version to it, too (./doit deploy")
            system.both.replace("blue", newer, APP_VERSION="2")
            wait_until(lambda: controls_say(raw, "blue") == "2")  # its first tick tells what it runs
            said += applied(migrate(system, root, "up", "--contract"))
            old_code_gets_no_calls(system)
            system.both.replace("blue", newer, APP_VERSION="2")
            back = system.command("rollback", "--to", "blue")
            assert back.returncode == 0, back.stderr
            time.sleep(1)
        print(f"{said}{load.said()}")  # noqa: T201 - the figures are the point
        assert raw.wallets.count_documents({"nickname": {"$exists": True}}) == 0
        assert load.colours["blue"] > 0 < load.colours["green"]
        once_each(system, load, before)
