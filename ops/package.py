"""What is deployed, function by function: the list of files, the zip as the deployer makes it, its size and its rules.

`./doit package` builds the shared parts, writes each function's `.include`, and prints what a deployment would upload;
`--check` changes nothing and fails on what the deployer would refuse, a stale list, a forbidden file or a size over
budget. It puts the values of .env.example into project.yml; with `--env FILE` those of a real deployment, whose own
environment comes first, as with the deployer.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from ops import budgets, deployer_files, deployer_rules, functions
from ops.budgets import Kind
from ops.deployer_template import TemplateError
from ops.functions import ENTRY_FILE, HANDLER_FILE, ROOT, Function
from serving.unpack import building

BUILD = Path("lib/build")
_WIDTH = 120  # of the table, where no terminal has one
# A function that reaches one of these calls the provider or the chain ...
_HEAVY = frozenset({"requests", "cryptography", "tenacity"})
_DATABASE = frozenset({"pymongo", "bson"})  # ... and one of these works with the database.


class PackageError(Exception):
    """A function cannot be packed as it should be; the text is one line."""


@dataclass(frozen=True)
class Package:
    """What a deployment uploads for one function."""

    function: Function
    kind: Kind
    archive: Path
    names: tuple[str, ...]
    unpacked_bytes: int
    zip_bytes: int


def kind_of(function: Function, root: Path = ROOT) -> Kind:
    """What imports at run time reach: provider or chain (`write`), the database (`read`), or neither (`open`)."""
    reached = {name.partition(".")[0] for name in imports_of(function, root)}
    return "write" if reached & _HEAVY else "read" if reached & _DATABASE else "open"


def imports_of(function: Function, root: Path = ROOT) -> frozenset[str]:
    """Everything that a function imports at its start or in a call, itself or through the library."""
    sources = [function.path / name for name in _sources(function)]
    # Failures are kept by what works with the database anyway. Who calls is asked by an endpoint with a scope only; the
    # edge imports that then.
    seen = {root / "lib/getsmart/stores/failures.py"}
    seen |= set() if any(map(_asks_who, sources)) else {root / "lib/getsmart/auth.py"}
    return frozenset(name for source in sources for name in _reached(source, root / "lib", seen))


def _sources(function: Function) -> list[str]:
    """The function's own files of Python."""
    return [name for name in (ENTRY_FILE, HANDLER_FILE) if (function.path / name).is_file()]


def _asks_who(source: Path) -> bool:
    calls = (node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Call))
    return any(keyword.arg == "scope" for call in calls for keyword in call.keywords)


def _reached(source: Path, library: Path, seen: set[Path]) -> set[str]:
    """The names of all modules that a file imports, directly or through the library; `seen` is not looked into."""
    seen.add(source)
    found: set[str] = set()
    for name in _imports(source):
        inner = library / f"{name.replace('.', '/')}.py"
        if not inner.is_file():
            found |= set() if inner.parent.with_suffix(".py").is_file() else {name}  # of a module of ours: no module
        elif inner not in seen:
            found |= {name, *_reached(inner, library, seen)}
    return found


