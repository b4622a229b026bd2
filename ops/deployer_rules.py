"""The deployer's rules for project.yml, offline: what it refuses, what it takes and should not, each as one line.

Where deployers differ the stricter one counts: 4.3.10, which the tests run, and 5.0.19, the newest that is public.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ops import deployer_files
from ops.deployer_template import TemplateError, parse, read_env, render

MOST_TRIGGERS = 3
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_@ .&-]*[A-Za-z0-9_@.&-])?")
_CRON_FIELDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}
_CRON_PART = re.compile(r"(\*|\d+(?:-\d+)?)(?:/(\d+))?")
# Set through `web` and `webSecure` only; the deployer refuses them as environment names too.
_RESERVED = frozenset({"web-export", "raw-http", "require-whisk-auth"})
_SECRET = re.compile(
    r"secret|passw|credential|private|api_?key|access_?key|token$|uri$|log_destinations", re.IGNORECASE
)
# Stands for every value when it is asked where the values went.
_MARK = "templated-value"


def _name(value: str) -> str:
    if len(value) > 256 or not _NAME.fullmatch(value):
        raise ValueError("letters, digits and _, then also @ . & - and inner spaces, up to 256")
    return value


def _cron(value: str) -> str:
    """Five fields of numbers: names, weekday 7, seconds and @daily pass one deployer or none."""
    fields = value.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError("a cron expression has five fields")
    for text, (what, (low, high)) in zip(fields, _CRON_FIELDS.items(), strict=True):
        for part in text.split(","):
            _cron_part(part, what, low, high)
    return value


def _cron_part(part: str, what: str, low: int, high: int) -> None:
    match = _CRON_PART.fullmatch(part)
    if not match:
        raise ValueError(f"{what} {part!r}: digits, * , - and / only")
    numbers = [int(number) for number in match[1].split("-")] if match[1] != "*" else []
    if numbers != sorted(numbers) or not all(low <= number <= high for number in numbers):
        raise ValueError(f"{what} {part!r}: from {low} to {high}")
    if match[2] and (int(match[2]) == 0 or (high - low + 1) % int(match[2])):
        raise ValueError(f"{what} {part!r}: a step has to divide {high - low + 1}")


def _web_secure(value: bool | str) -> bool | str:
    if value is True or value == "":
        raise ValueError("a secret from the environment, or false: an empty string is a secret too, not off")
    return value


Name = Annotated[str, AfterValidator(_name)]
Strings = dict[str, str]
Anything = dict[str, Any]
Web = Literal["raw", True, False]


class _Clause(BaseModel):
    """A mapping of project.yml: no other key, and no value taken for another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Limits(_Clause):
    """All three, always: a limit that is left out stays what it was before."""

    timeout: int = Field(ge=100, le=900_000)
    memory: int = Field(ge=128, le=1024)
    logs: int = Field(ge=0, le=256)


class _SourceDetails(_Clause):
    cron: Annotated[str, AfterValidator(_cron)]
    with_body: Anything = Field(default={}, alias="withBody")


class _Trigger(_Clause):
    """The documented form: 4.3.10 knows no other, and newer ones convert it."""

    name: Name
    source_type: Literal["scheduler"] = Field(alias="sourceType")
    source_details: _SourceDetails = Field(alias="sourceDetails")
    enabled: bool = True


class _Function(_Clause):
    name: Name
    runtime: Literal["python:3.11"]  # what lib/build.sh builds for
    limits: _Limits
    file: str | None = None
    main: str | None = None
    docker: str | None = None
    binary: bool | None = None
    remote_build: bool | None = Field(default=None, alias="remoteBuild")
    local_build: bool | None = Field(default=None, alias="localBuild")
    web: Web | None = None
    web_secure: Annotated[bool | str, AfterValidator(_web_secure)] = Field(default=False, alias="webSecure")
    parameters: Anything = {}
    environment: Strings = {}
    annotations: Anything = {}
    triggers: list[_Trigger] = []


class _Package(_Clause):
    name: Name
    functions: list[_Function] = []
    shared: bool | None = None
    web: Web | None = None
    parameters: Anything = {}
    environment: Strings = {}
    annotations: Anything = {}


class _Ownership(_Clause):
    test: str | None = None
    production: str | None = None


class _Project(_Clause):
    packages: list[_Package]
    target_namespace: str | _Ownership | None = Field(default=None, alias="targetNamespace")
    parameters: Anything = {}
    environment: Strings = {}


_WORDS = {
    "extra_forbidden": "no such key",
    "missing": "has to be there",
    "string_type": "has to be a string: quote it",
    "bool_type": "has to be true or false",
    "int_type": "has to be a whole number, without quotes",
    "dict_type": "has to be a mapping",
    "model_type": "has to be a mapping",
    "list_type": "has to be a list",
}


def problems(root: Path, values: Mapping[str, str]) -> list[str]:
    """Everything that keeps the project in that folder from being deployed as it should be, a line each."""
    return [*project_problems(root, values), *address_problems(values), *deployer_files.problems(root)]


def address_problems(values: Mapping[str, str]) -> list[str]:
    """What is wrong with the address of the database: what an SRV record needs is not packed, and slow at a start."""
    if not values.get("MONGODB_URI", "").startswith("mongodb+srv:"):
        return []
    return ['MONGODB_URI is mongodb+srv://: functions need mongodb:// with hosts (docs/deploy.md, "The database")']


