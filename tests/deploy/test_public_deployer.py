"""The public deployer takes this project as it stands, and what it uploads answers as the local gateway does."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from local.sandbox import Sandbox
from ops import deployer_rules, functions, package, stage
from ops.deployer_template import parse, render
from ops.functions import Function
from serving.gateway import Callee, Gateway, in_process
from serving.isolated import Isolation
from serving.unpack import building
from tests.deploy.recorded import Line, Story
from tests.deploy.stand_in import AUTH, NAMESPACE, TOKEN, ApiHost, Uploads
from tests.support import Client, load

HERE = Path(__file__).parent
VERSION = "4.3.10"
Run = Callable[..., Any]

pytestmark = pytest.mark.timeout(300)  # the first run installs the deployer, and builds lib/


def npm_ci(folder: Path) -> None:
    """Install what the lock file says, unless that is done."""
    lock, stamp = folder / "package-lock.json", folder / "node_modules/.locked"
    if stamp.is_file() and stamp.read_bytes() == lock.read_bytes():
        return
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(["npm", "ci", *quiet], cwd=folder, check=True)
    shutil.copyfile(lock, stamp)


@pytest.fixture(scope="module")
def host() -> Iterator[ApiHost]:
    """The stand-in for everything that the deployer calls."""
    with ApiHost() as running:
        yield running


@pytest.fixture(scope="module")
def run(host: ApiHost, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the deployer in a bare environment."""
    if not shutil.which("npm"):
        assert not os.environ.get("CI"), "the deployer is tested with node and npm"
        pytest.skip("needs node and npm")
    npm_ci(HERE)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    home = str(tmp_path_factory.mktemp("home"))

    def start(job: Mapping[str, Any], **variables: str) -> Any:
        done = subprocess.run(
            ["node", str(HERE / "deploy.mjs")],
            input=json.dumps({"apihost": host.url, "auth": AUTH, "namespace": NAMESPACE, **job}),
            env={"PATH": path, "HOME": home, "https_proxy": host.url, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])  # the deployer reports its progress there too

    return start


@pytest.fixture(scope="module")
def values(repository_values: dict[str, str], database_uri: str, sandbox: Sandbox) -> dict[str, str]:
    """.env.example, filled in with the database and the provider of the tests."""
    return repository_values | {
        "MONGODB_URI": database_uri,
        "MONGODB_DATABASE": "tests",
        "APP_VERSION": "test",
        "METAKEEP_BASE_URL": sandbox.base_url,
        "METAKEEP_SIGNING_HOST": sandbox.signing_host,
        "METAKEEP_API_KEY": sandbox.api_key,
        "METAKEEP_API_SECRET": sandbox.api_secret,
        "METAKEEP_TRANSFER_TO_ADDRESS": "on",
        "METAKEEP_WEBHOOK_SENDER_KEYS": sandbox.webhook_sender_key,
        "METAKEEP_WEBHOOK_SECRETS": sandbox.webhook_secret,
        "METAKEEP_WEBHOOK_HOST": "localhost",
        "TOKEN_CONTRACT_ADDRESS": sandbox.token_address,
        "TREASURY_ADDRESS": sandbox.treasury_address,
        "CHAIN_ID": str(sandbox.chain_id),
        "CHAIN_RPC_URL": sandbox.rpc_url,
        "CONFIRMATION_DEPTH": "0",
    }


@pytest.fixture(scope="module")
def repository_values() -> dict[str, str]:
    """The values of .env.example."""
    return deployer_rules.values_of(functions.ROOT / ".env.example")


