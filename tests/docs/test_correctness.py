"""The argument of correctness: each claim names tests that exist, and each command that it tells is one."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ops import reconcile
from tests.simulation import __main__ as simulate

_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_WITHOUT_TESTS = ("What is assumed", "What is not covered")


@pytest.fixture
def text(repository: Path) -> str:
    """The document."""
    return (repository / "docs/correctness.md").read_text()


def claims(text: str) -> Iterator[str]:
    """Every bullet of every section that claims something, whole."""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        if not section.startswith(_WITHOUT_TESTS):
            yield from re.findall(r"^- .*(?:\n  .*)*", section, re.MULTILINE)


@cache
def functions_of(file: Path) -> frozenset[str]:
    """The tests that a file holds; none where there is no file."""
    if not file.exists():
        return frozenset()
    body = ast.parse(file.read_text()).body
    return frozenset(one.name for one in body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_"))


def without_proof(text: str, repository: Path) -> list[str]:
    """What is wrong: claims that name no test, and names that are none's."""
    wrong = [f"no test: {claim}" for claim in claims(text) if not _NAMED.search(claim)]
    return wrong + [
        f"no such test: {file}::{name}"
        for file, name in _NAMED.findall(text)
        if name not in functions_of(repository / file)
    ]


def test_every_claim_names_its_tests(text: str, repository: Path) -> None:
    """None without one, none that does not exist; and there are many."""
    assert without_proof(text, repository) == []
    assert len(list(claims(text))) > 50


def test_a_claim_without_proof_is_seen(text: str, repository: Path) -> None:
    """A bullet without a test, a test that was renamed, a file that was moved."""
    bare = text.replace("## Cancelling\n", "## Cancelling\n\n- All is well.\n")
    renamed = text.replace("test_cancel_raced_against_sending", "test_cancel_raced")
    moved = text.replace("tests/lib/machine/test_cancel.py", "tests/lib/test_cancel.py")
    assert [len(without_proof(one, repository)) for one in (bare, renamed, moved)] == [1, 1, 3]


def test_every_promise_is_argued(text: str) -> None:
    """I1 to I7 have a claim each that opens with its number."""
    assert [number for number in range(1, 8) if f"\n- **I{number} " not in text] == []


def test_its_commands_are_commands(text: str, repository: Path) -> None:
    """Each is a task, with options that its program knows and paths that exist."""
    (shell,) = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    told = {line.partition("#")[0].strip() for line in shell.splitlines()}
    parsers = {"simulate": simulate._parser(), "reconcile": reconcile._parser()}
    for line in told:
        doit, task, *options = shlex.split(line)
        assert doit == "./doit"
        assert f"def task_{task}(" in (repository / "dodo.py").read_text()
        if task in parsers:
            parsers[task].parse_args(options)
        else:
            assert all(one == "--long" or (repository / one).exists() for one in options)
    assert {"./doit simulate --runs 10000", "./doit simulate --mutate all", "./doit verify"} <= told