def values_of(env_file: Path, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a deployment would put in: the env file's values, and before them those of the deployer's own process."""
    return {**read_env(env_file), **{name: value for name, value in (environ or {}).items() if value}}


def project_problems(root: Path, values: Mapping[str, str]) -> list[str]:
    """What is wrong with project.yml once the values are in it."""
    try:
        text = (root / "project.yml").read_text(encoding="utf-8")
        rendered = render(text, values, root)
        if rendered.unresolved:
            return [f"project.yml:{line}: {name} is unset or empty" for line, name in rendered.unresolved]
        raw = parse(rendered.text)
        marked = parse(render(text, dict.fromkeys(values, _MARK), root).text)
        project = _Project.model_validate(raw)
    except (TemplateError, OSError) as error:
        return [str(error)]
    except ValidationError as error:
        return [_line(raw, found["loc"], found["type"], found["msg"]) for found in error.errors()]
    return [f"project.yml: {problem}" for rule in _RULES for problem in rule(project, marked)]


def _line(raw: Any, loc: tuple[int | str, ...], kind: str, message: str) -> str:
    """An error of the model, its place named as a reader knows it: package/function, then the keys."""
    names, rest = [], list(loc)
    while len(rest) > 1 and rest[0] in {"packages", "functions"} and isinstance(rest[1], int):
        raw = raw[rest[0]][rest[1]]
        names.append(str(raw.get("name", f"#{rest[1] + 1}")) if isinstance(raw, dict) else f"#{rest[1] + 1}")
        rest = rest[2:]
    place = ": ".join(part for part in ("/".join(names), ".".join(map(str, rest))) if part)
    return f"project.yml: {place + ': ' if place else ''}{_WORDS.get(kind, message.removeprefix('Value error, '))}"


def _each(project: _Project) -> Iterator[tuple[str, _Package, _Function]]:
    for package in project.packages:
        for function in package.functions:
            yield f"{package.name}/{function.name}", package, function


def _names(project: _Project, _: Any) -> Iterator[str]:
    """A package of its own name, and each name once."""
    if any(package.name == "default" for package in project.packages):
        yield "default: no package may be called so: it takes neither environment nor parameters"
    packages = Counter(package.name for package in project.packages)
    routes = Counter(route for route, _, _ in _each(project))
    yield from (f"{name}: stands there twice" for name, count in (packages + routes).items() if count > 1)


def _web_or_schedule(project: _Project, _: Any) -> Iterator[str]:
    """What runs on a schedule is not on the web; what says nothing would be public."""
    for route, package, function in _each(project):
        web = package.web if function.web is None else function.web
        if web is None:
            yield f"{route}: web: has to be there: without it the function is public"
        elif web is not False and (function.triggers or function.name == "tick"):
            yield f"{route}: web: has to be false: it runs on a schedule only"


def _triggers(project: _Project, _: Any) -> Iterator[str]:
    """At most three in a namespace, each under a name of its own."""
    names = Counter(trigger.name for _, _, function in _each(project) for trigger in function.triggers)
    if names.total() > MOST_TRIGGERS:
        yield f"triggers: {names.total()} of them; a namespace has {MOST_TRIGGERS}"
    yield from (f"triggers: {name}: stands there twice" for name, count in names.items() if count > 1)


def _remote_builds(project: _Project, _: Any) -> Iterator[str]:
    """A remote build drops the trigger without a word, and builds lib/ once more for each function."""
    for route, _package, function in _each(project):
        if function.remote_build:
            yield f"{route}: remoteBuild: has to be left out"


def _environment(project: _Project, _: Any) -> Iterator[str]:
    """Parameters and environment share one space of names, and three are the deployer's."""
    for route, package, function in _each(project):
        parameters = {**project.parameters, **package.parameters, **function.parameters}
        environment = {**project.environment, **package.environment, **function.environment}
        for name in sorted(parameters.keys() & environment):
            yield f"{route}: environment.{name}: is a parameter too"
        for name in sorted({*environment, *function.annotations} & _RESERVED):
            yield f"{route}: {name}: is set by web and webSecure only"


def _secrets(_: _Project, marked: Any) -> Iterator[str]:
    """What comes from the environment goes under `environment`: parameters are in each event, annotations public."""
    for place, clause in _clauses(marked):
        for kind in ("parameters", "annotations"):
            for name, value in _items(clause.get(kind)):
                if _MARK in str(value) or _MARK in name or _SECRET.search(name):
                    yield f"{place}{kind}.{name}: belongs under environment"
        for name, value in _items(clause.get("environment")):
            if _SECRET.search(name) and _MARK not in str(value):
                yield f"{place}environment.{name}: a secret comes from the environment, as '${{{name}}}'"
        if _MARK not in str(clause.get("webSecure") or _MARK):
            yield f"{place}webSecure: a secret comes from the environment, in quotes"


def _clauses(marked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The project, its packages and its functions, each with its place."""
    yield "", marked
    for package in marked["packages"]:
        yield f"{package['name']}: ", package
        for function in package.get("functions") or []:
            yield f"{package['name']}/{function['name']}: ", function


def _items(clause: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of a clause, which may be templated as a whole."""
    yield from clause.items() if isinstance(clause, dict) else [("*", clause)] if clause else []


_RULES = (_names, _web_or_schedule, _triggers, _remote_builds, _environment, _secrets)
