"""project.yml, packages/, .env.example and getsmart.config tell the same story, within the platform's laws."""

import ast
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from getsmart import config
from ops import functions
from ops.functions import Function, Schedule
from serving.loader import Loaded

ROOT = functions.ROOT
FUNCTIONS = functions.load()
PROJECT = (ROOT / "project.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()

MOST_LINES_OF_A_HANDLER = 30
MOST_LINES_OF_A_DOOR = 120
THE_PLATFORMS_OWN = {"LOG_DESTINATIONS"}

# Words of this form in ops/ and serving/ that are no variables, or not ours: GitHub's, doctl's, a terminal's, a test's.
NO_VARIABLES_OF_OURS = {
    *("ACCESS_KEYS", "BUILD_TIME", "RUN_TIME", "PATH_INFO", "TYPE_CHECKING", "SERVING_JSON_AS_BASE64"),
    *("GITHUB_ACTIONS", "GITHUB_ACTOR", "GITHUB_STEP_SUMMARY", "FORCE_COLOR"),
    *("DOCKER_SANDBOX_INSTALL", "HTTPS_PROXY", "XDG_CONFIG_HOME"),
}

all_functions = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.route)


def names_in(example: str) -> list[str]:
    """The variables that a .env file sets, in its order."""
    return re.findall(r"^([A-Z][A-Z0-9_]*)=", example, flags=re.MULTILINE)


def read_by_the_library() -> set[str]:
    """Every variable that a settings model of getsmart.config reads."""
    models = config._Settings.__subclasses__()
    return {str(field.alias) for model in models for field in model.model_fields.values()}


def handler_lines(source: str) -> int:
    """Lines of the module's longest handler (`main`, or one for each method), from its decorators to its end."""
    handlers = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return max(
        (handler.end_lineno or 0) - min([handler.lineno, *(line.lineno for line in handler.decorator_list)]) + 1
        for handler in handlers
        if handler.decorator_list or handler.name == "main"
    )


def problems(function: Function) -> list[str]:
    """What the platform, or the rest of the design, would have against a function's declaration."""
    unread = sorted(set(function.environment) - read_by_the_library() - THE_PLATFORMS_OWN)
    laws = {
        "another runtime": function.runtime == "python:3.11",
        "timeout out of the platform's range": 100 <= function.timeout_ms <= 900_000,
        "a web call is answered within 30 s or not at all": function.web is False or function.timeout_ms <= 30_000,
        "memory out of the platform's range": 128 <= function.memory_mb <= 1024,
        "logs out of the platform's range": 0 < function.logs_kb <= 256,
        "web: true loses the exact bytes": function.web is not True,
        "on the web or on a schedule: one of the two": (function.web is False) == (function.schedule is not None),
        f"gets variables that nothing reads: {unread}": not unread,
    }
    return [problem for problem, is_kept in laws.items() if not is_kept]


def unquoted(project: str) -> list[str]:
    """Lines of project.yml that template a value otherwise than NAME: '${NAME}', comments included."""
    return [
        line for line in project.splitlines()
        if "$" in line and not re.fullmatch(r"\s+([A-Z][A-Z0-9_]*): '\$\{\1\}'", line)
    ]  # fmt: skip


@all_functions
def test_every_declaration_obeys_the_platform(function: Function) -> None:
    """Runtime, limits, web mode, trigger and variables of each function are ones that deploy and work."""
    assert problems(function) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"runtime": "python:3.9"}, "runtime"),
        ({"timeout_ms": 99}, "timeout"),
        ({"timeout_ms": 30_001}, "30 s"),
        ({"memory_mb": 64}, "memory"),
        ({"logs_kb": 300}, "logs"),
        ({"web": True}, "exact bytes"),
        ({"web": False}, "one of the two"),
        ({"schedule": Schedule("x", "* * * * *")}, "one of the two"),
        ({"environment": ("NOBODY_READS_THIS",)}, "NOBODY_READS_THIS"),
    ],
)
def test_a_bad_declaration_is_found(change: dict[str, object], problem: str) -> None:
    """Each law bites on a declaration that breaks it."""
    good = next(function for function in FUNCTIONS if function.route == "wallets/get")
    assert any(problem in found for found in problems(replace(good, **change)))


def test_only_the_tick_is_scheduled() -> None:
    """The platform gives a namespace three triggers, and each keeps its name for good."""
    scheduled = {function.route: function.schedule for function in FUNCTIONS if function.schedule}
    assert scheduled == {"ops/tick": Schedule("getsmart-tick", "* * * * *")}


