"""docs/migrations.md and its runbook: the pair that they show is the one that is tested, and each command works."""

import re
import shlex
from pathlib import Path

import pytest

from ops.functions import ROOT
from ops.migrations import files
from ops.migrations.__main__ import main
from tests.migrating import AFTER, CONTRACTING, EXPANDING, NEWEST, NEXT, REAL, project, scratch

PAGE = (ROOT / "docs/migrations.md").read_text()
RUNBOOK = (ROOT / "docs/runbooks/migration-failed.md").read_text()


def test_the_pair_is_the_one_that_is_tested() -> None:
    """Letter by letter, with its phases."""
    shown = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert shown == [f'phase = "expand"\n\n\n{EXPANDING}', f'phase = "contract"\n\n\n{CONTRACTING}']


def test_every_command_of_the_page_works(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its order, on a database that nobody serves yet."""
    (block,) = re.findall(r"```\n(\./doit migrate status.*?)```", PAGE, re.DOTALL)
    lines = [shlex.split(line, comments=True)[2:] for line in block.splitlines()]
    assert len(lines) == 8
    root = project(tmp_path)
    with scratch(environment["MONGODB_URI"]) as raw:
        monkeypatch.setenv("MONGODB_DATABASE", raw.name)
        files_before = sorted(path.name for path in (root / "migrations/versions").iterdir())
        for words in lines:
            assert main(words, root) == 0, words
        said = capsys.readouterr().out
    assert f"{int(AFTER)} would be applied" in said
    assert f"{int(AFTER)} applied" in said
    assert "1 undone" in said
    assert sorted(path.name for path in (root / "migrations/versions").iterdir() if path.suffix) == files_before


def test_every_way_of_calling_it_exists() -> None:
    """Whatever the two pages tell somebody to type is understood."""
    told = re.findall(r"`\./doit migrate ([^`]+)`", PAGE + RUNBOOK)
    assert len(told) > 15
    for words in told:
        command, *rest = shlex.split(words)
        assert command in {"status", "history", "up", "down", "new"}, words
        assert {word for word in rest if word.startswith("--")} <= {"--contract", "--dry-run", "--phase", "--force"}


def test_new_writes_what_the_page_says(tmp_path: Path) -> None:
    """Both files of the pair begin as it tells, one after the other."""
    root = project(tmp_path, {})
    for words in re.findall(r'`\./doit migrate (new "[^`]+)`', PAGE):
        assert main(shlex.split(words), root) == 0
    made = sorted(path.name for path in (root / "migrations/versions").glob("*.py"))[len(REAL) :]
    assert made == [f"{NEXT}_wallets_an_address_in_lower_case.py", f"{AFTER}_wallets_no_nickname.py"]
    assert f"SCHEMA = {NEWEST + 2}\n" in (root / files.CODE).read_text()


def test_the_runbook_starts_with_the_command_to_type() -> None:
    """Whoever is woken up types it first."""
    assert RUNBOOK.splitlines()[2:5] == ["```", "./doit migrate status", "```"]
