"""docs/deploy.md, "To a real account": its ten commands in their order, as a newcomer types them, against stand-ins."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo.database import Database

from getsmart import config, mongo
from ops import keys, settings
from ops.functions import ROOT
from ops.gateway import __main__ as gateway
from ops.gateway import app
from ops.gateway import environment as environments_of_gateways
from ops.migrations import __main__ as migrations
from ops.pipeline import announce, deploy, environments
from ops.release import smoke, state
from ops.rotate import envfile
from tests.deploy.stand_in import NAMESPACE
from tests.pipeline.conftest import GREEN, Platform
from tests.support import unique

pytestmark = pytest.mark.timeout(300)
PAGE = (ROOT / "docs/deploy.md").read_text()
NOT_WALKED = {"promote"}  # behind a real gateway: tests/acceptance/test_bluegreen.py


class Newcomer:
    """A clone with nothing filled in, and somebody who does what the page says, and nothing else."""

    def __init__(self, folder: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        """A copy of deploy/environments, of the gateway's spec, and of .env.example; nothing in the process."""
        folder.mkdir()
        self.env, self.platform = folder / ".env", platform
        self.environments = folder / "environments"
        shutil.copytree(ROOT / "deploy/environments", self.environments)
        self.spec = folder / "app.yaml"
        shutil.copyfile(app.TEMPLATE, self.spec)
        for module in (settings, environments, environments_of_gateways):
            monkeypatch.setattr(module, "FOLDER", self.environments)
        monkeypatch.setattr(settings, "OWN", self.env)
        monkeypatch.setattr(environments_of_gateways, "ROOT", folder)
        monkeypatch.setattr(app, "ROOT", folder)
        monkeypatch.setattr(app, "TEMPLATE", self.spec)
        monkeypatch.setattr(announce, "FOLDER", folder / "records")
        for name in {*platform.secrets, "MONGODB_DATABASE", "MONGODB_URI", "SMOKE_KEY", "ACCESS_KEYS_BLUE"}:
            monkeypatch.delenv(name, raising=False)
        self.database = unique("staging")

    def replace(self, file: Path, pattern: str, value: str) -> None:
        """Fill in what stands there."""
        text, count = re.subn(pattern, value, file.read_text())
        assert count, (file.name, pattern)
        file.write_text(text)

    def before_2(self) -> None:
        """.env: the secrets, the tokens and keys that are asked for at the gateway and by doctl, and two users."""
        envfile.change(self.env, self.platform.secrets)
        envfile.change(self.env, {"MIGRATIONS_MONGODB_URI": self.platform.secrets["MONGODB_URI"]})

    def before_6(self) -> None:
        """The namespaces, what is in angle brackets, and the repository; the database is named as the test likes."""
        yml, env = self.environments / "staging.yml", self.environments / "staging.env"
        for label, namespace in (("blue", NAMESPACE), ("green", GREEN)):
            pattern = rf'(staging-{label}, url: ")[^"]+'
            self.replace(yml, pattern, rf"\g<1>https://faas-fra1-0a1b2c3d.doserverless.co/api/v1/web/{namespace}")
        given = environments.read_env(self.platform.environment.with_suffix(".env"))
        for name in re.findall(r"^([A-Z_]+)='<", env.read_text(), re.MULTILINE):
            self.replace(env, rf"{name}='<[^>]*>'", f"{name}={given[name]}")
        self.replace(env, "MONGODB_DATABASE=.*", f"MONGODB_DATABASE={self.database}")
        self.replace(self.spec, "<[^>]*>", "ours/getsmart")

    def before_8(self, said: str) -> None:
        """The key that was shown."""
        envfile.change(self.env, {"SMOKE_KEY": said.splitlines()[1]})

    def before_9(self, said: str) -> None:
        """What the gateway's command told."""
        app_id, address = re.findall(r"app_id: (\S+)|it answers at (\S+)", said)
        self.replace(self.environments / "staging.yml", r"app_id: \S+", f"app_id: {app_id[0]}")
        self.replace(self.environments / "staging.yml", r"public: \S+", f"public: {address[1]}")


def typed() -> list[list[str]]:
    """The words of each command of the page."""
    block = PAGE.partition("## To a real account")[2].split("```")[1]
    return [shlex.split(line, comments=True) for line in block.splitlines() if line.strip()]


def as_begun(process: dict[str, str]) -> None:
    """Each command is a process of its own: what the one before read from a file is forgotten."""
    for name in os.environ.keys() - process.keys():
        del os.environ[name]
    os.environ.update(process)
    config.forget()
    mongo.forget()


def test_the_ten_commands_work_in_their_order(
    platform: Platform,
    raw: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each does what it says with what was filled in before it, and all of them with one database: staging's.

    doctl and the cloud are stand-ins; the last command begins with what it reads.
    """
    platform.only_listen()
    newcomer = Newcomer(tmp_path / "clone", platform, monkeypatch)
    mains: dict[str, Callable[[list[str]], int]] = {
        "migrate": migrations.main,
        "keys": keys.main,
        "gateway": gateway.main,
        "deploy": deploy.main,
    }
    filled: dict[int, Callable[..., None]] = {
        2: lambda _: newcomer.before_2(),
        6: lambda _: newcomer.before_6(),
        8: newcomer.before_8,
        9: newcomer.before_9,
    }
    assert set(filled) == {int(number) for number in re.findall(r"^\| (\d+) \| `", PAGE, re.MULTILINE)}
    said, process = "", dict(os.environ)
    for number, (program, *words) in enumerate(typed(), 1):
        as_begun(process)
        filled.get(number, lambda _: None)(said)
        if program == "cp":
            shutil.copyfile(ROOT / words[0], newcomer.env)
        elif program == ".local/bin/doctl":
            assert subprocess.run(["doctl", *words], check=False).returncode == 0, words
        elif words[0] in mains:
            assert mains[words[0]](words[1:]) == 0, (words, capsys.readouterr().err)
        else:
            assert words[0] in {"doctl", *NOT_WALKED}
        said = capsys.readouterr().out
    as_begun(process)
    try:
        all_is_stagings(newcomer, raw)
    finally:
        as_begun(process)
        raw.client.drop_database(newcomer.database)


def all_is_stagings(newcomer: Newcomer, raw: Database[dict[str, Any]]) -> None:
    """Schema, key and functions are of the database that staging.env names; the last command finds what it needs."""
    there = raw.client[newcomer.database]
    assert there.api_keys.count_documents({"client_id": "smoke", "mode": "test"}) == 1
    assert "getsmart" not in raw.client.list_database_names()
    deployed = newcomer.platform.calls[-1]
    assert deployed["words"][1] == "deploy"
    assert f"MONGODB_DATABASE='{newcomer.database}'\n" in deployed["env"]
    assert "COLOUR='green'\n" in deployed["env"]
    assert f"targetNamespace: {GREEN}\n" in deployed["project"]
    (created,) = [yaml.safe_load(call["spec"]) for call in newcomer.platform.calls if "spec" in call]
    told = {env["key"]: env.get("value") for env in created["services"][0]["envs"]}
    assert told["WEB_SECURE_GREEN"] == newcomer.platform.secrets["WEB_SECURE_GREEN"]
    staging = environments_of_gateways.load("staging")
    assert smoke.key_of(staging).startswith("gsk_test_")
    assert state.idle_colour(staging) == "green"
    assert staging.gateway.app is not None
