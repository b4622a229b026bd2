"""The functions of this project, as project.yml declares them and packages/ holds them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT_FILE = "project.yml"
PACKAGES_FOLDER = "packages"
ENTRY_FILE, HANDLER_FILE = "__main__.py", "handler.py"

Web = Literal["raw", True, False]


class Words(yaml.SafeLoader):
    """YAML in which `on` and `no` are words, as they are to the deployer: truth is only `true` and `false`."""


Words.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":bool")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Words.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), [*"tTfF"])


class ProjectError(Exception):
    """project.yml and packages/ do not fit together; the text names every function at fault."""


@dataclass(frozen=True)
class Schedule:
    """A trigger of the platform: its name and when it fires (five cron fields, UTC)."""

    name: str
    cron: str


@dataclass(frozen=True)
class Function:
    """One function: where it is, how it is reached, its limits, and the variables it is given."""

    package: str
    name: str
    path: Path
    """The folder that holds `__main__.py`."""
    runtime: str
    web: Web
    """`raw`: reached over HTTP with its exact bytes; False: only by its schedule."""
    timeout_ms: int
    memory_mb: int
    logs_kb: int
    environment: Mapping[str, str] = field(hash=False)
    """By name the text in project.yml: a literal, or one in which the deployer puts values in."""
    schedule: Schedule | None

    @property
    def route(self) -> str:
        """The function's part of a URL: `package/function`."""
        return f"{self.package}/{self.name}"


def load(root: Path = ROOT) -> tuple[Function, ...]:
    """Every function of the project in that folder, in the order of project.yml.

    Raises ProjectError for a function that is on disk but not declared (the platform would make it public with its own
    defaults), declared but not on disk (the whole deploy would fail), or declared twice.
    """
    declared = _declared(root)
    routes = [function.route for function in declared]
    found = {str(entry.parent.relative_to(root / PACKAGES_FOLDER)) for entry in _entries(root)}
    problems = [
        *(f"{route} is on disk but not in {PROJECT_FILE}" for route in sorted(found - set(routes))),
        *(f"{route} is in {PROJECT_FILE} but has no {ENTRY_FILE}" for route in sorted(set(routes) - found)),
        *(f"{route} is in {PROJECT_FILE} twice" for route in sorted({r for r in routes if routes.count(r) > 1})),
    ]
    if problems:
        raise ProjectError("; ".join(problems))
    return declared


def _entries(root: Path) -> list[Path]:
    return sorted((root / PACKAGES_FOLDER).glob(f"*/*/{ENTRY_FILE}"))


def _declared(root: Path) -> tuple[Function, ...]:
    try:
        project = yaml.load((root / PROJECT_FILE).read_text(encoding="utf-8"), Words)  # noqa: S506 - a SafeLoader
        return tuple(
            _function(root, package["name"], entry, _environment(project, package, entry))
            for package in project["packages"]
            for entry in package.get("functions") or []
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ProjectError(f"{PROJECT_FILE} cannot be read as a project: {type(error).__name__}: {error}") from error


def _environment(*clauses: Mapping[str, Any]) -> dict[str, str]:
    """The variables of project, package and function as the platform merges them: the nearest wins.

    A clause that is one substitution (`$(A B)`, `${<FILE}`) is a text here: only the deployer fills it in.
    """
    given = [clause.get("environment") for clause in clauses]
    merged = {name: text for one in given if isinstance(one, dict) for name, text in one.items()}
    if wrong := [name for name, text in merged.items() if not isinstance(text, str)]:
        raise TypeError(f"environment: {', '.join(wrong)} has to be a string")
    return merged


def _function(root: Path, package: str, entry: Mapping[str, Any], environment: Mapping[str, str]) -> Function:
    limits = entry["limits"]
    triggers = entry.get("triggers") or []
    return Function(
        package=package,
        name=entry["name"],
        path=root / PACKAGES_FOLDER / package / entry["name"],
        runtime=entry["runtime"],
        web=entry["web"],
        timeout_ms=limits["timeout"],
        memory_mb=limits["memory"],
        logs_kb=limits["logs"],
        environment=environment,
        schedule=Schedule(triggers[0]["name"], triggers[0]["sourceDetails"]["cron"]) if triggers else None,
    )
