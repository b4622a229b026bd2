"""doctl's stand-in on PATH, the platform's stand-in behind it, and an environment that names both of its colours."""

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.sandbox import Sandbox
from ops.deployer_template import read_env
from tests.deploy.stand_in import AUTH, NAMESPACE, TOKEN, ApiHost
from tests.deploy.test_public_deployer import HERE as DEPLOYER
from tests.deploy.test_public_deployer import npm_ci

GREEN = "fn-00000000-0000-4000-8000-00000000000b"
ACCESS_KEYS = {NAMESPACE: "dof_v1_blue:made-up", GREEN: "dof_v1_green:made-up"}


@dataclass(frozen=True)
class Platform:
    """The stand-ins: an API host a colour, and what doctl was told."""

    blue: ApiHost
    green: ApiHost
    calls_file: Path
    environment: Path
    secrets: dict[str, str]

    def only_listen(self) -> None:
        """From now on doctl's stand-in writes down what it is told, and deploys nothing."""
        file = self.calls_file.parent / "bin/doctl.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "deployer": None}))

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Every call of doctl, in order."""
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]


@pytest.fixture
def platform(
    database_uri: str, sandbox: Sandbox, built: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Platform]:
    """A process that deploys: stand-ins in place of the cloud, secrets in its environment as in a job."""
    if not shutil.which("npm"):
        assert not os.environ.get("CI"), "the deployer is tested with node and npm"
        pytest.skip("needs node and npm")
    npm_ci(DEPLOYER)
    with ExitStack() as stack:
        hosts = {NAMESPACE: stack.enter_context(ApiHost()), GREEN: stack.enter_context(ApiHost(GREEN))}
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "doctl"
        source = (Path(__file__).parent / "doctl.py").read_text()
        program.write_text(f"#!{sys.executable}\n{source}")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        known = {
            name: {"host": host.url, "auth": AUTH, "token": TOKEN, "key": ACCESS_KEYS[name]}
            for name, host in hosts.items()
        }
        settings = {
            "namespaces": known,
            "calls": str(tmp_path / "calls"),
            "deployer": str(DEPLOYER / "deploy.mjs"),
            "python": str(Path(sys.executable).parent),
        }
        (folder / "doctl.json").write_text(json.dumps(settings))
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        secrets = {
            "MONGODB_URI": database_uri,
            "METAKEEP_API_KEY": sandbox.api_key,
            "METAKEEP_API_SECRET": sandbox.api_secret,
            "WEBHOOK_SECRET_KEYS": "0123456789abcdef" * 4,
            "CHAIN_RPC_URL": sandbox.rpc_url,
            "LOG_DESTINATIONS": "[]",
            "WEB_SECURE_BLUE": "secret-of-the-blue-gateway",
            "WEB_SECURE_GREEN": "secret-of-the-green-gateway",
            "ACCESS_KEYS_BLUE": ACCESS_KEYS[NAMESPACE],
            "ACCESS_KEYS_GREEN": ACCESS_KEYS[GREEN],
        }
        for name, value in secrets.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ENCRYPTION_KEY", "not for the deployer")
        yield Platform(hosts[NAMESPACE], hosts[GREEN], tmp_path / "calls", _environment(tmp_path, sandbox), secrets)


def _environment(folder: Path, sandbox: Sandbox) -> Path:
    """An environment's two files, as deploy/environments has them."""
    root = Path(__file__).parents[2] / "deploy/environments"
    variables = {
        "MONGODB_DATABASE": "tests",
        "METAKEEP_BASE_URL": sandbox.base_url,
        "METAKEEP_SIGNING_HOST": sandbox.signing_host,
        "METAKEEP_WEBHOOK_SCHEME": "p256",
        "METAKEEP_WEBHOOK_SENDER_KEYS": sandbox.webhook_sender_key,
        "METAKEEP_WEBHOOK_HOST": "trial.getsmart.test",
        "METAKEEP_WEBHOOK_PATH": "/v1/webhooks/metakeep",
        "TOKEN_CONTRACT_ADDRESS": sandbox.token_address,
        "TREASURY_ADDRESS": sandbox.treasury_address,
        "TOKEN_FIRST_BLOCK": "0",
    }
    values = {**read_env(root / "staging.env"), **variables}
    (folder / "trial.env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    web = "https://faas.doserverless.test/api/v1/web"
    (folder / "trial.yml").write_text(
        f"public: https://trial.getsmart.test\ngateway: {{bind: '127.0.0.1:8080', folder: '{folder}'}}\n"
        f"colours:\n  blue: [{{label: trial-blue, url: '{web}/{NAMESPACE}'}}]\n"
        f"  green: [{{label: trial-green, url: '{web}/{GREEN}'}}]\n"
    )
    return folder / "trial.yml"
