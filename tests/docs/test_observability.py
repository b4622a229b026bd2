"""docs/observability.md names what the service tells, and nothing else."""

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.edge import MakeClient, Raw
from tests.money import Bench
from tests.support import Client
from tests.watch import alerts


def rows(document: str, heading: str) -> list[list[str]]:
    """The rows of the table below a heading, cell by cell, without its head."""
    section = document.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in found[2:]]


@pytest.fixture
def document(repository: Path) -> str:
    """The page."""
    return (repository / "docs/observability.md").read_text()


def test_the_log_line_has_the_fields_of_the_page(
    app: Client, system: Raw, make_client: MakeClient, capsys: pytest.CaptureFixture[str], document: str
) -> None:
    """In its order, and no other: those of a success and of a failure together."""
    capsys.readouterr()
    app.get("tokens/info")
    good = json.loads(capsys.readouterr().out)
    system.controls.delete_many({})
    app.get("ops/metrics")
    bad = json.loads(capsys.readouterr().out)
    assert list(bad) == [row[0] for row in rows(document, "The log line")]
    assert set(bad) - set(good) == {"error_type", "error"}


def test_the_metrics_of_the_page_are_those_that_are_told(bench: Bench, document: str) -> None:
    """Each with its label, and no other."""
    bench.settle()
    families = text_string_to_metric_families(bench.app.get("ops/metrics").text)
    told = {line.split()[2] for line in bench.app.get("ops/metrics").text.splitlines() if line.startswith("# HELP")}
    page = {name: label for name, label, _ in rows(document, "Metrics")}
    assert page.keys() == told
    labels = {sample.name: set(sample.labels) for family in families for sample in family.samples}
    assert labels == {name: {page[name]} - {""} for name in labels}
    assert len(labels) >= 20


def test_the_alerts_of_the_page_are_those_of_the_rules(document: str) -> None:
    """Each with its severity, its patience and its runbook."""
    page = [tuple(row[:3]) for row in rows(document, "Alerts")]
    assert page == [
        (f"[`{one.name}`](runbooks/{one.name}.md)", one.severity, f"{one.minutes}m") for one in alerts().values()
    ]
