"""The deployer's rules for packages/ and lib/: what it would build, leave out, pack or send as text, a line each."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ops import functions
from ops.functions import ENTRY_FILE, PACKAGES_FOLDER, ProjectError

# What must not be in a zip, wherever it stands: requirements.txt would be installed at start-up on one start path.
NOT_PACKED = frozenset({".env", "__pycache__", "tests", "requirements.txt", "build.sh", ".git"})
_BUILDS = ("build.sh", "build.cmd", ".build", "package.json")
_LIB = "../../../lib/"
# The deployer leaves these out of every zip, whatever .include says.
_LEFT_OUT = re.compile(r"\.nimbella|\.deployed|_tmp_|\.#|~$|\.sw[px]$|(^|/)\.git/|(^|/)\.(gitignore|DS_Store)$")


def problems(root: Path) -> list[str]:
    """What the deployer would stumble over, or do without being asked, in the project's folders."""
    found = [*_strays(root), *_library(root / "lib")]
    for folder in sorted(path for path in (root / PACKAGES_FOLDER).glob("*/*") if path.is_dir()):
        route = folder.relative_to(root / PACKAGES_FOLDER)
        found += [f"{route}: {problem}" for problem in (*_folder(folder), *_include(folder))]
    try:
        functions.load(root)
    except ProjectError as error:
        found.append(" ".join(str(error).split()))
    return found


def packed_problems(names: Iterable[str]) -> list[str]:
    """What is wrong with the names of a zip."""
    names = list(names)
    found = [f"{name}: must not be packed" for name in names if NOT_PACKED & set(Path(name).parts)]
    found += [f"{name}: is left out by the deployer" for name in names if _LEFT_OUT.search(name)]
    if ENTRY_FILE not in names:
        found.append(f"{ENTRY_FILE}: has to be at the top of the zip")
    if len(names) == 1:
        found.append(f"{names[0]}: a single file is sent as text, without a zip")
    return found


def _strays(root: Path) -> Iterator[str]:
    """A file beside the function folders would be a function of its own, public and without its library."""
    for package in sorted((root / PACKAGES_FOLDER).glob("*")):
        place = package.relative_to(root)
        if not package.is_dir():
            yield f"{place}: is no package"
            continue
        for entry in sorted(package.iterdir()):
            if not entry.is_dir():
                yield f"{place / entry.name}: would be deployed as a function of its own"
            elif not any(inner.is_file() for inner in entry.iterdir()):
                yield f"{place / entry.name}: a function's folder holds a file at its top"


def _library(folder: Path) -> Iterator[str]:
    """lib/ is built by build.sh alone, and takes part in no list."""
    for name in (".include", ".source", ".ignore", ".build"):
        if (folder / name).exists():
            yield f"lib/{name}: the deployer refuses it there"
    script = folder / "build.sh"
    if script.exists() and not script.stat().st_mode & 0o111:
        yield "lib/build.sh: has to be executable"


def _folder(folder: Path) -> Iterator[str]:
    """No build of its own, which would be remote and drop the trigger; no link, which arrives as a text file."""
    yield from (f"{name}: a function has no build of its own" for name in _BUILDS if (folder / name).exists())
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            yield f"{path.relative_to(folder)}: a link does not survive the platform's unpacking"


def _include(folder: Path) -> Iterator[str]:
    """The list that decides what is packed: plain relative paths, and of what is outside only lib/."""
    path = folder / ".include"
    if not path.is_file():
        yield ".include: has to be there: without it everything in the folder is packed"
        return
    if (folder / ".ignore").exists():
        yield ".ignore: cannot stand beside .include"
    lines = [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    if ENTRY_FILE not in lines:
        yield f".include: does not list {ENTRY_FILE}"
    for line in lines:
        yield from (f".include: {line}: {problem}" for problem in _item(folder, line))


def _item(folder: Path, line: str) -> Iterator[str]:
    if line.startswith("/"):
        yield "an absolute path"
    elif ".." in line.removeprefix(_LIB):
        yield f".. leads to {_LIB} only"
    elif not (folder / line).exists():
        yield "is not there (a comment is a path too)" if line.startswith("#") else "is not there; run ./doit package"
