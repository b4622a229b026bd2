"""An env file whose values change one at a time: every other line stays as it is, and nobody sees half a file."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ops.deployer_template import read_env


class Refused(Exception):
    """A step that would lock somebody out, or cannot be made; the text says why and what would help."""


def values(path: Path) -> dict[str, str]:
    """What the file says. Raises TemplateError when there is none."""
    return read_env(path)


def items(path: Path, variable: str) -> list[str]:
    """A variable that is a list, comma separated. Raises Refused when it is not there."""
    found = [part.strip() for part in values(path).get(variable, "").split(",") if part.strip()]
    if not found:
        raise Refused(f"{variable} has no value in {path.name}")
    return found


def change(path: Path, changes: Mapping[str, str]) -> None:
    """Give variables new values, in their lines or at the end; the file is its owner's alone afterwards."""
    text = path.read_text(encoding="utf-8")
    for name, value in changes.items():
        if "'" in value or "\n" in value:
            raise Refused(f"the new value of {name} holds a single quote or a line end, which project.yml cannot take")
        line = f"{name}='{value}'"
        pattern = re.compile(rf"^{name}=.*$", re.MULTILINE)
        found = pattern.search(text)
        text = f"{text[: found.start()]}{line}{text[found.end() :]}" if found else f"{text}{line}\n"
    draft = path.with_name(f"{path.name}.new")
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)  # noqa: PTH105 - Path.replace is the same; the file's mode goes with it
