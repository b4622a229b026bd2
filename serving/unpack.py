"""A built function's files as the platform unpacks them, copied once for all workers: no later build disturbs them."""

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.functions import ROOT

ENTRY = "__main__.py"
_RENAMED = "main__.py"
# What the deployer never packs when there is no `.include`.
_NEVER = frozenset({"build.sh", "build.cmd", ".ignore", "__deployer__.zip", ".gitignore", ".DS_Store", ".git"})


@dataclass(frozen=True)
class Code:
    """What stands at the top of one function's zip, by name, and the bytes of all of it unpacked."""

    entries: Mapping[str, Path]
    size: int

    def lay_out(self, folder: Path) -> None:
        """Make the folder of one worker: files of its own, folders shared with the others."""
        folder.mkdir(parents=True)
        for name, source in self.entries.items():
            if source.is_dir():
                (folder / name).symlink_to(source)
            else:
                shutil.copyfile(source, folder / (_RENAMED if name == ENTRY else name))


class Store:
    """Copies of what functions are made of; a folder that several of them list is copied once."""

    def __init__(self, folder: Path) -> None:
        """Copies go into `folder`."""
        self._folder = folder
        self._copies: dict[Path, Path] = {}
        self._count = 0

    def unpack(self, function: Path, files: Mapping[str, Path]) -> Code:
        """Copy these files (name in the zip -> where it is) of the function in that folder."""
        groups: dict[str, dict[str, Path]] = {}
        for name, source in files.items():
            top, _, rest = name.partition("/")
            groups.setdefault(top, {})[rest] = source
        entries = {top: self._copy(function, group) for top, group in groups.items()}
        return Code(entries, sum(source.stat().st_size for source in files.values()))

    def _copy(self, function: Path, group: Mapping[str, Path]) -> Path:
        """One file (its name within the group is "") or one folder."""
        rest, source = next(iter(group.items()))
        origin = source.parents[rest.count("/")] if rest else source
        if origin.is_relative_to(function):  # listed in part, maybe; nobody else lists it
            return self._write(group, shutil.copyfile)
        if origin not in self._copies:
            self._copies[origin] = self._write(group, _link)
        return self._copies[origin]

    def _write(self, group: Mapping[str, Path], write: Callable[[Path, Path], object]) -> Path:
        self._count += 1
        target = self._folder / str(self._count)
        for folder in {(target / rest).parent for rest in group}:
            folder.mkdir(parents=True, exist_ok=True)
        for rest, source in group.items():
            write(source, target / rest if rest else target)
        return target


def _link(source: Path, target: Path) -> None:
    """The same file under another name where the file system can: builds replace files and never write into them."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def unlisted(function: Path) -> dict[str, Path]:
    """The files of a function that has no `.include`: all below its folder, but what the deployer leaves out."""
    found = (path for path in sorted(function.rglob("*")) if path.is_file())
    names = {str(path.relative_to(function)): path for path in found}
    return {name: path for name, path in names.items() if not _NEVER & set(Path(name).parts)}


@contextmanager
def building(root: Path = ROOT, *, shared: bool = False) -> Iterator[None]:
    """Hold the project's lib/build: alone to change what is read with it, `shared` to read it. lib/build.py waits."""
    folder = root / "lib/build"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