@pytest.fixture(scope="module")
def staged(built: None, values: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project as it is deployed, with the env file of the deployment."""
    folder = tmp_path_factory.mktemp("staged")
    assert stage.stage(folder, values) == []
    write_env(folder / ".env", values)
    return folder


@pytest.fixture(scope="module")
def uploads(host: ApiHost, run: Run, staged: Path) -> Uploads:
    """The whole project, deployed once."""
    done = run({"project": str(staged)}, DO_API_KEY=TOKEN)
    assert done["failures"] == []
    assert done["namespace"] == NAMESPACE
    assert host.uploads.refused == []
    return host.uploads


@pytest.fixture(scope="module")
def unpacked(uploads: Uploads, staged: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Function]:
    """The functions as they arrived, each in the folder its zip was unpacked to, with what it was given."""
    folder = tmp_path_factory.mktemp("unpacked")
    found = []
    for function in functions.load(staged):
        action = uploads.actions[function.route]
        archive(action).extractall(folder / function.route)
        given = {parameter["key"]: f"${{{parameter['key']}}}" for parameter in action["parameters"]}
        web: functions.Web = "raw" if annotations(action)["raw-http"] else bool(annotations(action)["web-export"])
        limits = action["limits"]
        found.append(
            replace(
                function,
                path=folder / function.route,
                environment=given,
                web=web,
                timeout_ms=limits["timeout"],
                memory_mb=limits["memory"],
                logs_kb=limits["logs"],
            )
        )
    return found


def write_env(path: Path, values: Mapping[str, str]) -> None:
    """An env file."""
    path.write_text("".join(f"{name}='{value}'\n" for name, value in values.items()))


def archive(action: Mapping[str, Any]) -> zipfile.ZipFile:
    """The zip of an uploaded function."""
    return zipfile.ZipFile(io.BytesIO(base64.b64decode(action["exec"]["code"], validate=True)))


def annotations(action: Mapping[str, Any]) -> dict[str, Any]:
    """By name."""
    return {pair["key"]: pair["value"] for pair in action["annotations"]}


def test_the_lock_is_the_version_that_is_named(repository: Path) -> None:
    """The documents say which deployer this proves, and the lock says no host it comes from."""
    lock = json.loads((HERE / "package-lock.json").read_text())["packages"]
    assert lock["node_modules/@nimbella/nimbella-deployer"]["version"] == VERSION
    assert all("integrity" in entry and "resolved" not in entry for name, entry in lock.items() if name)
    assert f"deployer {VERSION}" in (repository / "docs/deploy.md").read_text()


def test_every_function_is_uploaded_as_declared(uploads: Uploads, staged: Path, values: dict[str, str]) -> None:
    """Nothing is missing and nothing is there that project.yml does not declare: kind, limits, web mode, variables."""
    project = parse(render((staged / "project.yml").read_text(), values, staged).text)
    entries = {f"{one['name']}/{entry['name']}": entry for one in project["packages"] for entry in one["functions"]}
    declared = {function.route: function for function in functions.load()}
    assert uploads.actions.keys() == declared.keys()
    assert uploads.packages.keys() == {function.package for function in declared.values()}
    for route, action in uploads.actions.items():
        function = declared[route]
        limits = {"timeout": function.timeout_ms, "memory": function.memory_mb, "logs": function.logs_kb}
        assert (action["exec"]["kind"], action["exec"]["binary"], action["limits"]) == ("python:3.11", True, limits)
        wanted = {"web-export": bool(function.web), "raw-http": function.web == "raw", "require-whisk-auth": False}
        assert annotations(action).items() >= wanted.items()
        given = [{"key": name, "value": value, "init": True} for name, value in entries[route]["environment"].items()]
        assert action["parameters"] == given


def test_nothing_secret_is_a_parameter_of_a_call(uploads: Uploads, values: dict[str, str]) -> None:
    """Secrets arrive as variables of a start, and nowhere else: not in annotations, packages or triggers."""
    secrets = [values[name] for name in ("MONGODB_URI", "METAKEEP_API_SECRET", "METAKEEP_API_KEY")]
    shown = [action["annotations"] for action in uploads.actions.values()]
    text = json.dumps([shown, uploads.packages, uploads.triggers])
    assert [secret for secret in secrets if secret in text] == []


def test_the_trigger_is_recorded(uploads: Uploads) -> None:
    """The tick runs every minute: made anew at each deployment, after its function."""
    assert uploads.triggers == {
        "getsmart-tick": {
            "name": "getsmart-tick",
            "namespace": NAMESPACE,
            "function": "ops/tick",
            "is_enabled": True,
            "trigger_source": "SCHEDULED",
            "cron": "* * * * *",
        }
    }
    steps = ["PUT /api/v1/namespaces/_/actions/ops/tick", f"DELETE /v2/functions/trigger/{NAMESPACE}/getsmart-tick"]
    assert [call for call in uploads.calls if call in steps] == steps


def test_every_zip_holds_what_package_says(uploads: Uploads, unpacked: list[Function], staged: Path) -> None:
    """Name by name and byte by byte: the lists of `./doit package`, and nothing undeclared."""
    with building(shared=True):
        here = {function.route: sorted(package.contents(function)) for function in functions.load()}
    there = {function.route: function for function in functions.load(staged)}
    for function in unpacked:
        names = archive(uploads.actions[function.route]).namelist()
        wanted = package.contents(there[function.route])
        assert sorted(names) == sorted(wanted)
        assert sorted(names) == here[function.route]
        differ = [name for name in names if (function.path / name).read_bytes() != wanted[name].read_bytes()]
        assert differ == []


def test_what_was_uploaded_answers_as_the_local_gateway_does(
    uploads: Uploads,
    unpacked: list[Function],
    system: Database[dict[str, Any]],
    genesis: dict[str, list[dict[str, Any]]],
    make_client: Callable[..., Client],
) -> None:
    """Every zip, under the launcher with its uploaded variables: status, headers and body, ids and times aside.

    Deployed so they take the second start path, as LOG_DESTINATIONS is there; one of each kind takes the first one too.
    """
    routes = [function.route for function in unpacked if function.web]

    def tell(name: str, run: Callable[[Any], Callee], told_of: list[Function]) -> list[Line]:
        start_over(system, genesis)
        return Story(Gateway(told_of, run=run).answer, routes, make_client(name).token or "", f"story-{name}").tell()

    wanted = tell("local", in_process, list(functions.load()))
    assert {status for _, status, _, _ in wanted} >= {200, 201, 202, 400, 401, 404, 405, 409, 415, 422}
    with ExitStack() as stack:
        run = partial(isolated, stack, uploads)
        assert tell("second", run, unpacked) == wanted
        system.controls.update_one({"_id": "colour"}, {"$set": {"active": "green"}})
        tick = run(next(function for function in unpacked if function.route == "ops/tick"))
        here = load("ops/tick")
        assert tick.call({}, tick.context()) == here.call({}, here.context())
    with ExitStack() as stack:
        kinds = {"tokens/mint", "wallets/balance"}
        some = [one for one in unpacked if one.route in kinds]
        rest = [one for one in functions.load() if one.route not in kinds]
        run = partial(isolated, stack, uploads, only=kinds, without={"LOG_DESTINATIONS"})
        assert tell("first", run, some + rest) == wanted


def isolated(
    stack: ExitStack,
    uploads: Uploads,
    function: Any,
    *,
    only: Container[str] | None = None,
    without: Container[str] = (),
) -> Callee:
    """A function in processes of its own, with the variables that were uploaded; another than `only` in this one."""
    route = f"{function.package}/{function.name}"
    if only is not None and route not in only:
        return in_process(function)
    uploaded = uploads.actions[route]["parameters"]
    given = {one["key"]: one["value"] for one in uploaded if one["key"] not in without}
    return stack.enter_context(Isolation(given))(function)


def start_over(system: Database[dict[str, Any]], genesis: Mapping[str, list[dict[str, Any]]]) -> None:
    """The data of a fresh migration."""
    for name in system.list_collection_names():
        if not name.startswith("migrations"):
            system[name].delete_many({})
    for name, rows in genesis.items():
        system[name].insert_many(rows)


def test_a_gateways_secret_and_no_token(run: Run, values: dict[str, str], tmp_path: Path) -> None:
    """With WEB_SECURE set, what is on the web asks for it (unset it is off, as the other tests saw).

    A namespace's key deploys functions only: without the account's token the trigger is passed over, and nothing fails.
    """
    secured = values | {"WEB_SECURE": "s3cret"}
    assert stage.stage(tmp_path, secured) == []
    write_env(tmp_path / ".env", secured)
    with ApiHost() as other:
        job = {"project": str(tmp_path), "include": "tokens/info,ops/tick", "apihost": other.url}
        done = run(job, https_proxy=other.url)
    assert done["failures"] == []
    skipped = {one["name"]: one["skipped"] for one in done["successes"]}
    assert skipped == {"tokens/info": False, "ops/tick": False, "getsmart-tick": True}
    assert not any("trigger" in call for call in other.uploads.calls)
    guards = {route: annotations(action)["require-whisk-auth"] for route, action in other.uploads.actions.items()}
    assert guards == {"tokens/info": "s3cret", "ops/tick": False}


REFUSED = [
    ("packages:", "more: 1\npackages:", "Invalid key 'more' found in project.yml"),
    ("        web: raw\n", "        web: raw\n        memory: 128\n", "Invalid key 'memory' found"),
    ("        web: raw\n", "        web: 'true'\n", "web member of an 'action' must be a boolean or the string 'raw'"),
    (
        "web: raw\n",
        "web: raw\n        webSecure: true\n",
        "'webSecure' member of an 'action' must be a boolean false or a",
    ),
    ("'${COLOUR}'", "7", "All environment values must be strings but 'COLOUR' has type 'number'"),
    ("'${COLOUR}'", "'${NOT_SET}'", "The following substitutions could not be resolved: 'NOT_SET'"),
    ("packages:", "# ${NOT_SET}\npackages:", "The following substitutions could not be resolved: 'NOT_SET'"),
    ("packages:", "# ${\npackages:", "Invalid project configuration file (project.yml)"),
    ("'${COLOUR}'", "'$(COLOUR'", "Runaway variable name or path directive in project.yml"),
    ("'${COLOUR}'", "'\t'", "YAML configuration may not contain tabs"),
    ("          COLOUR: '${COLOUR}'", "          MONGODB_URI: 'x'", "duplicated mapping key"),
    ("memory: 256", "memory: '256'", "'memory' member of a 'limits' clause must be a number"),
    ("memory: 256", "concurrency: 2", "Invalid key 'concurrency' found in 'limits' clause"),
    ("sourceType: scheduler", "type: SCHEDULED", "Invalid key 'type' found in 'triggers' clause"),
    ('"* * * * *"', '"0 0 * * 7"', "the cron expression '0 0 * * 7' is not valid crontab syntax"),
    ('"* * * * *"', '"0 0 * jan *"', "the cron expression '0 0 * jan *' is not valid crontab syntax"),
]


def test_the_deployer_refuses_what_the_rules_refuse(
    run: Run, repository: Path, repository_values: dict[str, str], tmp_path: Path
) -> None:
    """The rules were read from the deployer: here it refuses the same projects itself, and takes the good one."""
    good = (repository / "project.yml").read_text()
    folders = []
    for number, (old, new, _) in enumerate([("", "", None), *REFUSED]):
        assert old in good
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        (folders[-1] / "project.yml").write_text(good.replace(old, new, 1))
    env = tmp_path / "env"
    write_env(env, repository_values)
    said = run({"projects": [str(folder) for folder in folders], "env": str(env)})
    # The good one gets past project.yml, to the functions, which are not there.
    assert "Invalid project configuration" not in (said[0] or "")
    for folder, text, (_, _, refusal) in zip(folders[1:], said[1:], REFUSED, strict=True):
        assert refusal in (text or ""), folder
        assert deployer_rules.project_problems(folder, repository_values), refusal
    assert deployer_rules.project_problems(folders[0], repository_values) == []
