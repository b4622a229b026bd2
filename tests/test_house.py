"""The house keeps its promises: `./doit` from nothing, locks that bind, tasks that explain themselves."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import dodo

ROOT = Path(__file__).resolve().parents[1]
LOCKS = sorted(
    str(wish.relative_to(ROOT).with_suffix(""))
    for folder in ("lib", "requirements")
    for wish in (ROOT / folder).glob("*.in")
)


def pins(lock: str) -> dict[str, str]:
    """Name and version of each package in a lock file; a package may stand twice, for two Pythons."""
    found = re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", (ROOT / f"{lock}.txt").read_text(), flags=re.MULTILINE)
    return {f"{name}=={version}": version for name, version in found}


def asked_for(wish: str) -> set[str]:
    """The packages that an .in file names, those of the files it includes too."""
    names: set[str] = set()
    for line in (ROOT / f"{wish}.in").read_text().splitlines():
        if line.startswith("-r "):
            names |= asked_for(os.path.relpath((ROOT / wish).parent / line[3:].removesuffix(".in"), ROOT))
        elif line and not line.startswith("#"):
            names.add(re.split(r"[\[<>=; ]", line)[0].lower().replace("_", "-").replace(".", "-"))
    return names


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_hash(lock: str) -> None:
    """An installation takes exactly the files that were locked."""
    text = (ROOT / f"{lock}.txt").read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_is_asked_for(lock: str) -> None:
    """Whoever adds a package to an .in file runs ./doit lock."""
    names = {pin.split("==")[0] for pin in pins(lock)}
    assert asked_for(lock) - names == set()


@pytest.mark.parametrize("lock", LOCKS)
def test_the_tests_run_on_the_versions_that_are_deployed(lock: str) -> None:
    """Every lock is a part of the development lock, version by version."""
    assert set(pins(lock)) - set(pins("requirements/dev")) == set()


def test_every_task_explains_itself() -> None:
    """`./doit list` is the manual: each task has a line there that fits a terminal."""
    creators = {name: value for name, value in vars(dodo).items() if name.startswith("task_")}
    assert len(creators) > 10
    for name, creator in creators.items():
        assert creator.__doc__, name
        assert len(creator.__doc__.splitlines()[0]) <= 120, name


@pytest.mark.parametrize(
    ("file", "is_found"),
    [("settings.py", True), ("requirements/dev.txt", False), ("tests/vectors/signing.json", False)],
)
def test_a_secret_is_found_before_it_is_committed(tmp_path: Path, file: str, is_found: bool) -> None:
    """A key in a file that git would take fails the scan; hashes in locks and published vectors do not."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text('aws_key = "' + "AKIA" + 'IOSFODNN7EXAMPLQ"\n')
    (tmp_path / "harmless.py").write_text("x = 1\n")
    (command,) = dodo.task_secrets()["actions"]
    finished = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S602
    assert (finished.returncode != 0, file in finished.stdout) == (is_found, is_found), finished.stdout


def test_a_folder_without_git_fails_the_scan(tmp_path: Path) -> None:
    """Where the files to look at are not known the scan does not pass for want of any."""
    (command,) = dodo.task_secrets()["actions"]
    finished = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False)  # noqa: S602
    assert finished.returncode != 0


def test_doit_passes_words_and_exit_code_through() -> None:
    """From the shell script to the program: words, output and exit code; and it works from any folder."""
    finished = subprocess.run([ROOT / "doit", "new"], cwd="/", capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (2, "", "usage: ./doit new PACKAGE/FUNCTION\n")


def test_doit_without_a_python_says_so_in_one_line(tmp_path: Path) -> None:
    """On a machine with no Python, or only an old one, the error is one line that says what is needed."""
    tree, tools = tmp_path / "tree", tmp_path / "bin"
    tree.mkdir()
    tools.mkdir()
    shutil.copy(ROOT / "doit", tree)
    for tool in ("sh", "cmp", "dirname"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")  # an old one: it fails the question for its version
    (tools / "python3").chmod(0o755)
    finished = subprocess.run(
        [tree / "doit", "list"], env={"PATH": str(tools)}, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith("doit: needs Python 3.11 or later")
    assert len(finished.stderr.splitlines()) == 1
    assert not (tree / ".venv").exists()
