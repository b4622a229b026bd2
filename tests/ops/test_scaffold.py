"""`./doit new package/function` in a copy of the tree."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ops import functions, scaffold

ROOT = functions.ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a function is made of: the library, the doors, project.yml and the tools' settings."""
    ignored = shutil.ignore_patterns("__pycache__", "build")
    for folder in ("lib", "packages"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for file in ("project.yml", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def snapshot(tree: Path) -> dict[str, bytes]:
    """Every file of the tree with its content."""
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


@pytest.mark.parametrize("route", ["tokens/refund", "wallets/close_all", "badges/list2"])
def test_a_new_endpoint_works_at_once(tree: Path, route: str) -> None:
    """The endpoint is declared, its generated test passes as it is, the linter finds nothing: old package or new."""
    made = scaffold.create(route, tree)
    assert route in [function.route for function in functions.load(tree)]
    for tool in (["pytest", "-q", "-p", "no:cacheprovider"], ["ruff", "check", "--no-cache"]):
        files = [str(made.test)] if tool[0] == "pytest" else [str(made.test), str(made.door), str(made.handler)]
        finished = run(tree, [*tool, *files])
        assert finished.returncode == 0, finished.stdout + finished.stderr


def run(tree: Path, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """A tool of ours, run in the copied tree on the copied library."""
    environment = {**os.environ, "PYTHONPATH": f"{tree / 'lib'}{os.pathsep}{tree}"}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )


def test_project_yml_keeps_its_comments_and_every_other_line(tree: Path) -> None:
    """Without the added lines project.yml is what it was."""
    before = (tree / "project.yml").read_text().splitlines()
    scaffold.create("tokens/refund", tree)
    after = (tree / "project.yml").read_text().splitlines()
    entry = scaffold.ENTRY.substitute(function="refund").splitlines()
    start = after.index(entry[0])
    assert after[start : start + len(entry)] == entry
    assert after[:start] + after[start + len(entry) :] == before


def test_the_entry_stands_in_its_package(tree: Path) -> None:
    """A function of a package in the middle of project.yml is added to that package, as its last."""
    scaffold.create("wallets/close", tree)
    packages = yaml.safe_load((tree / "project.yml").read_text())["packages"]
    wallets = next(package for package in packages if package["name"] == "wallets")
    assert wallets["functions"][-1]["name"] == "close"
    assert wallets["functions"][-1]["environment"]["COLOUR"] == "${COLOUR}"


@pytest.mark.parametrize(
    "route",
    ["", "mint", "tokens/", "/mint", "tokens/Mint", "tokens/mint/now", "tokens/9", "tokens/a-b", "../x", "tokens/..",
     "tokens/import", "default/mint", "tokens/" + "a" * 64, "tokens/mint\n"],
)  # fmt: skip
def test_a_name_that_cannot_be_is_refused(tree: Path, route: str) -> None:
    """What the platform or Python could not take as a name changes nothing."""
    before = snapshot(tree)
    with pytest.raises(scaffold.Refused):
        scaffold.create(route, tree)
    assert snapshot(tree) == before


def _without_door(tree: Path) -> None:
    shutil.rmtree(tree / "packages/tokens/mint")


def _with_test(tree: Path) -> None:
    _without_door(tree)
    (tree / "tests/packages/tokens").mkdir(parents=True)
    (tree / "tests/packages/tokens/test_mint.py").write_text("")


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda tree: None, "packages/tokens/mint exists already"),
        (_with_test, r"tests/packages/tokens/test_mint\.py exists already"),
        (_without_door, r"tokens/mint is in project\.yml already"),
    ],
)
def test_an_endpoint_that_exists_is_refused(tree: Path, prepare: Callable[[Path], None], problem: str) -> None:
    """A door, a test or an entry of that name is never overwritten."""
    prepare(tree)
    before = snapshot(tree)
    with pytest.raises(scaffold.Refused, match=problem):
        scaffold.create("tokens/mint", tree)
    assert snapshot(tree) == before


@pytest.mark.parametrize(
    ("project", "problem"),
    [
        ("packages: [{name: tokens, functions: [{name: mint}]}]\n", "cannot be read"),
        ("packages:\n  - name: tokens\n    functions: []\n", "cannot be read"),
        ("packages: []\nother:\n  - name: tokens\n    functions:\n      - name: mint\n", "tokens/refund by hand"),
        ("packages: [\n", "cannot be read"),
        ("packages: 7", "cannot be read"),
    ],
)
def test_a_project_file_laid_out_otherwise_is_left_alone(tree: Path, project: str, problem: str) -> None:
    """Where the insert could not be right nothing is written."""
    (tree / "project.yml").write_text(project)
    before = snapshot(tree)
    with pytest.raises(scaffold.Refused, match=problem):
        scaffold.create("tokens/refund", tree)
    assert snapshot(tree) == before


def test_the_command_says_what_it_made_and_what_comes_next(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, the files by name, and the steps that are left to a person."""
    assert scaffold.main(["tokens/refund"], tree) == 0
    said = capsys.readouterr().out
    assert "packages/tokens/refund/__main__.py" in said
    assert "packages/tokens/refund/handler.py" in said
    assert "./doit test tests/packages/tokens/test_refund.py" in said
    assert "Next:" in said


@pytest.mark.parametrize(("words", "code"), [([], 2), (["a/b", "c/d"], 2), (["tokens/mint"], 1), (["Bad"], 1)])
def test_the_command_refuses_in_one_line(
    tree: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    """Refusals go to stderr, in one line, with a code that is not 0."""
    assert scaffold.main(words, tree) == code
    captured = capsys.readouterr()
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)