def _imports(source: Path) -> Iterator[str]:
    """Each module that a file imports at run time; `from a import b` gives both `a` and `a.b`."""
    tree = ast.parse(source.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def include_of(function: Function, root: Path = ROOT) -> str:
    """The text of a function's `.include`: nothing is packed but what stands here."""
    kind = kind_of(function, root)
    own = [*_sources(function), *(["assets"] if (function.path / "assets").is_dir() else [])]
    return "".join(f"{name}\n" for name in own) + f"../../../{BUILD}/getsmart\n../../../{BUILD}/{kind}/virtualenv\n"


def write_includes(root: Path = ROOT) -> list[Path]:
    """Bring every `.include` up to date while nobody reads them; returns those that changed."""
    changed = []
    with building(root):
        for function in functions.load(root):
            path = function.path / ".include"
            if not path.is_file() or path.read_text() != include_of(function, root):
                path.write_text(include_of(function, root))
                changed.append(path)
    return changed


def build(root: Path = ROOT) -> None:
    """Run lib/build.sh as the deployer does; it waits for readers. Raises PackageError when it fails."""
    done = subprocess.run([str(root / "lib/build.sh")], cwd=root / "lib", check=False)
    if done.returncode:
        raise PackageError("lib/build.sh failed")


def contents(function: Function) -> dict[str, Path]:
    """What the zip of a function holds: each name and the file it comes from, by the rules for `.include`."""
    listed = (function.path / ".include").read_text().split("\n")
    found: dict[str, Path] = {}
    for line in filter(None, listed):
        place = (function.path / line).resolve()
        if not place.exists():
            raise PackageError(f"{function.route}: {line} is not there; run ./doit package")
        name = place.name if line.startswith("..") else line
        inner = [path for path in sorted(place.rglob("*")) if path.is_file()] if place.is_dir() else [place]
        found.update({str(Path(name) / path.relative_to(place)) if place.is_dir() else name: path for path in inner})
    return found


def pack(function: Function, target: Path, kind: Kind | None = None) -> Package:
    """Write the zip of a function, and say what is in it. Raises PackageError for a file that must not be there.

    `kind` is found out where it is not known yet.
    """
    files = contents(function)
    for problem in deployer_files.packed_problems(files):
        raise PackageError(f"{function.route}: {problem}")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            archive.write(path, name)
    size = sum(path.stat().st_size for path in files.values())
    return Package(function, kind or kind_of(function), target, tuple(files), size, target.stat().st_size)


def pack_all(folder: Path, root: Path = ROOT) -> list[Package]:
    """Pack every function into `folder`, all from one build."""

    def packed(function: Function, kind: Kind) -> Package:
        return pack(function, folder / f"{function.package}-{function.name}.zip", kind)

    found = functions.load(root)
    kinds = [kind_of(function) for function in found]  # here: Python 3.11 may fail to parse in several threads at once
    with building(root, shared=True), ThreadPoolExecutor() as threads:  # compressing is most of it, and runs beside
        return list(threads.map(packed, found, kinds))


def problems(packages: Sequence[Package], root: Path = ROOT) -> list[str]:
    """Stale lists and what is over budget (ops/budgets.py), a line each."""
    found = []
    for package in packages:
        route = package.function.route
        if (package.function.path / ".include").read_text() != include_of(package.function, root):
            found.append(f"{route}: .include is stale; run ./doit package")
        over = [*budgets.of_zip(package.kind, package.names, package.zip_bytes), *_of_modules(package)]
        found += [f"{route}: {problem}" for problem in over]
    return found


def _of_modules(package: Package) -> list[str]:
    of_modules = budgets.of_start if package.function.web else budgets.of_call
    try:
        return list(of_modules(package.kind, loaded(package)))
    except PackageError as error:
        return [str(error)]


@cache
def loaded(package: Package) -> budgets.Loaded:
    """The modules that the packed function loads, in a bare interpreter of its own. Raises PackageError."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(package.archive) as packed:
            packed.extractall(folder)
        command = [sys.executable, "-I", "-c", _READY, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    if done.returncode:
        raise PackageError(f"does not start: {done.stderr.strip().splitlines()[-1]}")
    return budgets.Loaded(**{when: frozenset(names) for when, names in json.loads(done.stdout).items()})


# As the platform's launcher starts a function; then what its first call imports before it does its work. What
# lib/build.py put a stand-in for is not loaded.
_READY = """
import json, os, runpy, sys
os.chdir(sys.argv[1])
sys.path = [entry for entry in sys.path if "site-packages" not in entry]
activate = os.path.abspath("virtualenv/bin/activate_this.py")
exec(compile(open(activate).read(), activate, "exec"), {"__file__": activate})
sys.path.append(os.getcwd())
main = runpy.run_path(os.path.abspath("__main__.py"), run_name="main__")["main"]
def names():
    loaded = {name for name, module in sys.modules.items() if type(module).__name__ not in {"_Later", "NoneType"}}
    return sorted(name for name in loaded if ":" not in name)
ready = names()
getattr(main, "contracts", list)()
print(json.dumps({"ready": ready, "called": names()}))
"""


def main(arguments: list[str]) -> int:
    """Build, write the lists, pack and print a table; `--check` only compares. Exit 1 with a line for each problem."""
    parser = argparse.ArgumentParser(prog="./doit package", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail on what is refused, stale, too large"
    )
    parser.add_argument("--env", type=Path, help="with --check: the env file of a deployment, not .env.example")
    parser.add_argument(
        "--set-baseline", action="store_true", help="write ops/modules.json: what is loaded now is known"
    )
    options = parser.parse_args(arguments)
    try:
        found = refusals(options.env) if options.check else []
        found = found or _packed(write=not options.check, baseline=options.set_baseline)
    except (PackageError, TemplateError) as error:
        found = [str(error)]
    for problem in found:
        print(f"package: {problem}", file=sys.stderr)
    return 1 if found else 0


def refusals(env_file: Path | None, root: Path = ROOT) -> list[str]:
    """What the deployer would refuse with the values of that file and this process; else of .env.example alone."""
    environ = os.environ if env_file else {}
    return deployer_rules.problems(root, deployer_rules.values_of(env_file or root / ".env.example", environ))


def _packed(*, write: bool, baseline: bool) -> list[str]:
    """Build, pack and print everything; returns what is wrong with it."""
    build()
    for path in write_includes() if write else []:
        print(f"wrote {path.relative_to(ROOT)}")
    with tempfile.TemporaryDirectory() as folder:
        packages = pack_all(Path(folder))
        if baseline:
            budgets.set_baseline([(one.kind, loaded(one)) for one in packages if one.function.web])
        _print(packages)
        return problems(packages)


def _print(packages: Sequence[Package]) -> None:
    columns = ("kind", "zip bytes", "files", "unpacked", "ready", "called")
    table = Table(Column("function", no_wrap=True), *columns, caption="ready, called: modules loaded by then")
    for package in packages:
        modules = loaded(package)
        sizes = (package.zip_bytes, len(package.names), package.unpacked_bytes)
        numbers = (*sizes, len(modules.ready), len(modules.called))
        table.add_row(package.function.route, package.kind, *(f"{number:,}" for number in numbers))
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