def test_values_are_templated_one_way() -> None:
    """Every substitution stands in single quotes under its own name, and none hides in a comment."""
    assert unquoted(PROJECT) == []
    assert "\t" not in PROJECT


@pytest.mark.parametrize(
    "line",
    [
        "  CHAIN_ID: ${CHAIN_ID}",
        '  CHAIN_ID: "${CHAIN_ID}"',
        "  CHAIN_ID: '${CHAIN}'",
        "  # see ${CHAIN_ID}",
        "  A: '$(B)'",
    ],
)
def test_another_way_is_found(line: str) -> None:
    """Unquoted, misnamed and commented substitutions are found."""
    assert unquoted(f"packages:\n{line}\n") == [line]


def test_every_variable_is_explained_once() -> None:
    """.env.example holds each variable of project.yml and of getsmart.config, once, and nothing that nobody reads."""
    names = names_in(EXAMPLE)
    assert len(names) == len(set(names))
    deployed = {name for function in FUNCTIONS for name in function.environment}
    assert set(names) == read_by_the_library() | THE_PLATFORMS_OWN
    assert deployed <= set(names)


def test_every_variable_of_a_program_is_explained() -> None:
    """What a program of ours reads, and the gateway's image, is in .env.example, as a comment if it may be unset."""
    files = [*(ROOT / "ops").rglob("*.py"), *(ROOT / "serving").rglob("*.py"), ROOT / "dodo.py"]
    found = {
        node.value
        for file in files
        if "node_modules" not in file.parts
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", node.value)
    }
    start = (ROOT / "deploy/gateway/start").read_text()
    found |= set(re.findall(r"\b((?:WEIGHT|GATEWAY|WEB)_[A-Z_]+)\b", start))
    assert {name for name in found - NO_VARIABLES_OF_OURS if not re.search(rf"\b{name}\b", EXAMPLE)} == set()
    assert {"SMOKE_KEY", "MONGODB_ADMIN_URI", "GATEWAY_FOLDER"} <= found


def test_no_example_value_is_empty_or_quoted() -> None:
    """The deployer refuses an empty variable, and a single quote would end its quotes in project.yml."""
    for line in EXAMPLE.splitlines():
        if not line.startswith("#") and line:
            assert re.fullmatch(r"[A-Z0-9_]+=[^']+", line), line


def test_every_variable_of_the_example_has_its_meaning_above_it() -> None:
    """A reader never has to guess: the line before a variable is a comment, or the variable it shares one with."""
    lines = EXAMPLE.splitlines()
    for before, line in pairwise(lines):
        if names_in(line):
            assert before.startswith("#") or names_in(before), line


@all_functions
def test_a_handler_reads_like_a_table_of_contents(function: Function) -> None:
    """`main` has at most 30 lines, and the door around it stays small."""
    source = (function.path / ("handler.py" if function.web else "__main__.py")).read_text()
    assert handler_lines(source) <= MOST_LINES_OF_A_HANDLER
    assert len(source.splitlines()) <= MOST_LINES_OF_A_DOOR


def test_a_long_handler_is_found() -> None:
    """Decorators, signature, docstring and body all count."""
    assert handler_lines("@one(\n  2)\ndef main(event, context):\n    '''Doc.'''\n" + "    x = 1\n" * 27) == 31


@all_functions
def test_a_door_says_what_it_is(function: Function) -> None:
    """The first line of a web function names its method and route, in both of its files."""
    first = (function.path / "__main__.py").read_text().splitlines()[0]
    if function.web:
        assert (function.path / "handler.py").read_text().splitlines()[0] == first
    expected = (
        rf'"""(GET|POST|PATCH|DELETE)(, (GET|POST|PATCH|DELETE))* /{function.route} - ' if function.web else '"""'
    )
    assert re.match(expected, first), first


@all_functions
def test_a_door_asks_for_what_its_handler_needs(function: Function) -> None:
    """Method by method: what is refused before the handler is imported is what the handler would refuse."""
    if not function.web:
        return
    main: Any = Loaded(function.package, function.name, function.path, function.timeout_ms).main()
    assert main.asks == {contract.method: contract.asks for contract in main.contracts()}


def test_no_function_builds_itself() -> None:
    """A build step or stray of its own would send a function to the remote build, which drops its trigger."""
    strays = {"build.sh", "package.json", "requirements.txt", ".env"}
    assert [path for path in Path(ROOT / "packages").rglob("*") if path.name in strays] == []
