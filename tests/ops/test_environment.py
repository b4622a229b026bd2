"""Making .venv, on a lock file without packages: what is tried here is when it is made, not what is in it."""

import subprocess
import sys
from pathlib import Path

import pytest

from ops import environment

PROGRAM = "import sys; from pathlib import Path; from ops.environment import ensure; print(ensure(Path(sys.argv[1])))"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a lock file that asks for nothing."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/dev.txt").write_text("# nothing\n")
    return tmp_path


def test_a_half_made_environment_is_made_once_by_two(root: Path) -> None:
    """What an interrupted run left is replaced; of two that start at once one makes it, the other waits for it."""
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/left-over").write_text("")
    command = [sys.executable, "-c", PROGRAM, str(root)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = sorted(process.communicate(timeout=200)[0].strip() for process in both)
    assert outputs == ["False", "True"]
    assert environment.is_current(root)
    assert not (root / ".venv/left-over").exists()
    subprocess.run([root / ".venv/bin/python", "-c", "import pip"], check=True)


def test_a_current_environment_is_left_alone(root: Path) -> None:
    """Nothing is made while the stamp equals the lock; a changed lock or a lost interpreter makes it stale."""
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/python").write_text("")
    (root / ".venv/.locked").write_bytes((root / "requirements/dev.txt").read_bytes())
    assert environment.ensure(root) is False
    (root / ".venv/bin/python").unlink()
    assert not environment.is_current(root)
    (root / ".venv/bin/python").write_text("")
    (root / "requirements/dev.txt").write_text("# something else\n")
    assert not environment.is_current(root)


def test_what_cannot_be_installed_leaves_no_stamp(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A package that the index lacks is one clear error, and the next run starts over."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (root / "requirements/dev.txt").write_text(f"no-such-package==1 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(environment.BuildFailed, match=r"cannot install requirements/dev\.txt"):
        environment.ensure(root)
    assert "no-such-package" in capfd.readouterr().err
    assert not environment.is_current(root)


def test_a_python_without_venv_is_one_clear_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the interpreter cannot make environments, the message says what to look for."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(environment.BuildFailed, match="venv module"):
        environment.ensure(root)


@pytest.mark.parametrize(("failure", "code", "said"), [(None, 0, "is ready"), ("no room", 1, "doit: no room")])
def test_the_command_says_how_it_went(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: str | None, code: int, said: str
) -> None:
    """Exit code and last line on stderr agree; stdout stays empty."""

    def ensure(root: Path) -> bool:
        if failure:
            raise environment.BuildFailed(failure)
        return True

    monkeypatch.setattr(environment, "ensure", ensure)
    assert environment.main() == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err.splitlines()[-1]
