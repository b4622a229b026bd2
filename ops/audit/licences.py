"""Licences of all that is installed or locked, against a list of those that may be; and the bills of materials."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ops.audit.findings import Finding, NotChecked
from ops.functions import ROOT

# Permissive ones, as packages spell them, and MPL, whose duties end at the file that is changed (certifi has it).
ALLOWED = frozenset(
    {
        *("mit", "mit license", "mit-0", "0bsd", "isc", "isc license (iscl)", "zlib", "cc0-1.0", "blueoak-1.0.0"),
        *("bsd", "bsd license", "bsd-2-clause", "bsd-3-clause", "public domain", "dfsg approved", "unlicense"),
        *("apache 2.0", "apache-2.0", "apache software license", "cnri-python", "zope public license", "zpl-2.1"),
        *("psf-2.0", "python-2.0", "python software foundation license"),
        *("mpl-2.0", "mozilla public license 2.0 (mpl 2.0)", "cc-by-4.0"),
    }
)
# What goes out: into every function, and into the container.
SHIPPED = {"functions": "lib/requirements.txt", "container": "requirements/serving.txt"}


def python() -> Iterator[Finding]:
    """Installed Python packages whose licence is not on the list."""
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed", "--with-system"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotChecked(f"pip-licenses: {done.stderr.strip()[-300:]}")
    for package in json.loads(done.stdout):
        if not is_allowed(package["License"]):
            yield Finding(f"licence:{package['Name']}", f"{package['Name']} {package['Version']}: {package['License']}")


def node(root: Path = ROOT) -> Iterator[Finding]:
    """Locked npm packages whose licence is not on the list; each stands in the lock."""
    for lock in sorted(root.glob("*/node/package-lock.json")):
        for place, package in json.loads(lock.read_text(encoding="utf-8"))["packages"].items():
            licence = package.get("license", "unknown")
            if not is_allowed(licence):
                name = place.removeprefix("node_modules/")
                yield Finding(f"licence:npm:{name}", f"{name} {package.get('version', '')}: {licence}")


def is_allowed(expression: str) -> bool:
    """Whether a licence, or one of those that may be chosen, is on the list; of those that hold together, each."""
    chosen = re.split(r"\s+or\s+", expression.lower().strip("()"), flags=re.IGNORECASE)
    return any(all(part.strip(" ()") in ALLOWED for part in _all_of(one)) for one in chosen) or _whole(expression)


def _all_of(expression: str) -> list[str]:
    return re.split(r"\s+and\s+|;", expression)


def _whole(expression: str) -> bool:
    """A name with brackets or "or" of its own: GPLv3 or later is one licence."""
    return expression.lower() in ALLOWED


def bills(folder: Path, root: Path = ROOT) -> list[Path]:
    """Write a CycloneDX bill of materials for what goes into the functions, and one for the container."""
    made = []
    for name, lock in SHIPPED.items():
        path = folder / f"sbom-{name}.cdx.json"
        command = [sys.executable, "-m", "cyclonedx_py", "requirements", lock, "--output-format", "JSON"]
        command += ["--output-reproducible", "--output-file", str(path)]
        subprocess.run(command, cwd=root, check=True, capture_output=True)
        made.append(path)
    return made
