"""What `./doit test` asks of pytest."""

import subprocess
from pathlib import Path

import pytest

from ops import suite

ROOT = Path(__file__).resolve().parents[2]
WHOLE = ["-n", "2", "--dist", "loadfile", "--cov", "--cov-report=term"]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], WHOLE),
        (["--long"], [*WHOLE, "-m", "long or not long"]),
        (["-q"], [*WHOLE, "-q"]),
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


def test_its_exit_code_is_pytests(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A failing test fails the command, through `./doit test` too."""
    file = tmp_path / "test_fails.py"
    file.write_text("def test_x():\n    assert 0\n")
    command = [ROOT / "doit", "test", str(file), "-q", "-p", "no:cacheprovider"]
    assert subprocess.run(command, check=False).returncode == 1
    assert "1 failed" in capfd.readouterr().out
    assert suite.main(["--version"]) == 0
