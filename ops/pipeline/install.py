"""Install doctl in the version that is pinned here, where nothing else provides it, and its serverless plugin.

The pinned archive is the one for Linux on amd64. Elsewhere doctl comes as DigitalOcean offers it; it is found on PATH.
"""

import argparse
import hashlib
import io
import platform
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from ops.functions import ROOT
from ops.pipeline import doctl

VERSION = "1.162.0"
# Of the archive for Linux, amd64.
SHA256 = "338ad0796fb7a7e20f2e833d88d6daa40d5d6372b39ca54d327e212ff20bc236"  # pragma: allowlist secret
ADDRESS = "https://github.com/digitalocean/doctl/releases/download/v{0}/doctl-{0}-linux-amd64.tar.gz"
_MACHINES = {("Linux", "x86_64"), ("Linux", "amd64")}
# Without it doctl asks for the account's token before it fetches its plugin, which is public. It looks whether it is
# there and takes any value. Connections that an older plugin had are forgotten; a deployment makes its own.
_WITHOUT_TOKEN = {"DOCKER_SANDBOX_INSTALL": "1"}


class InstallFailed(Exception):
    """doctl could not be had, or is not what was pinned."""


def install(target: Path, address: str = ADDRESS, sha256: str = SHA256) -> Path:
    """Download the archive, compare its digest, and put the program into the folder. Raises InstallFailed."""
    if (here := (platform.system(), platform.machine())) not in _MACHINES:
        raise InstallFailed(
            f"the pinned archive is for Linux on amd64, here is {here[0]} on {here[1]}: install doctl {VERSION} or"
            " later as DigitalOcean describes, then run: DOCKER_SANDBOX_INSTALL=1 doctl serverless install"
        )
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
        print(doctl.run(["serverless", "install"], more=_WITHOUT_TOKEN).strip())
    except (InstallFailed, doctl.DoctlFailed) as error:
        print(f"doctl: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
