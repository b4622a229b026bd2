"""What an audit is made of: findings, parts that could or could not be looked at, what was accepted until when."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import yaml

from ops.functions import ROOT

ACCEPTED = ROOT / "deploy/audit/accepted.yml"
LONGEST_DAYS = 400
"""How far ahead an acceptance may end: whoever accepts something looks at it again."""


class NotChecked(Exception):
    """A part of the audit cannot be done from here; the text says why."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be. The id stays the same from run to run."""

    id: str
    what: str


@dataclass(frozen=True)
class Accepted:
    """A finding that somebody looked at and left, until a day."""

    id: str
    reason: str
    who: str
    expires: date


@dataclass
class Section:
    """One part of the audit: what it found, what of that was accepted, or why it could not look."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    accepted: list[Finding] = field(default_factory=list)
    not_checked: str | None = None
    notes: list[str] = field(default_factory=list)


Check = Callable[[], Iterable[Finding]]


def look(name: str, check: Check, accepted: Sequence[Accepted], today: date) -> Section:
    """Run one check, and set aside what is accepted and has not expired."""
    section = Section(name)
    good = {one.id for one in accepted if one.expires >= today}
    try:
        for finding in check():
            (section.accepted if finding.id in good else section.findings).append(finding)
    except NotChecked as reason:
        section.not_checked = str(reason)
    return section


def acceptances(path: Path = ACCEPTED) -> list[Accepted]:
    """The dated file, checked. Raises ValueError when an entry is not whole."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    try:
        return [Accepted(**entry) for entry in entries]
    except TypeError as error:
        raise ValueError(f"{path.name}: id, reason, who and expires, and nothing else: {error}") from None


def of_acceptances(accepted: Sequence[Accepted], found: Sequence[Section], today: date) -> list[Finding]:
    """What is wrong with the acceptances themselves: expired, open-ended, or for nothing that is found any more."""
    seen = {finding.id for section in found for finding in [*section.findings, *section.accepted]}
    is_whole = all(section.not_checked is None for section in found)
    problems = []
    for one in accepted:
        if one.expires < today:
            problems.append(Finding(f"accepted:{one.id}", f"accepted by {one.who} until {one.expires}, which is over"))
        elif (one.expires - today).days > LONGEST_DAYS:
            problems.append(Finding(f"accepted:{one.id}", f"accepted until {one.expires}: {LONGEST_DAYS} days at most"))
        elif is_whole and one.id not in seen:
            problems.append(Finding(f"accepted:{one.id}", "accepted, and not found any more: take it out"))
    return problems
