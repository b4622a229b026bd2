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
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ops import deployer_files, deployer_rules, functions
from ops.deployer_template import TemplateError
from ops.functions import ROOT, Function

BUILD = Path("lib/build")
# A function that reaches one of these calls the provider or the chain: it needs the larger set.
_HEAVY = frozenset({"requests", "cryptography", "tenacity"})
MOST_ZIP_BYTES = {"read": 5_000_000, "write": 11_500_000}
PLATFORM_BYTES = 36_000_000  # 48 MB of base64, digitalocean-functions.md section 6


class PackageError(Exception):
    """A function cannot be packed as it should be; the text is one line."""


@dataclass(frozen=True)
class Package:
    """What a deployment uploads for one function."""

    function: Function
    kind: str
    names: tuple[str, ...]
    unpacked_bytes: int
    zip_bytes: int


def kind_of(function: Function, root: Path = ROOT) -> str:
    """`write` when an import that can happen at run time reaches the provider's client or the chain, else `read`."""
    reached = _reached(function.path / "__main__.py", root / "lib", set())
    return "write" if reached & _HEAVY else "read"


def _reached(source: Path, library: Path, seen: set[Path]) -> set[str]:
    """The top-level names of everything that a file imports, directly or through the library."""
    seen.add(source)
    found: set[str] = set()
    for name in _imports(source):
        found.add(name.partition(".")[0])
        inner = next((p for p in (library / f"{name.replace('.', '/')}.py",) if p.is_file()), None)
        if inner is not None and inner not in seen:
            found |= _reached(inner, library, seen)
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
    assets = "assets\n" if (function.path / "assets").is_dir() else ""
    return f"__main__.py\n{assets}../../../{BUILD}/getsmart\n../../../{BUILD}/{kind}/virtualenv\n"


def write_includes(root: Path = ROOT) -> list[Path]:
    """Bring every `.include` up to date; returns those that changed."""
    changed = []
    for function in functions.load(root):
        path = function.path / ".include"
        if not path.is_file() or path.read_text() != include_of(function, root):
            path.write_text(include_of(function, root))
            changed.append(path)
    return changed


def build(root: Path = ROOT) -> None:
    """Run lib/build.sh as the deployer does. Raises PackageError when it fails."""
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


def pack(function: Function, target: Path) -> Package:
    """Write the zip of a function, and say what is in it. Raises PackageError for a file that must not be there."""
    files = contents(function)
    for problem in deployer_files.packed_problems(files):
        raise PackageError(f"{function.route}: {problem}")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            archive.write(path, name)
    size = sum(path.stat().st_size for path in files.values())
    return Package(function, kind_of(function), tuple(files), size, target.stat().st_size)


def pack_all(folder: Path, root: Path = ROOT) -> list[Package]:
    """Pack every function into `folder`."""
    return [pack(function, folder / f"{function.package}-{function.name}.zip") for function in functions.load(root)]


def problems(packages: Sequence[Package], root: Path = ROOT) -> list[str]:
    """Stale lists and sizes over budget, a line each."""
    found = []
    for package in packages:
        route = package.function.route
        if (package.function.path / ".include").read_text() != include_of(package.function, root):
            found.append(f"{route}: .include is stale; run ./doit package")
        if package.zip_bytes > min(MOST_ZIP_BYTES[package.kind], PLATFORM_BYTES):
            found.append(f"{route}: zip of {package.zip_bytes} bytes is over {MOST_ZIP_BYTES[package.kind]}")
    return found


def modules_of(archive: Path) -> tuple[str, ...]:
    """The modules that are loaded once the function is ready, in a bare interpreter of its own."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        done = subprocess.run(
            [sys.executable, "-I", "-c", _READY, folder], capture_output=True, text=True, check=False, env={}
        )
    if done.returncode:
        raise PackageError(f"{archive.name}: does not start: {done.stderr.strip().splitlines()[-1]}")
    return tuple(json.loads(done.stdout))


_READY = """
import json, os, runpy, sys
os.chdir(sys.argv[1])
sys.path = [entry for entry in sys.path if "site-packages" not in entry]
activate = os.path.abspath("virtualenv/bin/activate_this.py")
exec(compile(open(activate).read(), activate, "exec"), {"__file__": activate})
sys.path.append(os.getcwd())
runpy.run_path("__main__.py", run_name="main__")
print(json.dumps(sorted(sys.modules)))
"""


def main(arguments: list[str]) -> int:
    """Build, write the lists, pack and print a table; `--check` only compares. Exit 1 with a line for each problem."""
    parser = argparse.ArgumentParser(prog="./doit package", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail on what is refused, stale, too large"
    )
    parser.add_argument("--env", type=Path, help="with --check: the env file of a deployment, not .env.example")
    options = parser.parse_args(arguments)
    try:
        found = refusals(options.env) if options.check else []
        found = found or _packed(write=not options.check)
    except (PackageError, TemplateError) as error:
        found = [str(error)]
    for problem in found:
        print(f"package: {problem}", file=sys.stderr)
    return 1 if found else 0


def refusals(env_file: Path | None, root: Path = ROOT) -> list[str]:
    """What the deployer would refuse with the values of that file and this process; else of .env.example alone."""
    environ = os.environ if env_file else {}
    return deployer_rules.problems(root, deployer_rules.values_of(env_file or root / ".env.example", environ))


def _packed(*, write: bool) -> list[str]:
    """Build, pack and print everything; returns what is wrong with it."""
    build()
    for path in write_includes() if write else []:
        print(f"wrote {path.relative_to(ROOT)}")
    with tempfile.TemporaryDirectory() as folder:
        packages = pack_all(Path(folder))
        _print(packages, Path(folder))
    return problems(packages)


def _print(packages: Sequence[Package], folder: Path) -> None:
    table = Table("function", "kind", "zip bytes", "files", "unpacked bytes", "modules")
    for package in packages:
        function = package.function
        modules = modules_of(folder / f"{function.package}-{function.name}.zip")
        numbers = (package.zip_bytes, len(package.names), package.unpacked_bytes, len(modules))
        table.add_row(function.route, package.kind, *(f"{number:,}" for number in numbers))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
