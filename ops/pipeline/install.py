"""Install doctl in the version that is pinned here, where nothing else provides it, and its serverless plugin."""

import argparse
import hashlib
import io
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from ops.functions import ROOT
from ops.pipeline import doctl

VERSION = "1.162.0"
# Of the archive for linux, amd64.
SHA256 = "338ad0796fb7a7e20f2e833d88d6daa40d5d6372b39ca54d327e212ff20bc236"  # pragma: allowlist secret
ADDRESS = "https://github.com/digitalocean/doctl/releases/download/v{0}/doctl-{0}-linux-amd64.tar.gz"


class InstallFailed(Exception):
    """doctl could not be had, or is not what was pinned."""


def install(target: Path, address: str = ADDRESS, sha256: str = SHA256) -> Path:
    """Download the archive, compare its digest, and put the program into the folder. Raises InstallFailed."""
    try:
        with urllib.request.urlopen(address.format(VERSION), timeout=60) as answer:  # noqa: S310 - an https constant
            archive = answer.read()
    except (urllib.error.URLError, TimeoutError) as error:
        raise InstallFailed(f"doctl {VERSION} cannot be downloaded: {error}") from error
    found = hashlib.sha256(archive).hexdigest()
    if found != sha256:
        raise InstallFailed(f"doctl {VERSION}: SHA-256 is {found}, not the pinned {sha256}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        program = files.extractfile("doctl")
        if program is None:
            raise InstallFailed("the archive holds no doctl")
        target.mkdir(parents=True, exist_ok=True)
        path = target / "doctl"
        path.write_bytes(program.read())
    path.chmod(0o755)
    return path


def main(arguments: list[str]) -> int:
    """Install, then let doctl fetch its serverless plugin. Exit 1 with one clear line."""
    argparse.ArgumentParser(prog="./doit doctl", description=__doc__).parse_args(arguments)
    try:
        print(f"installed {install(ROOT / doctl.INSTALLED).relative_to(ROOT)} {VERSION}")
        print(doctl.run(["serverless", "install"]).strip())
    except (InstallFailed, doctl.DoctlFailed) as error:
        print(f"doctl: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
