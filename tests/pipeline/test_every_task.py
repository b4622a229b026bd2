"""Every `./doit` that a workflow calls is run here with its own words, against stand-ins for the cloud's API only."""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from pymongo.database import Database

from local import bluegreen
from local.bluegreen import BlueGreen
from local.ports import free_port
from ops import keys
from ops.functions import ROOT
from ops.pipeline import announce, doctl, install
from ops.release.smoke import KEY
from tests.gateway import require_haproxy
from tests.pipeline.conftest import Platform
from tests.pipeline.test_workflows import FILES, TASK, read, steps

Run = Callable[..., subprocess.CompletedProcess[str]]


def commands() -> list[list[str]]:
    """The words of each task that a workflow calls, each once."""
    texts = [step["run"] for path in FILES for step in steps(read(path)) if "run" in step]
    found = {(match[1], match[2].strip()) for text in texts if (match := TASK.fullmatch(text))}
    return [[task, *words.split()] for task, words in sorted(found)]


# What runs each task. `check` is what runs this very test.
ALONE = {"workflows", "package", "release", "tools", "doctl", "test", "audit"}
CLOUD = {"deploy", "announce"}
DATABASE = {"migrate", "replicaset", "backup", "drill"}
GATEWAY = {"smoke", "promote", "status", "rollback"}


def called(task: str) -> list[list[str]]:
    """Every form in which the workflows call that task."""
    found = [words for words in commands() if words[0] == task]
    assert found, task
    return found


def test_none_is_left_out() -> None:
    """A task that is added to a workflow is added here."""
    assert {words[0] for words in commands()} <= ALONE | CLOUD | DATABASE | GATEWAY | {"check"}


def doit(*words: str, root: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a task as a job does."""
    environment = {**os.environ, **variables}
    environment.pop("COVERAGE_PROCESS_START", None)
    return subprocess.run(
        [str(root / "doit"), *words], env=environment, capture_output=True, text=True, check=False, timeout=540
    )


def well(done: subprocess.CompletedProcess[str]) -> str:
    """What it said; it has to have ended well."""
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    return done.stdout


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lint of the workflows, the package's check, the release, the tools, the audit, and pytest with its words.

    What builds does so in a fresh clone, as a job has it, in the order of the job.
    """
    for task in ("workflows", "tools"):
        for words in called(task):
            well(doit(*words))
    fresh = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(fresh)], check=True)
    (fresh / ".venv").symlink_to(ROOT / ".venv")
    job = [
        TASK.fullmatch(step["run"])
        for step in read(ROOT / ".github/workflows/deliver.yml")["jobs"]["build"]["steps"]
        if "run" in step
    ]
    said = [well(doit(*f"{words[1]} {words[2]}".split(), root=fresh)) for words in job if words]
    assert "SHA-256" in said[-1]
    assert (fresh / "build/release.tar.gz").stat().st_size > 1_000_000
    for words in called("audit"):
        done = doit(*(word.replace("build/audit", str(tmp_path / "audit")) for word in words), MONGODB_URI="")
        assert done.returncode == 1  # no advisories, and no database, can be had here
        assert (tmp_path / "audit/audit.md").read_text().startswith("# Audit of ")
    for words in called("test"):
        assert "passed" in well(doit(*words, "tests/lib/test_ids.py"))


