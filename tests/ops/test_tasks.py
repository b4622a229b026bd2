"""How `./doit` hands over to programs and to the task runner."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops import tasks

ROOT = Path(__file__).resolve().parents[2]

DODO = '''
"""Tasks to try with."""

from ops.tasks import program

DOIT_CONFIG = {"backend": "json"}


def task_echo():
    """a program that says what it was given"""
    return program("echo", "fixed")


def task_both():
    """a task with a program as its step"""
    return {"actions": None, "task_dep": ["echo"]}


def task_words():
    """a task that takes words"""
    return {"actions": ["echo words: %(words)s"], "pos_arg": "words", "verbosity": 2}
'''
ECHO = """
import os, sys
print(os.getpid(), sys.argv[1:])
sys.exit(7)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project with a few tasks and a program."""
    (tmp_path / "dodo.py").write_text(DODO)
    (tmp_path / "echo.py").write_text(ECHO)
    return tmp_path


def run(tree: Path, *words: str) -> tuple[int, int, str]:
    """Process id, exit code and output of `ops.tasks` with these words."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.tasks", *words],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{ROOT}{os.pathsep}{ROOT / 'lib'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output, _ = process.communicate(timeout=30)
    return process.pid, process.returncode, output


def test_a_program_takes_the_process_over(tree: Path) -> None:
    """Process id, exit code and output are the program's; every word and option reaches it unchanged."""
    words = ["--port", "0", "create", "--client", "acme", "name=value", "--", "-v", "two words", ""]
    pid, code, output = run(tree, "echo", *words)
    assert (code, output) == (7, f"{pid} {['fixed', *words]}\n")


def test_a_program_can_be_a_step_of_a_task(tree: Path) -> None:
    """As a step it is a child, and its failure fails the task."""
    pid, code, output = run(tree, "both")
    assert code == 1
    assert "['fixed']" in output
    assert f"{pid} [" not in output


def test_a_task_with_words_gets_its_options_too(tree: Path) -> None:
    """Options after the name of a task that takes words belong to that task, not to the runner."""
    _, code, output = run(tree, "words", "--upgrade", "-P", "name")
    assert code == 0
    assert "words: --upgrade -P name" in output


def test_other_words_are_the_runners(tree: Path) -> None:
    """`list` is the manual, and a word that is neither a task nor a command is an error of the runner's."""
    _, code, output = run(tree, "list")
    assert code == 0
    assert "echo" in output
    assert "a program that says what it was given" in output
    assert run(tree, "nonsense")[1] == 3


@pytest.mark.parametrize(("words", "code"), [(["nonsense"], 3), (["list"], 0), (["lint", "--no-such-option"], 3)])
def test_the_runners_exit_code_is_returned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    """What the runner makes of its words is the exit code."""
    monkeypatch.chdir(ROOT)
    assert tasks.main(words) == code


def test_a_step_succeeds_as_its_program_does() -> None:
    """Exit code 0 is success, any other is not."""
    (action, arguments), *_ = tasks.program("this")["actions"]
    assert action(*arguments, ["--ignored"])
    (action, arguments), *_ = tasks.program("no_such_module")["actions"]
    assert not action(*arguments, None)
