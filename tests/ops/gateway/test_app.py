"""The gateway as an app: made, weighted and renewed by doctl, here a stand-in that keeps the app's spec in a file."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.gateway import __main__ as command
from ops.gateway import app
from ops.gateway.environment import FOLDER, Environment, EnvironmentInvalid, load
from ops.gateway.runtime import GatewayUnreachable
from ops.pipeline import doctl as lookup
from ops.release import traffic

ID = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
DOCTL = f"""#!/bin/sh
# doctl apps create --spec - ... | apps spec get ID --format json | apps update ID --spec - ... --wait
echo "$@" >> "$0.log"
if [ -e "$0.broken" ]; then echo "Error: no such app" >&2; exit 1; fi
case "$2 $3" in
  "spec get") cat "$0.json" ;;
  "update "*) cat > "$0.yaml" ;;
  "create "*) cat > "$0.yaml"; echo "Notice: App created"; echo "{ID}    https://getsmart.ondigitalocean.app" ;;
esac
"""
SECRETS = {"WEB_SECURE_BLUE": "a-secret-of-blue-alone", "WEB_SECURE_GREEN": "a-secret-of-green-alone"}


@pytest.fixture
def doctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in; its app is the one of deploy/gateway/app.yaml, with the repository filled in."""
    program = tmp_path / "doctl"
    program.write_text(DOCTL)
    program.chmod(0o755)
    filled_in = tmp_path / "app.yaml"
    filled_in.write_text(app.TEMPLATE.read_text().replace("<owner/repository>", "getsmart-token/api"))
    Path(f"{program}.json").write_text(json.dumps(yaml.safe_load(filled_in.read_text())))
    monkeypatch.setattr(app, "TEMPLATE", filled_in)
    monkeypatch.setattr(app, "ROOT", tmp_path)
    monkeypatch.setattr(lookup, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return program


def called(doctl: Path) -> list[str]:
    """What the stand-in was told, line by line."""
    return Path(f"{doctl}.log").read_text().splitlines()


def envs(spec: Any) -> dict[str, dict[str, Any]]:
    """The variables of the gateway's service by their names; each stands once."""
    (service,) = spec["services"]
    found = {env["key"]: env for env in service["envs"]}
    assert len(found) == len(service["envs"])
    return found


@pytest.fixture
def production() -> Environment:
    """The environment with its app."""
    there = load("production")
    return there.model_copy(update={"gateway": there.gateway.model_copy(update={"app_id": ID})})


@pytest.mark.parametrize("name", ["staging", "production"])
def test_an_app_is_made_of_its_environment(
    name: str, doctl: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database_uri: str
) -> None:
    """Name, what it is built with, secrets, and all calls at blue before any is active; its id is told.

    The secrets go in on stdin, and stand in no word of a command.
    """
    monkeypatch.setenv("MONGODB_URI", database_uri)
    monkeypatch.setenv("MONGODB_DATABASE", "put back afterwards")
    assert command.main(["create", name]) == 0
    made = yaml.safe_load(Path(f"{doctl}.yaml").read_text())
    assert made["name"] == f"getsmart-gateway-{name}"
    assert len(made["name"]) <= 32  # what the platform takes
    assert "domains" not in made  # the example's host is nobody's
    found = envs(made)
    assert found["ENVIRONMENT"] == {"key": "ENVIRONMENT", "scope": "BUILD_TIME", "value": name}
    for key, value in SECRETS.items():
        assert found[key] == {"key": key, "scope": "RUN_TIME", "type": "SECRET", "value": value}
    counts = {colour: len(spaces) for colour, spaces in load(name).colours.items()}
    assert app.shares_in(made, counts) == {"blue": 100, "green": 0}
    assert called(doctl) == ["apps create --spec - --wait --format ID,DefaultIngress --no-header"]
    out = capsys.readouterr().out
    assert f"app_id: {ID}    (for deploy/environments/{name}.yml)" in out
    assert "it answers at https://getsmart.ondigitalocean.app" in out


def test_the_app_of_a_domain_of_ones_own(doctl: Path) -> None:
    """It is the app's primary one."""
    there = load("production").model_copy(update={"public": "https://api.getsmart.school"})
    made = app.first(there, {"blue": "x", "green": "y"}, "green")
    assert made["domains"] == [{"domain": "api.getsmart.school", "type": "PRIMARY"}]
    assert app.shares_in(made, {"blue": 3, "green": 3}) == {"blue": 0, "green": 100}


def test_an_app_is_not_made_of_what_is_not_filled_in(
    doctl: Path, production: Environment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second app, an environment that runs elsewhere, the repository's place, a missing secret: said, not made."""
    with pytest.raises(EnvironmentInvalid, match=r"gateway\.app_id names an app: \./doit gateway reload production"):
        app.create(production, {"blue": "x", "green": "y"}, "blue")
    assert command.main(["create", "local"]) == 1
    assert "the gateway of local is no app: ./doit gateway run local" in capsys.readouterr().err
    app.TEMPLATE.write_text(app.TEMPLATE.read_text().replace("getsmart-token/api", "<owner/repository>"))
    assert command.main(["create", "staging", "--active", "blue"]) == 1
    assert "app.yaml: <owner/repository> is still to be filled in" in capsys.readouterr().err
    monkeypatch.delenv("WEB_SECURE_GREEN")
    monkeypatch.setenv("WEB_SECURE", "")
    assert command.main(["create", "staging", "--active", "blue"]) == 1
    assert "WEB_SECURE_GREEN, or WEB_SECURE for both" in capsys.readouterr().err
    assert not Path(f"{doctl}.log").exists()


def test_shares_are_read_and_given_by_the_spec(doctl: Path, production: Environment) -> None:
    """Only the two weights change; each namespace has its part of its colour's share."""
    calls = traffic.traffic_of(production)
    assert calls.shares() == {"blue": 100, "green": 0}
    calls.give({"blue": 90, "green": 10})
    given = yaml.safe_load(Path(f"{doctl}.yaml").read_text())
    before = json.loads(Path(f"{doctl}.json").read_text())
    weights = {key: env["value"] for key, env in envs(given).items() if key.startswith("WEIGHT_")}
    assert weights == {"WEIGHT_BLUE": "72", "WEIGHT_GREEN": "8"}
    for spec in (given, before):
        spec["services"][0]["envs"] = [env for env in spec["services"][0]["envs"] if env["key"] not in weights]
    assert given == before
    assert called(doctl)[-1] == f"apps update {ID} --spec - --wait"
    assert calls.readings() is None


def test_a_reload_keeps_the_weights_and_all_that_was_changed_in_the_app(
    doctl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It builds the app anew from its branch, with the secrets that are set now: so a colour's secret is rotated."""
    spec = json.loads(Path(f"{doctl}.json").read_text())
    spec = app.with_shares(spec, {"blue": 10, "green": 90}, {"blue": 1, "green": 1})
    spec["services"][0] |= {"instance_count": 5}
    spec = app.with_secrets(spec, {"blue": "EV[1:old]", "green": "EV[1:kept]"})
    Path(f"{doctl}.json").write_text(json.dumps(spec))
    place = tmp_path / "trial.yml"
    text = (FOLDER / "staging.yml").read_text()
    place.write_text(text.replace("00000000-0000-4000-8000-000000000000 #", f"{ID} #"))
    assert command.main(["reload", str(place)]) == 0, capsys.readouterr().err
    given = yaml.safe_load(Path(f"{doctl}.yaml").read_text())
    assert given["services"][0]["instance_count"] == 5
    assert app.shares_in(given, {"blue": 1, "green": 1}) == {"blue": 10, "green": 90}
    assert {key: envs(given)[key]["value"] for key in SECRETS} == SECRETS
    assert called(doctl)[-1] == f"apps update {ID} --spec - --update-sources --wait"


def test_what_doctl_refuses_is_said(doctl: Path, production: Environment) -> None:
    """In its own words."""
    calls = traffic.traffic_of(production)
    Path(f"{doctl}.broken").touch()
    with pytest.raises(GatewayUnreachable, match="doctl apps spec: Error: no such app"):
        calls.give({"blue": 0, "green": 100})


def test_the_doctl_of_the_tree_is_found(
    doctl: Path, monkeypatch: pytest.MonkeyPatch, production: Environment, tmp_path: Path
) -> None:
    """What ./doit doctl installed needs no PATH, and gets the account's token from the operator's variables."""
    place = tmp_path / lookup.INSTALLED / "doctl"
    place.parent.mkdir(parents=True)
    place.write_text('#!/bin/sh\necho "{\\"name\\":\\"$DIGITALOCEAN_ACCESS_TOKEN\\"}"\n')
    place.chmod(0o755)
    doctl.unlink()
    (tmp_path / "variables").write_text("DIGITALOCEAN_ACCESS_TOKEN=of-the-file\n")
    monkeypatch.delenv(lookup.TOKEN, raising=False)
    there = production.model_copy(update={"variables": tmp_path / "variables"})
    assert app.App(there).spec() == {"name": "of-the-file"}


def test_without_doctl_it_is_said(monkeypatch: pytest.MonkeyPatch, production: Environment) -> None:
    """One line."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(lookup, "ROOT", Path("/nowhere"))
    with pytest.raises(GatewayUnreachable, match=r"doctl is not installed: \./doit doctl"):
        traffic.traffic_of(production).shares()


def test_an_app_without_a_gateway_is_refused() -> None:
    """It is another app's id."""
    with pytest.raises(GatewayUnreachable, match="no service gateway"):
        app.shares_in({"services": [{"name": "api"}]}, {"blue": 1, "green": 1})


def test_a_spec_that_says_nothing_gives_all_to_blue() -> None:
    """As the gateway's configuration does where no weight is set."""
    assert app.shares_in({"services": [{"name": "gateway"}]}, {"blue": 1, "green": 1}) == {"blue": 100, "green": 0}


@pytest.mark.parametrize("missing", [None, "00000000-0000-4000-8000-000000000000"])
def test_an_environment_without_its_app_is_refused(production: Environment, missing: str | None) -> None:
    """The id is named as what is missing, also where the example's still stands, and the command that tells it."""
    gateway = production.gateway.model_copy(update={"app_id": missing})
    with pytest.raises(EnvironmentInvalid, match=r"app_id is not set: \./doit gateway create production tells it"):
        traffic.traffic_of(production.model_copy(update={"gateway": gateway}))