@pytest.mark.long
def test_doctl_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its task downloads, compares and asks for the plugin; what it downloads is GitHub's, and a stand-in's here."""
    program = tmp_path / "doctl"
    monkeypatch.setattr(install, "install", lambda target: program)
    monkeypatch.setattr(install, "ROOT", tmp_path)
    asked: list[Any] = []
    monkeypatch.setattr(doctl, "run", lambda words, **_: asked.append(words) or "Downloading...done")
    assert called("doctl") == [["doctl"]]
    assert install.main([]) == 0
    assert asked == [["serverless", "install"]]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_speaks_to_the_cloud(platform: Platform, raw: Database[dict[str, Any]], tmp_path: Path) -> None:
    """Each environment's deployment, by doctl's stand-in and the real deployer; then its announcement."""
    archive = tmp_path / "release.tar.gz"
    well(doit("release", str(archive)))
    raw.controls.delete_one({"_id": "colour"})
    before = set((ROOT / announce.FOLDER).glob("*"))
    try:
        for words in called("deploy"):
            named = [word.replace("build/release.tar.gz", str(archive)) for word in words]
            said = well(
                doit(*(str(platform.environment) if word in {"staging", "production"} else word for word in named))
            )
            assert "deploying " in said
        assert platform.green.uploads.refused == []
        for words in called("announce"):
            said = well(doit(*("trial" if word in {"staging", "production"} else word for word in words)))
            assert "It serves all traffic." in said
    finally:
        for record in set((ROOT / announce.FOLDER).glob("*")) - before:
            record.unlink()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_needs_a_database(tmp_path: Path, database_uri: str, sandbox: Any) -> None:
    """A replica set is made of a mongod; a database is migrated, backed up, and restored in a drill."""
    lookalike = Path(__file__).parents[1] / "local/mongod_lookalike.py"
    port = free_port()
    words = [
        "--replSet",
        "getsmart",
        "--dbpath",
        str(tmp_path / "mongod"),
        "--bind_ip",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    (tmp_path / "mongod").mkdir()
    server = subprocess.Popen(
        [sys.executable, str(lookalike), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for command in called("replicaset"):
            address = f"mongodb://127.0.0.1:{port}/?directConnection=true"
            assert "is a replica set of one" in well(doit(*command, MONGODB_URI=address))
    finally:
        server.terminate()
        server.wait()
    given = {"MONGODB_URI": database_uri, "CHAIN_RPC_URL": sandbox.rpc_url, "BACKUP_PLACE": str(tmp_path / "backups")}
    env_file = tmp_path / "trial.env"
    env_file.write_text(
        f"MONGODB_DATABASE=every_task\nTOKEN_CONTRACT_ADDRESS={sandbox.token_address}\n"
        f"TREASURY_ADDRESS={sandbox.treasury_address}\nCHAIN_ID={sandbox.chain_id}\nCONFIRMATION_DEPTH=0\n"
    )

    def here(command: list[str]) -> list[str]:
        return [str(env_file) if word.startswith("deploy/environments/") else word for word in command]

    for command in called("migrate"):
        assert "applied" in well(doit(*here(command), **given))
    made = well(doit("backup", "--new-identity", str(tmp_path / "identity")))
    given["BACKUP_RECIPIENTS"] = made.rpartition("=")[2].strip()
    given["BACKUP_IDENTITY"] = (tmp_path / "identity").read_text().strip().splitlines()[-1]
    for command in called("backup"):
        well(doit(*command, **given, MONGODB_DATABASE="every_task"))
    for command in (words for words in commands() if words[0] == "drill"):
        held = doit(*here(command), **{**given, "MONGODB_DATABASE": "every_task"})
        assert "drill:" not in held.stderr, held.stderr  # held; whether it passes, its own tests say


class Calls:
    """Reads at a gateway, so that a watch has something to watch."""

    def __init__(self, url: str) -> None:
        self._url, self._ending = url, threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._ending.wait(0.05):
            with contextlib.suppress(requests.RequestException):
                requests.get(f"{self._url}/v1/ops/openapi", timeout=10)


@pytest.fixture
def system(
    sandbox: Any, database_uri: str, system: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[BlueGreen]:
    """Two colours behind the real HAProxy."""
    require_haproxy()
    scopes = ["wallets:read", "tokens:read", "webhooks:read", "ops:read"]
    token = keys.create(client_id="smoke", scopes=scopes, limits=keys.NO_LIMITS).token
    system.controls.update_one({"_id": "colour"}, {"$set": {"active": "blue"}}, upsert=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="every")))
        names = ("PATH", "MONGODB_", "METAKEEP_", "TOKEN_", "TREASURY_", "CHAIN_", "CONFIRMATION_", "WEBHOOK_", "APP_")
        given = {name: value for name, value in os.environ.items() if name.startswith(names)}
        both = BlueGreen(bluegreen.here(folder, free_port()), given)
        both.start(stack, active="blue", api_key=token)
        monkeypatch.setenv(KEY, token)
        stack.enter_context(Calls(both.there.public))
        yield both


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_moves_calls(system: BlueGreen) -> None:
    """The idle colour is smoked, promoted step by step, seen in the status, and taken back; in shorter times."""
    place = str(system.folder / bluegreen.ENVIRONMENT)

    def here(command: list[str]) -> list[str]:
        named = [place if word in {"staging", "production"} else word for word in command]
        return ["3s" if word.endswith("0s") else word for word in named]

    for command in called("smoke"):
        assert "answers are right" in well(doit(*here(command)))
    for command in called("promote"):
        assert "is active" in well(doit(*here(command)))
    for command in called("status"):
        assert "blue" in well(doit(*here(command)))
    for command in called("rollback"):
        well(doit(*here(command)))
