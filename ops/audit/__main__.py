"""Look for what should not be: vulnerable or forbidden packages, unsafe code, secrets, a lax gateway, idle keys.

Each finding has an id; those in deploy/audit/accepted.yml are set aside until the day that stands there. Exit 1 for any
other, and for a part that could not be looked at: --offline lets those pass, and the report names them all the same.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

import dodo
from ops import settings
from ops.audit import code, database, dependencies, findings, gateway, licences
from ops.audit.findings import Check, Finding, Section
from ops.gateway import environment

DEFAULT = Path("build/audit")


def checks(environ: Mapping[str, str], live: str | None = None) -> dict[str, Check]:
    """Every part of the audit, by name."""
    uri, name = environ.get("MONGODB_URI", ""), environ.get("MONGODB_DATABASE", "getsmart")
    made: dict[str, Check] = {
        "vulnerable Python packages": lambda: dependencies.python(advisories=environ.get("OSV_URL", dependencies.OSV)),
        "vulnerable npm packages": dependencies.node,
        "static analysis": code.static,
        "secrets in the history": lambda: code.history(dodo.NOT_SECRET_FILES, dodo.NOT_SECRETS),
        "licences": lambda: [*licences.python(), *licences.node()],
        "gateway": gateway.written,
        "the database's user": lambda: database.user(uri, name),
        "API keys": lambda: database.keys(uri, name),
    }
    return made | ({"gateway, live": lambda: gateway.live(live)} if live else {})


def audit(parts: Mapping[str, Check], today: datetime, accepted_file: Path = findings.ACCEPTED) -> list[Section]:
    """Look at every part, then at the acceptances themselves."""
    accepted, day = findings.acceptances(accepted_file), today.date()
    sections = [findings.look(name, check, accepted, day) for name, check in parts.items()]
    return [*sections, Section("acceptances", findings.of_acceptances(accepted, sections, day))]


def markdown(sections: Sequence[Section], at: datetime) -> str:
    """The report for people."""
    lines = [f"# Audit of {at:%Y-%m-%d %H:%M} UTC", "", "| part | findings | accepted | |", "|---|---|---|---|"]
    for section in sections:
        note = f"NOT CHECKED: {section.not_checked}" if section.not_checked else ""
        lines.append(f"| {section.name} | {len(section.findings)} | {len(section.accepted)} | {note} |")
    for title, chosen in (("Findings", "findings"), ("Accepted", "accepted")):
        found: list[Finding] = [one for section in sections for one in getattr(section, chosen)]
        lines += ["", f"## {title}", "", *([f"- `{one.id}`: {one.what}" for one in found] or ["None."])]
    return "\n".join(lines) + "\n"


def public_address(named: str) -> str:
    """Where callers reach that environment; a URL is one already. Raises ArgumentTypeError for an unknown name."""
    if "://" in named:
        return named
    try:
        return environment.load(named).public
    except environment.EnvironmentInvalid as invalid:
        raise argparse.ArgumentTypeError(str(invalid)) from None


def main(arguments: list[str]) -> int:
    """Audit, print a table, write the report and the bills of materials. Exit 1 as the module says."""
    parser = argparse.ArgumentParser(prog="./doit audit", description=__doc__)
    parser.add_argument("--output", type=Path, default=DEFAULT, help="folder of the report and the bills of materials")
    said = "look at the headers and the TLS of an environment's gateway, or of a URL"
    parser.add_argument("--live", metavar="ENVIRONMENT", type=public_address, help=said)
    parser.add_argument("--offline", action="store_true", help="let pass what cannot be reached from here")
    settings.option(parser)
    options = parser.parse_args(arguments)
    settings.use(options.env)
    at = datetime.now(UTC)
    sections = audit(checks(os.environ, options.live), at)
    options.output.mkdir(parents=True, exist_ok=True)
    report = {"at": at.isoformat(timespec="seconds"), "sections": [asdict(section) for section in sections]}
    (options.output / "audit.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (options.output / "audit.md").write_text(markdown(sections, at), encoding="utf-8")
    licences.bills(options.output)
    show(sections)
    return 1 if is_bad(sections, offline=options.offline) else 0


def is_bad(sections: Sequence[Section], *, offline: bool) -> bool:
    """Whether there is anything that nobody accepted, or, unless offline, anything that nobody looked at."""
    return any(section.findings or (section.not_checked and not offline) for section in sections)


def show(sections: Sequence[Section]) -> None:
    """The table, then a line for each finding."""
    table = Table("part", "findings", "accepted", "")
    for section in sections:
        note = f"NOT CHECKED: {section.not_checked}" if section.not_checked else ""
        table.add_row(section.name, str(len(section.findings)), str(len(section.accepted)), note)
    Console().print(table)
    for section in sections:
        for finding in section.findings:
            print(f"audit: {finding.id}: {finding.what}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
