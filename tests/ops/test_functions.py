"""What project.yml declares and packages/ holds, as programs read it."""

from pathlib import Path

import pytest

from ops.functions import ProjectError, Schedule, load

MINT = """
      - name: mint
        runtime: python:3.11
        web: raw
        limits: {timeout: 30000, memory: 256, logs: 16}
        environment:
          MONGODB_URI: '${MONGODB_URI}'
          CHAIN_ID: '${CHAIN_ID}'
"""
TICK = """
      - name: tick
        runtime: python:3.11
        web: false
        limits: {timeout: 60000, memory: 512, logs: 8}
        triggers:
          - name: getsmart-tick
            sourceType: scheduler
            sourceDetails: {cron: "* * * * *"}
"""
TOKENS = "packages:\n  - name: tokens\n    functions:\n"


def project(root: Path, text: str, *routes: str) -> Path:
    """A project with that project.yml and these functions on disk."""
    (root / "project.yml").write_text(text)
    for route in routes:
        (root / "packages" / route).mkdir(parents=True)
        (root / "packages" / route / "__main__.py").write_text("")
    return root


def test_a_function_is_described_by_its_entry(tmp_path: Path) -> None:
    """Everything a program needs to know of a function is read from project.yml, in its order."""
    root = project(tmp_path, TOKENS + MINT + TICK, "tokens/mint", "tokens/tick")
    mint, tick = load(root)
    assert (mint.route, mint.path, mint.web, mint.schedule) == (
        "tokens/mint",
        root / "packages/tokens/mint",
        "raw",
        None,
    )
    assert (mint.runtime, mint.timeout_ms, mint.memory_mb, mint.logs_kb) == ("python:3.11", 30000, 256, 16)
    assert mint.environment == {"MONGODB_URI": "${MONGODB_URI}", "CHAIN_ID": "${CHAIN_ID}"}
    assert (tick.web, tick.environment, tick.memory_mb) == (False, {}, 512)
    assert tick.schedule == Schedule("getsmart-tick", "* * * * *")


def test_variables_of_project_and_package_reach_every_function_and_the_nearest_wins(tmp_path: Path) -> None:
    """As the platform merges them; a value that is no string is one clear error, as it is the deployer's."""
    above = "environment: {A: project, B: project, C: project}\n" + TOKENS.replace(
        "functions", "environment: {B: package, C: package}\n    functions"
    )
    mint, tick = load(project(tmp_path, above + MINT + "          C: '7'\n" + TICK, "tokens/mint", "tokens/tick"))
    assert tick.environment == {"A": "project", "B": "package", "C": "package"}
    assert {name: mint.environment[name] for name in "ABC"} == {"A": "project", "B": "package", "C": "7"}
    (tmp_path / "project.yml").write_text(TOKENS + MINT + "          C: 7\n")
    with pytest.raises(ProjectError, match="C has to be a string"):
        load(tmp_path)


def test_the_real_project_loads() -> None:
    """project.yml and packages/ of this repository fit together."""
    assert {"tokens/mint", "ops/tick"} <= {function.route for function in load()}


@pytest.mark.parametrize(
    ("text", "routes", "problem"),
    [
        (TOKENS + MINT, ["tokens/mint", "tokens/burn"], "tokens/burn is on disk but not in project.yml"),
        (TOKENS + MINT + TICK, ["tokens/mint"], "tokens/tick is in project.yml but has no __main__.py"),
        (TOKENS + MINT + MINT, ["tokens/mint"], "tokens/mint is in project.yml twice"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, routes: list[str], problem: str) -> None:
    """A function on one side only, or declared twice, is one clear error that names it."""
    with pytest.raises(ProjectError, match=problem):
        load(project(tmp_path, text, *routes))


def test_every_misfit_is_named_at_once(tmp_path: Path) -> None:
    """The error lists all functions at fault, so that one look is enough."""
    with pytest.raises(ProjectError, match=r"tokens/burn .*; tokens/tick .*"):
        load(project(tmp_path, TOKENS + MINT + TICK, "tokens/mint", "tokens/burn"))


@pytest.mark.parametrize(
    "text", ["", "packages: [", "packages: 7", "packages: [7]", "packages: [{name: x, functions: [{name: y}]}]"]
)
def test_an_unreadable_project_is_one_error(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with project.yml, callers catch one kind of error."""
    with pytest.raises(ProjectError, match=r"project\.yml cannot be read"):
        load(project(tmp_path, text))


def test_a_missing_project_is_one_error(tmp_path: Path) -> None:
    """So is a project.yml that is not there."""
    with pytest.raises(ProjectError, match="FileNotFoundError"):
        load(tmp_path)
