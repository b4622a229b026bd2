"""Where the official tools are installed they read and write; what comes out is the same."""

import os
import sys
from pathlib import Path

import pytest

from ops.backup.errors import BackupFailed
from tests.ops.backup.conftest import Keeper
from tests.ops.backup.test_backup import contents, fill

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """#!/bin/sh
echo "$@" >>{log}
PYTHONPATH={root}/lib:{root} exec {python} -m tests.ops.backup.lookalike {name} "$@"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tools on PATH; the file that their command lines are written to."""
    log = tmp_path / "commands"
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("mongodump", "mongorestore"):
        script = folder / name
        script.write_text(SCRIPT.format(log=log, root=ROOT, python=sys.executable, name=name))
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


def test_the_tools_do_the_same(keeper: Keeper, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, what changed meanwhile included; and what one way has written the other way restores."""
    source, target, another = keeper.database(), keeper.database(), keeper.database()
    fill(source)

    def meddle(_passed: int) -> None:
        source.names.update_one({"_id": "Ada"}, {"$set": {"seen": True}})

    receipt = keeper.back_up(source, meddle)
    assert receipt.manifest.read_by == "mongodump"
    keeper.restore(receipt, target)
    commands = log.read_text().splitlines()
    monkeypatch.setenv("PATH", "")
    keeper.restore(receipt, another)
    expected = {**contents(source), "controls": None}
    assert {**contents(target), "controls": None} == expected
    assert {**contents(another), "controls": None} == expected
    assert [command.split()[1] for command in commands] == [f"--db={source.name}", "--archive"]
    assert "mongodb://" not in log.read_text()


def test_a_tool_that_fails_is_told_in_its_own_words(keeper: Keeper, log: Path) -> None:
    """No backup is kept, and a restore goes no further."""
    source, target = keeper.database(), keeper.database()
    source.a.insert_one({"_id": 1})
    source.broken.insert_one({"_id": 1, "reading": True})
    with pytest.raises(BackupFailed, match=r"mongodump failed: Failed: error writing data .* out of luck"):
        keeper.back_up(source)
    assert list(keeper.folder.iterdir()) == []
    source.broken.update_one({}, {"$set": {"reading": False}})
    receipt = keeper.back_up(source)
    with pytest.raises(BackupFailed, match="mongorestore failed: Failed: restore error: out of luck"):
        keeper.restore(receipt, target)
    assert target.api_keys.count_documents({}) == 0
