"""Make .venv from the locked requirements: one at a time, never half.

`./doit` runs this before there is a .venv, with any Python from 3.11, so it uses the standard library only.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LOCK = Path("requirements/dev.txt")
FOLDER = Path(".venv")
STAMP = FOLDER / ".locked"
"""A copy of the lock file that .venv was made from, written last: absent or different, .venv has to be made."""
GUARD = Path(".venv.guard")
"""Held with flock while .venv is made; the kernel lets go of it when its holder dies, so it is never stale."""


class BuildFailed(Exception):
    """The environment could not be made; the text is one line for the person at the terminal."""


def is_current(root: Path) -> bool:
    """Whether root/.venv is whole and was made from today's lock file."""
    stamp = root / STAMP
    has_python = (root / FOLDER / "bin/python").exists()
    return has_python and stamp.is_file() and stamp.read_bytes() == (root / LOCK).read_bytes()


def ensure(root: Path) -> bool:
    """Make root/.venv unless it is current; True if it was made. Whoever comes second waits. Raises BuildFailed."""
    with (root / GUARD).open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if is_current(root):
            return False
        _make(root)
        return True


def _make(root: Path) -> None:
    """Lay .venv anew and fill it; the stamp comes last, so that an interrupted run starts over."""
    wanted = (root / LOCK).read_bytes()
    folder = root / FOLDER
    if folder.exists():
        (root / STAMP).unlink(missing_ok=True)
        shutil.rmtree(folder)
    _run("cannot make .venv (is Python's venv module installed?)", [sys.executable, "-m", "venv", str(folder)])
    install = [str(folder / "bin/python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    # The lock is complete. A resolver would also look at what came out since, and fail over a package with an extra.
    _run(f"cannot install {LOCK}", [*install, "--require-hashes", "--no-deps", "-r", str(root / LOCK)])
    partial = root / FOLDER / ".locked.part"
    partial.write_bytes(wanted)
    partial.replace(root / STAMP)


def _run(failure: str, command: Sequence[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    finished = subprocess.run(
        command, env=environment, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if finished.returncode != 0:
        sys.stderr.write(finished.stdout)
        raise BuildFailed(f"{failure}; what its tool said stands above")


def main() -> int:
    """Make .venv for the tree this file stands in and say so on stderr; exit code 1 and a clear line if that fails."""
    root = Path(__file__).resolve().parent.parent
    started = time.monotonic()
    print("doit: making .venv from the locked requirements, about a minute ...", file=sys.stderr, flush=True)
    try:
        ensure(root)
    except BuildFailed as failure:
        print(f"doit: {failure}", file=sys.stderr)
        return 1
    print(f"doit: .venv is ready after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
