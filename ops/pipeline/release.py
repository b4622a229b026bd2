"""A release: what is deployed, built once and packed with a manifest, so that production gets the bytes of staging.

The archive holds project.yml, packages/ and lib/ (built), and release.json: version, commit, time, and one digest over
every file. It holds nothing of an environment: namespaces, secrets and webSecure are put in when it is deployed.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ops import functions, package, stage
from ops.functions import ROOT

MANIFEST = "release.json"
DEFAULT = Path("build/release.tar.gz")


class ReleaseProblem(Exception):
    """A release cannot be made, or is not what its manifest says."""


@dataclass(frozen=True)
class Release:
    """What a manifest says."""

    version: str
    commit: str
    built_at: str
    sha256: str
    """Over the name, the mode and the content of every file."""


def current(root: Path = ROOT) -> tuple[str, str]:
    """Version and commit of the working tree: the commit's first 12 digits, and whether files differ from it."""
    commit = _git(root, "rev-parse", "HEAD")
    is_changed = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    return commit[:12] + ("-changed" if is_changed else ""), commit


def pack(target: Path, root: Path = ROOT) -> Release:
    """Build, check and pack the working tree. Raises ReleaseProblem, PackageError."""
    package.build(root)
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder)
        stage.lay_out(staged, root)
        return seal(staged, target, *current(root))


def seal(folder: Path, target: Path, version: str, commit: str) -> Release:
    """Put the manifest beside what is in the folder, and pack both."""
    built_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    release = Release(version, commit, built_at, digest(folder))
    (folder / MANIFEST).write_text(json.dumps(asdict(release), indent=2) + "\n", encoding="utf-8")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:gz", compresslevel=6) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    return release


def unpack(source: Path, target: Path) -> Release:
    """Lay a release out in an empty folder. Raises ReleaseProblem unless it is whole and what its manifest says."""
    try:
        with tarfile.open(source) as archive:
            archive.extractall(target, filter="data")
        release = Release(**json.loads((target / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, EOFError, tarfile.TarError, ValueError, TypeError) as error:
        raise ReleaseProblem(f"{source}: no release: {error}") from error
    (target / MANIFEST).unlink()
    if (found := digest(target)) != release.sha256:
        raise ReleaseProblem(f"{source}: changed since it was built: {found[:12]} is not {release.sha256[:12]}")
    return release


def digest(folder: Path) -> str:
    """SHA-256 over every file below a folder: name, whether it is a program, content."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        mode = "x" if path.stat().st_mode & 0o100 else "-"
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(folder)}\0{mode}\0{content}\n".encode())
    return whole.hexdigest()


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode:
        raise ReleaseProblem(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def main(arguments: list[str]) -> int:
    """Pack a release into the file that is named. Exit 1 with one clear line."""
    parser = argparse.ArgumentParser(prog="./doit release", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT, help=f"the archive ({DEFAULT})")
    options = parser.parse_args(arguments)
    try:
        release = pack(options.file)
    except (ReleaseProblem, package.PackageError, functions.ProjectError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    size = options.file.stat().st_size
    print(f"{options.file}: {release.version}, {size:,} bytes, SHA-256 of its files {release.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
