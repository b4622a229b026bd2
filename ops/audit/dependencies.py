"""Known vulnerabilities of everything that is locked: pip-audit for Python (OSV's advisories), npm for the rest."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.audit.findings import Finding, NotChecked
from ops.functions import ROOT

# The largest Python lock holds all others. tests/deploy is left out: it is the deployer of 2021, which a test runs
# against a stand-in on this machine, and which is given nothing from elsewhere.
LOCK = "requirements/dev.txt"
NODE = "ops/node"
OSV = "https://api.osv.dev/v1/query"


def python(root: Path = ROOT, advisories: str = OSV) -> Iterator[Finding]:
    """Each advisory that holds for a locked Python package. Raises NotChecked when the advisories cannot be had."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(root / LOCK), "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", "osv", "--osv-url", advisories, "--format", "json"]
    done = _run([*command, "--progress-spinner", "off", "--timeout", "20"], root)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise NotChecked(f"no advisories from {advisories}: {_last(done.stderr)}") from None
    for package in report["dependencies"]:
        for advisory in package.get("vulns", []):
            fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
            yield Finding(
                f"advisory:{advisory['id']}:{package['name']}",
                f"{package['name']} {package['version']}: {advisory['id']}, fixed in {fixed}",
            )


def node(root: Path = ROOT) -> Iterator[Finding]:
    """Each advisory that holds for a locked npm package. Raises NotChecked when npm cannot have them."""
    try:
        done = _run(["npm", "audit", "--json", "--package-lock-only"], root / NODE)
    except FileNotFoundError:
        raise NotChecked("npm is not installed") from None
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        report = {}
    if "vulnerabilities" not in report:
        raise NotChecked(f"no advisories from npm: {report.get('message') or _last(done.stderr)}")
    for name, package in report["vulnerabilities"].items():
        for advisory in (via for via in package["via"] if isinstance(via, dict)):
            yield Finding(
                f"advisory:{advisory['url'].rpartition('/')[2]}:{name}",
                f"{name} {package['range']}: {advisory['title']} ({advisory['severity']})",
            )


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no answer"
