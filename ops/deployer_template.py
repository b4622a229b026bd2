"""project.yml as the deployer reads it: the env file, the substitutions in the text, then JavaScript's YAML."""

import functools
import json
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ops.functions import Words

Values = Mapping[str, str]

# The deployer's own reader of env files (the npm package dotenv), letter by letter: `#` ends a value without quotes.
_ENV_LINE = re.compile(
    r"""^\s*(?:export\s+)?([\w.-]+)(?:\s*=\s*?|:\s+?)"""
    r"""(\s*'(?:\\'|[^'])*'|\s*"(?:\\"|[^"])*"|\s*`(?:\\`|[^`])*`|[^#\r\n]+)?\s*(?:\#.*)?$""",
    re.MULTILINE | re.ASCII,
)
_CLOSED_BY = {"${": "}", "$(": ")"}
_OPENING = re.compile(r"\$[{(]")


class TemplateError(Exception):
    """project.yml cannot be read as the deployer would; the text is one line that names the place."""


@dataclass
class Rendered:
    """The text after the substitutions, and the names that had no value with their lines."""

    text: str = ""
    unresolved: list[tuple[int, str]] = field(default_factory=list)


def read_env(path: Path) -> dict[str, str]:
    """The variables of an env file: a JSON object, or lines of NAME=value. Raises TemplateError when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TemplateError(f"{path.name}: cannot be read: {error.strerror}") from error
    try:
        found = json.loads(text)
    except ValueError:
        return {match[1]: _unquoted(match[2] or "") for match in _ENV_LINE.finditer(text)}
    return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _unquoted(value: str) -> str:
    """A value without the quotes around it; in double ones, escaped line ends become real."""
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"`":
        inner = value[1:-1]
        return inner.replace("\\n", "\n").replace("\\r", "\r") if value[0] == '"' else inner
    return value


def render(text: str, values: Values, root: Path) -> Rendered:
    """Put the values in wherever a `${` or `$(` stands, comments included; there is no way to escape one.

    What was put in is not looked at again. An empty value is no value. Raises TemplateError for one that never closes.
    """
    done = Rendered()
    place = 0
    for start, end, inner in _substitutions(text):
        line = text.count("\n", 0, start) + 1
        found = _dictionary if text[start + 1] == "(" or re.search(r"\s", inner) else _single
        done.text += text[place:start] + found(inner, values, root, functools.partial(_missing, done, line))
        place = end
    done.text += text[place:]
    return done


def _substitutions(text: str) -> Iterator[tuple[int, int, str]]:
    """Where each substitution starts and ends, and what stands in it."""
    place = 0
    while opening := _OPENING.search(text, place):
        end = text.find(_CLOSED_BY[opening[0]], opening.end())
        if end < 0:
            line = text.count("\n", 0, opening.start()) + 1
            raise TemplateError(f"project.yml:{line}: {opening[0]} opens a substitution that never ends")
        yield opening.start(), end + 1, text[opening.end() : end].strip()
        place = end + 1


def _missing(done: Rendered, line: int, name: str) -> str:
    done.unresolved.append((line, name))
    return f"<{name}>"


def _single(inner: str, values: Values, root: Path, missing: Callable[[str], str]) -> str:
    """`${NAME}`; `${|NAME}` keeps new lines as they are; `${<file}` is an env file as JSON."""
    if inner.startswith("<"):
        path = root / inner[1:].strip()
        return (json.dumps(read_env(path)) if path.is_file() else "") or missing(inner)
    name = inner.removeprefix("|").strip()
    value = values.get(name) or missing(name)
    return value if inner.startswith("|") else value.replace("\n", "\\n")


def _dictionary(inner: str, values: Values, _: Path, missing: Callable[[str], str]) -> str:
    """`$(A B)`: a mapping of those names to their values."""
    return json.dumps({name: values.get(name) or missing(name) for name in inner.split()}, ensure_ascii=False)


class _Loader(Words):
    """YAML as js-yaml 3 reads it: a key stands once, and words such as `on` and `no` are words."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping; the same key twice is an error."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and keys.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":float")]
    for first, known in Words.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9_]+|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    [*"-+0123456789."],
)


def parse(text: str) -> Any:
    """What a rendered text holds. Raises TemplateError, with the line, for what js-yaml refuses."""
    if "\t" in text:
        line = text.count("\n", 0, text.index("\t")) + 1
        raise TemplateError(f"project.yml:{line}: holds a tab, or a value that does")
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise TemplateError(f"project.yml:{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise TemplateError(f"project.yml: {' '.join(str(error).split())}") from error
