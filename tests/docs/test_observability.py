"""docs/observability.md names what the service tells, and nothing else."""

import json
import re
from pathlib import Path

import pytest

from tests.edge import MakeClient, Raw
from tests.support import Client


def table(document: str, heading: str) -> list[str]:
    """The first column of the table below a heading."""
    section = document.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


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
    assert list(bad) == table(document, "The log line")
    assert set(bad) - set(good) == {"error_type", "error"}
