"""Lay down a new endpoint: door, handler, test and entry in project.yml, all working before a line is changed."""

import keyword
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import yaml

from ops.functions import ENTRY_FILE, HANDLER_FILE, PACKAGES_FOLDER, PROJECT_FILE, ROOT, ProjectError, load

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

DOOR = Template('''\
"""GET /$package/$function - one line that says what a caller gets from it."""

from getsmart.front import KEY, function

main = function(__file__, GET=KEY)
''')

HANDLER = Template('''\
"""GET /$package/$function - one line that says what a caller gets from it."""

from getsmart.fields import Query
from getsmart.front import Request
from getsmart.replies import Reply, success
from getsmart.web import endpoint


class ${model}Query(Query):
    """Which ones; a field a line, with a type of getsmart.fields."""


@endpoint("GET", scope="admin", takes=${model}Query)
def main(request: Request[${model}Query]) -> Reply:
    """200 with what was asked for."""
    return success(200, request.input.model_dump(), "$function")
''')

TEST = Template('''\
"""GET /$package/$function, called as the platform calls it."""

import json
from types import SimpleNamespace

import pytest

from packages.$package.$function.__main__ import main

CONTEXT = SimpleNamespace(function_name="/namespace/$package/$function")


def event(method: str) -> dict[str, object]:
    """A raw web event without an API key."""
    http = {"method": method, "path": "", "headers": {}, "queryString": "", "body": "", "isBase64Encoded": False}
    return {"http": http}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_refused(method: str) -> None:
    """Any method but GET is 405, and Allow names the right one."""
    reply = main(event(method), CONTEXT)
    assert reply["statusCode"] == 405
    assert reply["headers"]["Allow"] == "GET"


def test_a_caller_without_a_key_is_refused() -> None:
    """No API key is 401 `unauthenticated`."""
    reply = main(event("GET"), CONTEXT)
    body = reply["body"]
    content = json.loads(body) if isinstance(body, str) else body
    assert (reply["statusCode"], content["error"]["code"]) == (401, "unauthenticated")
''')

ENTRY = Template("""\
      - name: $function
        runtime: python:3.11
        web: raw
        limits: {timeout: 30000, memory: 256, logs: 16}
        environment:
          MONGODB_URI: '$${MONGODB_URI}'
          MONGODB_DATABASE: '$${MONGODB_DATABASE}'
          MONGODB_MAX_POOL_SIZE: '$${MONGODB_MAX_POOL_SIZE}'
          COLOUR: '$${COLOUR}'
          APP_VERSION: '$${APP_VERSION}'
          LOG_DESTINATIONS: '$${LOG_DESTINATIONS}'
""")

PACKAGE = Template("  - name: $package\n    functions:\n")

NEXT = Template("""\
Made $door
     $handler
     $test
     and the entry of $package/$function in project.yml. It runs: ./doit test $test

Next: say what it does in its docstring, in both files; choose its scope ("admin" lets nobody else in); give the query
its fields, or make it a POST with a Body (its door then asks for KEY_AND_JSON); put the work into
lib/getsmart/services; list in project.yml what else it reads from the environment; add the row to the endpoint tables
of README.md and docs/, and a line to CHANGELOG.md.""")


class Refused(Exception):
    """No endpoint can be made of what was asked for; nothing was changed."""


@dataclass(frozen=True)
class Scaffold:
    """The files that were made, relative to the project."""

    door: Path
    handler: Path
    test: Path


def create(route: str, root: Path = ROOT) -> Scaffold:
    """Make the endpoint `package/function` in the project at root. Raises Refused, before anything is written."""
    package, function = _names(route)
    made = Scaffold(
        door=Path(PACKAGES_FOLDER, package, function, ENTRY_FILE),
        handler=Path(PACKAGES_FOLDER, package, function, HANDLER_FILE),
        test=Path("tests", PACKAGES_FOLDER, package, f"test_{function}.py"),
    )
    for path in (made.door.parent, made.test):
        if (root / path).exists():
            raise Refused(f"{path} exists already")
    project = _with_entry((root / PROJECT_FILE).read_text(encoding="utf-8"), package, function)
    words = {"package": package, "function": function, "model": function.title().replace("_", "")}
    for path, template in ((made.door, DOOR), (made.handler, HANDLER), (made.test, TEST)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(template.substitute(words), encoding="utf-8")
    (root / PROJECT_FILE).write_text(project, encoding="utf-8")
    load(root)
    return made


def _names(route: str) -> tuple[str, str]:
    package, separator, function = route.partition("/")
    for name in (package, function):
        if not separator or not NAME.fullmatch(name) or keyword.iskeyword(name):
            raise Refused(
                f"{route!r} is not package/function: two names of a-z, 0-9 and _, letter first, no Python keyword"
            )
    if package == "default":
        raise Refused("the platform's package 'default' takes no environment: choose another")
    return package, function


def _with_entry(text: str, package: str, function: str) -> str:
    """project.yml with the function at the end of its package. A text insert: comments and layout stay as they are."""
    start = text.find(f"\n  - name: {package}\n")
    entry = ENTRY.substitute(function=function)
    text = text if text.endswith("\n") else text + "\n"
    if start < 0:
        changed = text + PACKAGE.substitute(package=package) + entry
    else:
        following = text.find("\n  - name: ", start + 1)
        end = len(text) if following < 0 else following + 1
        changed = text[:end] + entry + text[end:]
    _compare(text, changed, package, function)
    return changed


def _compare(before: str, after: str, package: str, function: str) -> None:
    """Raise Refused unless exactly this function came to be: the file's layout may be one the insert can't follow."""
    try:
        old, new = _routes(before), _routes(after)
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise Refused(f"{PROJECT_FILE} cannot be read: {error}") from error
    if function in old.get(package, []):
        raise Refused(f"{package}/{function} is in {PROJECT_FILE} already")
    if new != {**old, package: [*old.get(package, []), function]}:
        raise Refused(
            f"{PROJECT_FILE} is laid out in a way that this program can't add to: add {package}/{function} by hand"
        )


def _routes(text: str) -> dict[str, list[str]]:
    packages = yaml.safe_load(text)["packages"]
    return {package["name"]: [entry["name"] for entry in package["functions"]] for package in packages}


def main(words: Sequence[str], root: Path = ROOT) -> int:
    """Scaffold the endpoint that the words name; a line on stderr and exit code 1 if refused, 2 if not named."""
    if len(words) != 1:
        print("usage: ./doit new PACKAGE/FUNCTION", file=sys.stderr)
        return 2
    try:
        made = create(words[0], root)
    except (Refused, ProjectError) as refusal:
        print(f"new: {refusal}", file=sys.stderr)
        return 1
    package, function = words[0].split("/")
    print(NEXT.substitute(door=made.door, handler=made.handler, test=made.test, package=package, function=function))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
