"""The drill, on the real system: a backup made while it works is restored, verified, reconciled, and dropped."""

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from getsmart import clock, config
from ops import drill
from ops.backup import __main__ as backup
from ops.backup.objectives import RECOVERY_POINT, RECOVERY_TIME
from tests.local import programs
from tests.money import Bench


@pytest.fixture
def kept(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Path:
    """Where backups of the system are kept; the key to them is in the environment."""
    key, place = tmp_path / "identity.txt", tmp_path / "backups"
    assert backup.main(["--new-identity", str(key)]) == 0
    monkeypatch.setenv("BACKUP_RECIPIENTS", capsys.readouterr().out.rpartition("=")[2].strip())
    monkeypatch.setenv("BACKUP_IDENTITY", key.read_text())
    monkeypatch.setenv("BACKUP_PLACE", str(place))
    config.forget()
    return place


def everything(bench: Bench) -> dict[str, Any]:
    """The live database."""
    return {name: sorted(bench.raw[name].find({}), key=str) for name in bench.raw.list_collection_names()}


@pytest.mark.timeout(180)
def test_a_drill_proves_the_newest_backup(bench: Bench, kept: Path, capsys: Any) -> None:
    """What was minted after it is what would be lost; the live database is not touched, and no copy is left."""
    for _ in range(3):
        bench.mint("5")
    bench.settle()
    assert backup.main([]) == 0
    bench.mint("7")
    bench.settle()
    live, databases = everything(bench), set(bench.raw.client.list_database_names())
    ages = {"left": timedelta(days=1, minutes=1), "under_way": timedelta(hours=23)}
    copies = {age: f"{bench.raw.name}_drill_{clock.now() - age_:%Y%m%d%H%M%S}" for age, age_ in ages.items()}
    for name in copies.values():
        bench.raw.client[name]["wallets"].insert_one({"_id": 1})
    capsys.readouterr()
    assert drill.main([]) == 0
    told = capsys.readouterr()
    assert f"drill: {copies['left']}, left by a drill that was killed, is dropped" in told.err
    assert set(bench.raw.client.list_database_names()) == databases | {copies["under_way"]}
    bench.raw.client.drop_database(copies["under_way"])
    said = told.out
    assert "I2, I3, I4 and I5 hold" in said
    assert "1 missing_in_ledger" in said
    assert said.count("within") == 2
    assert everything(bench) == live
    assert set(bench.raw.client.list_database_names()) == databases


@pytest.mark.timeout(120)
def test_a_drill_that_is_told_to_end_leaves_no_copy(bench: Bench, kept: Path, tmp_path: Path) -> None:
    """A job that is cancelled: SIGTERM, while the copy is verified."""
    assert backup.main([]) == 0
    databases = set(bench.raw.client.list_database_names())
    begun = tmp_path / "begun"
    hangs = f"if 'ops.verify' in sys.orig_argv: open({str(begun)!r}, 'w').close(); time.sleep(600)"
    (tmp_path / "sitecustomize.py").write_text(f"import sys, time\n{hangs}\n")
    path = os.pathsep.join((str(tmp_path), programs.environment()["PYTHONPATH"]))
    process = programs.start("ops.drill", **{**os.environ, "PYTHONPATH": path})
    try:
        assert programs.eventually(lambda: begun.exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        assert set(bench.raw.client.list_database_names()) - databases
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert set(bench.raw.client.list_database_names()) == databases


def test_a_drill_fails_where_the_books_do(bench: Bench, kept: Path, capsys: Any) -> None:
    """A backup of a database whose books are wrong is found out, with what is wrong; the copy goes all the same."""
    bench.mint("5")
    bench.settle()
    bench.raw.accounts.update_one({"_id": bench.wallet["wallet_id"]}, {"$set": {"sequence": 7}})
    assert backup.main([]) == 0
    databases = set(bench.raw.client.list_database_names())
    assert drill.main([]) == 1
    said = capsys.readouterr().out
    assert "verified NOT" in said
    assert "violations" in said
    assert set(bench.raw.client.list_database_names()) == databases


def test_a_missed_objective_fails_it(bench: Bench, kept: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup that is too old, or a restore that takes too long, is no success."""
    made = drill.Drill("x", clock.now() - RECOVERY_POINT, clock.now(), {"restored": RECOVERY_TIME.total_seconds()})
    assert made.is_passed == (made.loss <= RECOVERY_POINT)
    made.began_at = made.point + RECOVERY_POINT
    assert made.is_passed
    made.began_at += timedelta(seconds=1)
    assert not made.is_passed
    made.began_at = made.point
    made.seconds["verified"] = 0.1
    assert not made.is_passed
    drill.tell(made, drill.Console(width=120))
    assert "MISSED" in capsys.readouterr().out


def test_a_drill_without_a_backup_is_one_line(kept: Path, capsys: Any, tmp_path: Path) -> None:
    """Exit 1, before anything is made; the settings may come from a file."""
    elsewhere = tmp_path / "drill.env"
    elsewhere.write_text(f"BACKUP_PLACE={tmp_path}/nowhere\n")
    for words in ([], ["--env", str(elsewhere)]):
        config.forget()
        assert drill.main(words) == 1
        said = capsys.readouterr().err
        assert said.startswith("drill: there is no backup in ")
    assert said.endswith("/nowhere\n")
