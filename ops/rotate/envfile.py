"""An env file whose values change one at a time: every other line stays as it is, and nobody sees half a file."""

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ops.deployer_template import read_env


class Refused(Exception):
    """A step that would lock somebody out, or cannot be made; the text says why and what would help."""


def values(path: Path) -> dict[str, str]:
    """What the file says. Raises TemplateError when there is none."""
    return read_env(path)


def value(path: Path, variable: str) -> str:
    """What the file says of one variable. Raises Refused when it is not there."""
    found = values(path).get(variable, "")
    if not found:
        raise Refused(f"{variable} has no value in {path.name}")
    return found


def items(path: Path, variable: str) -> list[str]:
    """A variable that is a list, comma separated. Raises Refused when it is not there."""
    return [part.strip() for part in value(path, variable).split(",") if part.strip()]


def mark(secret: str) -> str:
    """What a secret is called where it must not be seen."""
    return hashlib.sha256(secret.encode()).hexdigest()[:8]


def newest(path: Path, variable: str) -> str | None:
    """The mark of the value that a rotation under way has added; None where the file does not say."""
    found = re.search(_note(variable, r"(\w+)"), path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def note(variable: str, which: str) -> str:
    """The line that says which of several values is the new one."""
    return f"# rotate {variable}: {which} is the new one"


def _note(variable: str, which: str) -> str:
    return f"^{note(variable, which)}$"


def change(
    path: Path,
    changes: Mapping[str, str],
    *,
    was: Mapping[str, str] | None = None,
    added: Mapping[str, str | None] | None = None,
) -> None:
    """Give variables new values, in their lines or at the end; the file is its owner's alone afterwards.

    `added` notes which value of a list is the new one, None that there is no such any more. Raises Refused, and changes
    nothing, when a variable of `was` has another value by now, when somebody else writes at this time, or when the file
    has a form in which a line cannot be changed.
    """
    path = path.resolve()
    with _alone(path):
        text = path.read_text(encoding="utf-8")
        before = read_env(path)
        if changed := [name for name, old in (was or {}).items() if before.get(name) != old]:
            raise Refused(f"{', '.join(changed)} in {path.name} was changed meanwhile: look at it, and repeat the step")
        new = _noted(_replaced(text, changes), added or {})
        _swap(path, text, new, {**before, **changes})


def _replaced(text: str, changes: Mapping[str, str]) -> str:
    if text and not text.endswith("\n"):
        text += "\n"
    for name, value_ in changes.items():
        if "'" in value_ or "\n" in value_:
            raise Refused(f"the new value of {name} holds a single quote or a line end, which project.yml cannot take")
        line = f"{name}='{value_}'"
        found = list(re.finditer(rf"^[ \t]*(?:export\s+)?{name}[ \t]*=.*$", text, re.MULTILINE))
        last = found[-1] if found else None  # that one counts
        text = f"{text[: last.start()]}{line}{text[last.end() :]}" if last else f"{text}{line}\n"
    return text


def _noted(text: str, added: Mapping[str, str | None]) -> str:
    for variable, which in added.items():
        text = re.sub(_note(variable, r"\w+") + r"\n?", "", text, flags=re.MULTILINE)
        text += f"{note(variable, which)}\n" if which else ""
    return text


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the folder, so that two rotations do not write at once; it ends with the process, whatever happens to it."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _swap(path: Path, old: str, new: str, wanted: Mapping[str, str]) -> None:
    """Put the new text in the place of the old one, whole. Raises Refused when it would not say what is wanted."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # its owner's alone
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(new)
            file.flush()
            os.fsync(file.fileno())
        if read_env(draft) != wanted:
            raise Refused(f"{path.name} cannot be changed line by line: change it by hand")
        if path.read_text(encoding="utf-8") != old:
            raise Refused(f"somebody else changes {path.name} at this time: repeat the step")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
