"""On App Platform the weights stand in the app's spec, which doctl changes: here a stand-in that keeps it in a file."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.functions import ROOT
from ops.gateway.environment import Environment, EnvironmentInvalid, load
from ops.gateway.runtime import GatewayUnreachable
from ops.pipeline import doctl as lookup
from ops.release import traffic

DOCTL = """#!/bin/sh
# doctl apps spec get ID --format json | doctl apps update ID --spec - --wait
echo "$@" >> "$0.log"
case "$2 $3" in
  "spec get") cat "$0.json" ;;
  "update "*) if [ -e "$0.broken" ]; then echo "Error: no such app" >&2; exit 1; fi; cat > "$0.yaml" ;;
esac
"""


@pytest.fixture
def doctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in, first on PATH; its app is the one of deploy/gateway/app.yaml."""
    program = tmp_path / "doctl"
    program.write_text(DOCTL)
    program.chmod(0o755)
    spec = yaml.safe_load((ROOT / "deploy/gateway/app.yaml").read_text())
    Path(f"{program}.json").write_text(json.dumps(spec))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return program


@pytest.fixture
def production() -> Environment:
    """The environment that runs there."""
    return load("production")


def test_shares_are_read_and_given_by_the_spec(doctl: Path, production: Environment) -> None:
    """Only the two weights change; each namespace has its part of its colour's share."""
    calls = traffic.traffic_of(production)
    assert calls.shares() == {"blue": 100, "green": 0}
    calls.give({"blue": 90, "green": 10})
    given = yaml.safe_load(Path(f"{doctl}.yaml").read_text())
    before = json.loads(Path(f"{doctl}.json").read_text())

    def weights(spec: Any) -> dict[str, str]:
        envs = {env["key"]: env["value"] for env in spec["services"][0]["envs"] if env["key"].startswith("WEIGHT_")}
        spec["services"][0]["envs"] = [env for env in spec["services"][0]["envs"] if env["key"] not in envs]
        return envs

    assert weights(given) == {"WEIGHT_BLUE": "72", "WEIGHT_GREEN": "8"}
    weights(before)
    assert given == before
    assert "update 00000000-0000-4000-8000-000000000000 --spec - --wait" in Path(f"{doctl}.log").read_text()
    assert calls.readings() is None


def test_what_doctl_refuses_is_said(doctl: Path, production: Environment) -> None:
    """In its own words."""
    Path(f"{doctl}.broken").touch()
    with pytest.raises(GatewayUnreachable, match="doctl apps update: Error: no such app"):
        traffic.traffic_of(production).give({"blue": 0, "green": 100})


def test_the_doctl_of_the_tree_is_found(
    doctl: Path, monkeypatch: pytest.MonkeyPatch, production: Environment, tmp_path: Path
) -> None:
    """What ./doit doctl installed needs no PATH, and gets the account's token from the operator's variables."""
    place = tmp_path / "tree" / lookup.INSTALLED / "doctl"
    place.parent.mkdir(parents=True)
    place.write_text(
        '#!/bin/sh\necho "{\\"services\\":[{\\"name\\":\\"gateway\\",\\"token\\":\\"$DIGITALOCEAN_ACCESS_TOKEN\\"}]}"\n'
    )
    place.chmod(0o755)
    doctl.unlink()
    (tmp_path / "variables").write_text("DIGITALOCEAN_ACCESS_TOKEN=of-the-file\n")
    monkeypatch.delenv(lookup.TOKEN, raising=False)
    monkeypatch.setattr(lookup, "ROOT", tmp_path / "tree")
    there = production.model_copy(update={"variables": tmp_path / "variables"})
    calls = traffic.traffic_of(there)
    assert isinstance(calls, traffic.AppPlatform)
    assert calls.spec()["services"][0]["token"] == "of-the-file"


def test_without_doctl_it_is_said(monkeypatch: pytest.MonkeyPatch, production: Environment) -> None:
    """One line."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(lookup, "ROOT", Path("/nowhere"))
    with pytest.raises(GatewayUnreachable, match=r"doctl is not installed: \./doit doctl"):
        traffic.traffic_of(production).shares()


def test_an_app_without_a_gateway_is_refused() -> None:
    """It is another app's id."""
    with pytest.raises(GatewayUnreachable, match="no service gateway"):
        traffic.shares_in({"services": [{"name": "api"}]}, {"blue": 1, "green": 1})


def test_a_spec_that_says_nothing_gives_all_to_blue() -> None:
    """As the gateway's configuration does where no weight is set."""
    assert traffic.shares_in({"services": [{"name": "gateway"}]}, {"blue": 1, "green": 1}) == {"blue": 100, "green": 0}


def test_an_environment_without_its_app_is_refused(production: Environment) -> None:
    """The id is named as what is missing."""
    gateway = production.gateway.model_copy(update={"app_id": None})
    with pytest.raises(EnvironmentInvalid, match="app_id is not set"):
        traffic.traffic_of(production.model_copy(update={"gateway": gateway}))
