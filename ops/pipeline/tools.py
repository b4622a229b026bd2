"""Install the Debian packages that the tests run beside Python and node, as root; what is there is left alone."""

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
    """Install what is missing. Exit code of apt-get."""
    argparse.ArgumentParser(prog="./doit tools", description=__doc__).parse_args(arguments)
    wanted = missing()
    print(f"to be installed: {', '.join(wanted) or 'nothing'}", flush=True)
    if not wanted:
        return 0
    update = ["apt-get", "update", "-qq"]
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted]
    return next((code for command in (update, install) if (code := subprocess.call(command))), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
