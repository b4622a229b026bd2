"""Install the Debian packages that the tests run beside Python and node, by sudo; what is there is left alone."""

import argparse
import os
import shutil
import subprocess
import sys

# The program that shows whether it is there, and the package that brings it. .ci/run installs the same.
PACKAGES = {"age": "age", "chromium": "chromium", "haproxy": "haproxy", "promtool": "prometheus", "zstd": "zstd"}


def missing() -> list[str]:
    """The packages whose program is not on PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    return [package for program, package in PACKAGES.items() if not shutil.which(program, path=path)]


def main(arguments: list[str]) -> int:
    """Install what is missing. Exit code of apt-get, or 1 where nobody may install.

    Only apt-get runs as root: .venv and all that is made on the way stay the caller's.
    """
    argparse.ArgumentParser(prog="./doit tools", description=__doc__).parse_args(arguments)
    wanted = missing()
    print(f"to be installed: {', '.join(wanted) or 'nothing'}", flush=True)
    if not wanted:
        return 0
    by = [] if os.geteuid() == 0 else ["sudo"]
    if by and shutil.which("sudo") is None:
        print("tools: only root may install packages, and there is no sudo", file=sys.stderr)
        return 1
    update = [*by, "apt-get", "update", "-qq"]
    install = [*by, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted]
    return next((code for command in (update, install) if (code := subprocess.call(command))), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
