"""docs/webhooks.md: a stranger follows it, once in Python and once in TypeScript, and has a correct receiver."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from local.ports import free_port
from ops import viewer
from tests.acceptance.conftest import System
from tests.acceptance.conftest import running as running  # noqa: PLC0414 - the fixture
from tests.receiver import receiving
from tests.support import ROOT, unique

GUIDE = (ROOT / "docs/webhooks.md").read_text()
START = "python3 receiver.py > receiver.log &"


def blocks(language: str) -> list[str]:
    """The examples in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def follow(system: System, folder: Path, port: int, start: str) -> str:
    """Type what the guide says, in one shell; what was shown. Fails the test where a line fails."""
    script = "\n".join(["set -euo pipefail", "trap 'kill $(jobs -p)' EXIT", *blocks("sh")])
    assert START in script
    script = script.replace(START, start).replace(":9000", f":{port}").replace("grace", unique("grace"))
    variables = {"API": f"{system.facts['gateway']}/v1", "KEY": system.facts["api_key"]}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, **variables, "PATH": path},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_followed(shown: str, folder: Path) -> None:
    """The test event and the wallet arrived in order, the forgery did not, the delivery is shown and told again."""
    told = [line.split() for line in (folder / "receiver.log").read_text().splitlines()]
    assert [kind for _, kind in told][:2] == ["test.ping", "wallet.created"]
    assert int(told[0][0]) < int(told[1][0])
    assert '"http_status":204' in shown
    assert '"secret":"whsec_' in shown
    assert '"status":"error"' not in shown


def test_a_receiver_in_python(running: System, tmp_path: Path) -> None:
    """As it stands in the guide; what it kept are the events, each once."""
    port = free_port()
    (code,) = blocks("python")
    (tmp_path / "receiver.py").write_text(code.replace("9000", str(port)))
    assert_followed(follow(running, tmp_path, port, START), tmp_path)

    kept = (
        sqlite3.connect(tmp_path / "events.db").execute("SELECT id, sequence FROM events ORDER BY sequence").fetchall()
    )
    assert len({number for _, number in kept}) == len(kept) >= 2


def test_a_receiver_in_typescript(running: System, tmp_path: Path) -> None:
    """It compiles under strict rules and does the same, with the npm package as it is published."""
    if not shutil.which("npm"):
        assert not os.environ.get("CI"), "the receiver in TypeScript is tested with node and npm"
        pytest.skip("needs node and npm")
    viewer.install(ROOT)
    port = free_port()
    (tmp_path / "node_modules").symlink_to(ROOT / "ops/node/node_modules")
    (code,) = blocks("ts")
    (tmp_path / "receiver.ts").write_text(code.replace("9000", str(port)))
    compiler = ["node_modules/.bin/tsc", "--strict", "--target", "es2022", "--module", "nodenext", "--types", "node"]
    compiled = subprocess.run([*compiler, "receiver.ts"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stdout
    assert_followed(follow(running, tmp_path, port, "node receiver.js > receiver.log &"), tmp_path)


def test_listen_prints_verifies_and_forwards(running: System, tmp_path: Path) -> None:
    """It subscribes itself, hands on what came byte for byte, and leaves nothing behind."""
    with receiving(status=202) as behind:
        command = [sys.executable, "-m", "local.listen", "--port", "0", "--data", str(running.data)]
        listening = subprocess.Popen(
            [*command, "--forward-to", behind.url],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'lib'}:{ROOT}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert listening.stdout is not None
        said = listening.stdout.readline() + listening.stdout.readline()
        running.wallet("listener@example.com")
        shown = [listening.stdout.readline()]
        while shown[-1] != "}\n":
            shown.append(listening.stdout.readline())
        listening.send_signal(signal.SIGINT)
        rest = listening.stdout.read()
        assert listening.wait(60) == 0
        listening.stdout.close()
    assert rest.endswith("stopped\n")
    (event,) = {one.headers["webhook-id"] for one in behind.got}
    # An answer that came late is asked for once more: the same event, and no other.
    assert set(re.findall(r"  (\S+)  verified", shown[0] + rest)) == {event}
    assert "  refused: " not in rest
    assert "wallet.created" in shown[0]
    assert shown[0].rstrip().endswith("verified  forwarded: 202")
    assert any('"wallet_id"' in line for line in shown)
    secret = re.findall(r"whsec_\S+", said)[0]
    assert behind.got[0].verify(secret)["type"] == "wallet.created"
    endpoints = running.get("webhooks/endpoints").json()["data"]["items"]
    assert not any(one["endpoint_id"] in said for one in endpoints)
