"""The reference page's viewer: swagger-ui as npm has it, kept beside the function so that deploying needs no npm.

`./doit viewer` takes the files of the locked version; `--check` compares what is kept with them. npm verifies the lock.
"""

import argparse
import gzip
import json
import subprocess
import sys
from pathlib import Path

import zopfli.gzip  # type: ignore[import-untyped]

from ops.functions import ROOT

NODE = Path("ops/node")
ASSETS = Path("packages/ops/openapi/assets")
SCRIPT, STYLE = "swagger-ui-bundle.js", "swagger-ui.css"
LICENCES = ("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt")


def install(root: Path = ROOT) -> None:
    """Install the locked npm packages, without running any script of theirs. Raises CalledProcessError."""
    subprocess.run(["npm", "ci", "--silent"], cwd=root / NODE, check=True)  # noqa: S607 - npm of the PATH, as node is


def wanted(root: Path = ROOT) -> dict[Path, bytes]:
    """What has to be kept, uncompressed: files by their path in the tree."""
    source = root / NODE / "node_modules/swagger-ui-dist"
    version = json.loads((source / "package.json").read_text())["version"]
    return {
        ASSETS / f"swagger-ui-{version}.js.gz": (source / SCRIPT).read_bytes(),
        ASSETS / f"swagger-ui-{version}.css": (source / STYLE).read_bytes(),
        ASSETS / "swagger-ui-licences.txt": b"\n".join((source / name).read_bytes() for name in LICENCES),
    }


def write(root: Path = ROOT) -> None:
    """Take the files over; the script compressed, as it is too large for a reply of the platform otherwise."""
    for old in (root / ASSETS).glob("swagger-ui-*"):
        old.unlink()
    for path, content in wanted(root).items():
        packed = zopfli.gzip.compress(content) if path.suffix == ".gz" else content
        (root / path).write_bytes(packed)


def problems(root: Path = ROOT) -> list[str]:
    """Files that are not what npm has, or not there, a line each."""
    return [
        f"{path} is not that of the locked version"
        for path, content in wanted(root).items()
        if _kept(root / path) != content
    ]


def _kept(path: Path) -> bytes | None:
    if not path.is_file():
        return None
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def main(arguments: list[str]) -> int:
    """Install the locked version, then write or compare; exit 1 with a line for each problem."""
    parser = argparse.ArgumentParser(prog="./doit viewer", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing but ops/node/node_modules; compare")
    options = parser.parse_args(arguments)
    install()
    if not options.check:
        write()
    found = problems()
    for problem in found:
        print(f"viewer: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
