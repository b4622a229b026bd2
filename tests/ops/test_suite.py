"""What `./doit test` asks of pytest."""

import subprocess
import sys
from pathlib import Path

import pytest

from ops import suite

ROOT = Path(__file__).resolve().parents[2]
COVERAGE = ["--cov", "--cov-report=term"]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], COVERAGE),
        (["--long"], [*COVERAGE, "-m", "long or not long"]),
        (["-q"], [*COVERAGE, "-q"]),
        (["tests/ops"], ["tests/ops"]),
        (["tests/ops/test_suite.py::test_x", "--long"], ["-m", "long or not long", "tests/ops/test_suite.py::test_x"]),
        (["-k", "mint"], ["-k", "mint"]),
    ],
)
def test_the_floor_holds_for_the_whole_suite_only(
    monkeypatch: pytest.MonkeyPatch, words: list[str], asked: list[str]
) -> None:
    """Coverage is measured unless a part was chosen; --long lifts the mark filter; other words pass through."""
    monkeypatch.chdir(ROOT)
    assert suite.arguments(words) == asked


def test_its_exit_code_is_pytests(tmp_path: Path) -> None:
    """A failing test fails the command, a passing one does not."""
    for content, code in (("def test_x():\n    assert 0\n", 1), ("def test_x():\n    pass\n", 0)):
        file = tmp_path / f"test_{code}.py"
        file.write_text(content)
        command = [sys.executable, "-m", "ops.suite", str(file), "-q", "-p", "no:cacheprovider"]
        assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == code
