"""Every example of the guides runs: shell, Python and the replies they show, against the running system."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import System
from tests.acceptance.conftest import running as running  # noqa: PLC0414 - the fixture
from tests.support import ROOT, unique

GUIDES = ("quick-start", "authentication", "idempotency", "amounts", "states", "pagination", "sandbox", "errors")
# What is another in every run: ids, times, hashes and addresses.
_CHANGING = re.compile(r"[a-z]{3}_[0-9A-Z]{26}|\d{4}-\d\d-\d\dT[\d:.]+Z|0x[0-9a-fA-F]+", re.ASCII)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A guide's own variables end in _ID.
_KEEP = 'for name in WALLET_ID TRANSACTION_ID KEY_ID; do echo "$name=${!name:-}"; done > variables'


def blocks(guide: str) -> list[tuple[str, str]]:
    """Language and text of each example."""
    return _BLOCK.findall((ROOT / f"docs/{guide}.md").read_text())


def assert_like(shown: Any, got: Any) -> None:
    """What a guide shows is what came: the same names and values, but for what changes and for "..."."""
    if shown == "...":
        return
    if isinstance(shown, dict):
        assert isinstance(got, dict)
        assert shown.keys() == got.keys()
        for name, value in shown.items():
            assert_like(value, got[name])
    elif isinstance(shown, str) and _CHANGING.fullmatch(shown):
        assert _CHANGING.fullmatch(got)
    else:
        assert shown == got


def shell(text: str, folder: Path, variables: dict[str, str]) -> str:
    """Run a block; what it leaves in the shell's variables is there for the next one. Its output."""
    script = f"set -euo pipefail\n[ ! -f variables ] || . ./variables\n{text}\n{_KEEP}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, text + done.stderr
    return done.stdout


@pytest.mark.parametrize("guide", GUIDES)
def test_every_example_runs(running: System, tmp_path: Path, guide: str) -> None:
    """In the order of the text; a reply that is shown is the one that came, and no reply is an error unannounced."""
    facts = running.facts
    variables = {"API": f"{facts['gateway']}/v1", "KEY": facts["api_key"], "SANDBOX": facts["sandbox"]}
    wallet = running.wallet(f"{unique('reader')}@example.com")
    names = {"api": variables["API"], "key": facts["api_key"], "wallet_id": wallet["wallet_id"]}
    output = ""
    for language, text in blocks(guide):
        if language == "sh":
            output = shell(text, tmp_path, variables)
            if output.startswith("{") and "$SANDBOX" not in text:
                assert json.loads(output)["status"] == "success", output
        elif language == "python":
            exec(compile(text, guide, "exec"), dict(names))  # noqa: S102 - our own guide
        elif language == "json" and output:
            assert_like(json.loads(text), json.loads(output))
        elif language == "json":
            assert json.loads(text)["status"] == "error"


def test_the_check_of_replies_bites() -> None:
    """Another value, another name, or an id where none is, is found."""
    for shown, got in (({"a": "1"}, {"a": "2"}), ({"a": "1"}, {"b": "1"}), ("wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV", "x")):
        with pytest.raises(AssertionError):
            assert_like(shown, got)
    assert_like({"a": "...", "b": "2027-03-01T09:30:00.000Z"}, {"a": 1, "b": "2026-01-01T00:00:00.000Z"})


def test_every_guide_is_tested() -> None:
    """A guide that holds an example is in the list above."""
    found = {
        path.stem
        for path in (ROOT / "docs").glob("*.md")
        if re.search(r"^```(sh|python)$", path.read_text(), re.MULTILINE)
    }
    tested_elsewhere = {
        *("api", "airdrop", "deploy", "architecture", "webhooks", "reconciliation", "correctness", "migrations"),
    }
    assert found - tested_elsewhere <= set(GUIDES)
