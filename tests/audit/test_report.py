"""An audit as a whole: what is accepted until when, what counts as bad, the report and the bills of materials."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ops.audit import __main__ as audit
from ops.audit import findings, licences
from ops.audit.findings import Accepted, Finding, NotChecked, Section
from ops.gateway import environment

TODAY = date(2026, 11, 24)
BAD = Finding("some:thing", "is bad")


def accepted(days: int, name: str = "some:thing") -> Accepted:
    """An acceptance that ends so many days from today."""
    return Accepted(name, "known", "maintainers", TODAY + timedelta(days=days))


def test_what_is_accepted_holds_until_its_day() -> None:
    """Before its day a finding is set aside; after it, it counts again and the acceptance is a finding too."""
    good = findings.look("part", lambda: [BAD], [accepted(0)], TODAY)
    assert (good.findings, good.accepted) == ([], [BAD])
    over = findings.look("part", lambda: [BAD], [accepted(-1)], TODAY)
    assert (over.findings, over.accepted) == ([BAD], [])
    assert [one.id for one in findings.of_acceptances([accepted(-1)], [over], TODAY)] == ["accepted:some:thing"]


def test_nothing_is_accepted_for_ever_or_for_nothing() -> None:
    """An acceptance ends within 400 days, and goes when what it was for is gone; unless somebody could not look."""
    empty = Section("part")
    assert "400 days at most" in findings.of_acceptances([accepted(401)], [empty], TODAY)[0].what
    assert "take it out" in findings.of_acceptances([accepted(9)], [empty], TODAY)[0].what
    blind = Section("part", not_checked="no network")
    assert findings.of_acceptances([accepted(9)], [blind], TODAY) == []


def test_an_entry_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """Who accepted what, why, and until when: each entry says all four."""
    file = tmp_path / "accepted.yml"
    file.write_text("- {id: a, reason: b, who: c}\n")
    with pytest.raises(ValueError, match="expires"):
        findings.acceptances(file)


def test_the_dated_file_is_whole() -> None:
    """Every entry says why, and by whom, until a day that comes."""
    entries = findings.acceptances()
    assert len({one.id for one in entries}) == len(entries) > 0
    assert all(len(one.reason) > 20 and one.who and isinstance(one.expires, date) for one in entries)


@pytest.mark.parametrize(
    ("section", "offline", "is_bad"),
    [
        (Section("x"), False, False),
        (Section("x", findings=[BAD]), True, True),
        (Section("x", accepted=[BAD]), False, False),
        (Section("x", not_checked="no network"), False, True),
        (Section("x", not_checked="no network"), True, False),
    ],
)
def test_what_is_bad(section: Section, offline: bool, is_bad: bool) -> None:
    """A finding that nobody accepted, and a part that nobody could look at unless that was said to be all right."""
    assert audit.is_bad([section], offline=offline) is is_bad


def test_the_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, a line for each finding, JSON and Markdown with the same, and a bill of materials for all that ships."""

    def blind() -> list[Finding]:
        raise NotChecked("no network")

    monkeypatch.setattr(audit, "checks", lambda *_: {"one": lambda: [BAD], "two": blind})
    assert audit.main(["--output", str(tmp_path), "--offline"]) == 1
    said = capsys.readouterr()
    assert "audit: some:thing: is bad" in said.err
    assert "NOT CHECKED: no network" in said.out
    report = json.loads((tmp_path / "audit.json").read_text())["sections"]
    assert [(one["name"], len(one["findings"]), one["not_checked"]) for one in report] == [
        ("one", 1, None),
        ("two", 0, "no network"),
        ("acceptances", 0, None),
    ]
    assert "- `some:thing`: is bad" in (tmp_path / "audit.md").read_text()
    for name, lock in licences.SHIPPED.items():
        bill = json.loads((tmp_path / f"sbom-{name}.cdx.json").read_text())
        assert bill["bomFormat"] == "CycloneDX"
        pins = {line.split("==")[0] for line in Path(lock).read_text().splitlines() if "==" in line}
        assert {one["name"] for one in bill["components"]} == pins


def test_a_live_gateway_is_named_by_its_environment(capsys: pytest.CaptureFixture[str]) -> None:
    """The weekly run names the environment; a URL is taken as it is; a name that nobody knows says which there are."""
    assert audit.public_address("production") == environment.load("production").public
    assert audit.public_address("http://127.0.0.1:9") == "http://127.0.0.1:9"
    with pytest.raises(SystemExit):
        audit.main(["--live", "prod"])
    assert "no environment prod; there are local, production, staging" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.timeout(300)
def test_this_project_is_clean(
    monkeypatch: pytest.MonkeyPatch, database_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every part that needs no outside source: nothing is found that nobody accepted."""
    parts = audit.checks({})
    sections = audit.audit(parts, datetime.now(UTC))
    here = [one for one in sections if one.name not in {"the database's user", "API keys"}]
    assert [one for section in here for one in section.findings] == []
    unseen = {one.name for one in here if one.not_checked}
    assert unseen <= {"vulnerable Python packages", "vulnerable npm packages"}
