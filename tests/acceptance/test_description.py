"""The running system against its own description: generated calls, good and bad, to every operation."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ops import viewer
from tests.acceptance.conftest import System
from tests.support import ROOT

_HERE = Path(__file__).parent


def generate(system: System, folder: Path, *options: str) -> dict[str, Any]:
    """Let schemathesis loose on the system; its report. Fails the test with its findings."""
    report = folder / "report.json"
    own = "key_" + system.facts["api_key"].split("_")[2]
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(_HERE / "schemathesis.toml")]
    command += ["run", f"{system.facts['gateway']}/v1/ops/openapi", "--url", f"{system.facts['gateway']}/v1"]
    command += ["-H", f"Authorization: Bearer {system.facts['api_key']}", "--checks", "all", "--no-color"]
    command += ["--generation-database", "none", "--report", "json", "--report-json-path", str(report), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OWN_KEY_ID": own}
    environment["SCHEMATHESIS_HOOKS"] = "tests.acceptance.unharmed"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def assert_complete(found: dict[str, Any], system: System, at_least: int) -> None:
    """Every operation was called, often enough, with a key that worked to the end."""
    described = json.loads((ROOT / "docs/openapi.json").read_text())
    operations = sum(len(methods) for methods in described["paths"].values())
    assert found["operations"]["tested"] == found["operations"]["total"] == operations
    assert found["test_cases"]["generated"] >= at_least
    assert found["test_cases"]["with_failures"] == 0
    assert system.get("tokens/info").status_code == 200


def test_a_few_generated_calls_to_every_operation(running: System, tmp_path: Path) -> None:
    """No server error, no undocumented status, header or field, nothing bad accepted and nothing good refused."""
    found = generate(running, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "8", "--seed", "1")
    assert_complete(found, running, at_least=150)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_thousands_of_generated_calls_to_every_operation(running: System, tmp_path: Path) -> None:
    """The same with every kind of test that the generator knows, and with a new seed each time."""
    found = generate(running, tmp_path, "--max-examples", "50", "--continue-on-failure")
    assert_complete(found, running, at_least=2_000)


@pytest.fixture(scope="module")
def node() -> str:
    """The folder of what comes from npm, as locked; where CI is set there has to be npm."""
    if not shutil.which("npm"):
        assert not os.environ.get("CI"), "the description is linted and looked at with node"
        pytest.skip("needs node and npm")
    viewer.install(ROOT)
    return str(ROOT / "ops/node")


def test_the_linter_has_nothing_to_say(node: str) -> None:
    """Redocly's recommended rules: no error, and no warning either."""
    environment = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    command = ["node_modules/.bin/redocly", "lint", "--format=json", str(ROOT / "docs/openapi.json")]
    done = subprocess.run(command, cwd=node, env=environment, capture_output=True, text=True, check=False)
    totals = json.loads(done.stdout)["totals"]
    assert (done.returncode, totals["errors"], totals["warnings"], totals["ignored"]) == (0, 0, 0, 0), done.stdout


def test_the_viewer_is_the_locked_one(node: str) -> None:
    """What is kept beside the function is what npm has for the version in the lock."""
    assert viewer.problems(ROOT) == []


@pytest.mark.timeout(120)
def test_the_page_in_a_browser(node: str, running: System, tmp_path: Path) -> None:
    """At a desk's and a phone's width: every operation, try-it, an error's anchor; silent, and from here alone."""
    browser = shutil.which("chromium")
    if browser is None:
        assert not os.environ.get("CI"), "the page is looked at with chromium"
        pytest.skip("needs chromium")
    page = f"{running.facts['gateway']}/v1/ops/openapi"
    command = ["node", "look.mjs", browser, page, running.facts["api_key"], str(tmp_path)]
    done = subprocess.run(command, cwd=node, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["complaints"] == []
    assert {urlsplit(url)[:2] for url in seen["requests"]} == {urlsplit(page)[:2]}
    described = json.loads((ROOT / "docs/openapi.json").read_text())
    for view in seen["views"].values():
        assert view["operations"] == sum(len(methods) for methods in described["paths"].values())
        assert "GetSmart Token" in view["answer"]
        assert view["widths"][0] <= view["widths"][1], "wider than the window"
    assert seen["views"].keys() == {"desktop", "phone"}
    assert 0 <= seen["anchor"]["top"] < seen["anchor"]["height"]
    assert seen["anchor"]["text"].startswith("It does not exist")
    assert len(list(tmp_path.glob("*.png"))) == 5
