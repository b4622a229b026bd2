"""The container: probes, edges of HTTP, an orderly end, and that the Dockerfile copies all it needs."""

import http.client
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml
from docker.utils import exclude_paths
from dotenv import dotenv_values
from pymongo.database import Database

from local import processes
from local.processes import Child
from ops.functions import load
from ops.stage import unread
from tests.local import programs

ROOT = programs.ROOT
Start = Callable[..., tuple[Child, str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the container in a folder; it, and its URL."""
    children: list[Child] = []

    def begin(folder: Path = ROOT, **more: str) -> tuple[Child, str]:
        path = {"PYTHONPATH": f"{folder / 'lib'}:{folder}"}
        command = [sys.executable, "-m", "serving", "--port", "0", "--workers", "1", "--threads", "4"]
        environment = {**programs.environment(), **path, **more}
        words = ["/usr/bin/env", "-C", str(folder), *command]
        child = processes.start("container", words, log=tmp_path / "log", environment=environment, announces=True)
        children.append(child)
        return child, json.loads(child.announcement(120))["gateway"]

    yield begin
    for child in children:
        child.stop()


def test_it_lives_and_is_ready_once_its_database_answers(start: Start, database_uri: str) -> None:
    """Without a database it lives and is not ready: it is not restarted for that, and gets no calls."""
    _, url = start(MONGODB_URI="mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200")
    assert (requests.get(f"{url}/livez", timeout=20).status_code, requests.get(f"{url}/readyz", timeout=20).text) == (
        200,
        "not ready",
    )
    assert requests.get(f"{url}/readyz", timeout=20).status_code == 503
    del database_uri


def test_a_probe_needs_no_secret_and_a_call_does(
    start: Start, database_uri: str, system: Database[dict[str, Any]]
) -> None:
    """The platform that runs the container does not know what the gateway sends with each call."""
    address = "0x" + "1" * 40
    token = {"TOKEN_CONTRACT_ADDRESS": address, "TREASURY_ADDRESS": address, "CHAIN_ID": "80002"}
    _, url = start(MONGODB_URI=database_uri, MONGODB_DATABASE=system.name, WEB_SECURE="the-secret", **token)
    assert requests.get(f"{url}/readyz", timeout=20).status_code == 200
    assert requests.get(f"{url}/v1/ops/health", timeout=20).status_code == 401
    secret = {"X-Require-Whisk-Auth": "the-secret"}
    assert requests.get(f"{url}/v1/ops/health", headers=secret, timeout=20).status_code == 200


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "BREW"])
def test_any_method_reaches_the_gateway_on_a_connection_that_stays(start: Start, method: str) -> None:
    """Also those that the framework has no route for, and HEAD, whose answer has no body."""
    _, url = start()
    host = urlsplit(url)
    with closing(http.client.HTTPConnection(host.hostname or "", host.port, timeout=20)) as connection:
        for _ in range(2):
            connection.request(method, "/v1/tokens/mint")
            reply = connection.getresponse()
            body = reply.read()
            assert reply.status == (200 if method == "OPTIONS" else 405)
            assert bool(body) == (method in {"PUT", "BREW"})
            assert reply.getheader("X-Openwhisk-Activation-Id")


def test_a_body_past_all_limits_is_refused_before_it_is_read(start: Start) -> None:
    """413, and the container is there for the next call."""
    _, url = start()
    try:
        status = requests.post(f"{url}/v1/tokens/mint", data=b"x" * 20_000_000, timeout=20).status_code
    except requests.ConnectionError:  # closed while the rest was on its way
        status = 413
    assert status == 413
    assert requests.get(f"{url}/livez", timeout=20).status_code == 200


def test_it_ends_when_told(start: Start) -> None:
    """SIGTERM: exit 0."""
    child, url = start()
    assert requests.get(f"{url}/livez", timeout=20).text == "ok"
    child.terminate()
    assert child.exited.wait(20)
    assert child.status == 0


@pytest.mark.parametrize("other", ["--isolated", "--platform-limits"])
def test_workers_go_with_functions_in_process_alone(other: str) -> None:
    """Exit 2 with a line that says so."""
    process = programs.start("serving", "--workers", "2", other)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, "--workers goes with functions in process alone" in error) == (2, True)


DOCKERFILES = sorted(
    str(path.relative_to(ROOT)) for place in (".", "deploy/*") for path in ROOT.glob(f"{place}/Dockerfile")
)


@cache
def sent() -> frozenset[str]:
    """Every file that a build is sent: what .dockerignore leaves, by the rules of Docker's own client."""
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    return frozenset(exclude_paths(str(ROOT), [rule for rule in rules if rule and not rule.startswith("#")]))


def sources(dockerfile: str) -> Iterator[tuple[str, str]]:
    """What a Dockerfile copies from the tree, and where to; what it takes of another stage is left out."""
    for line in (ROOT / dockerfile).read_text().splitlines():
        if line.startswith("COPY ") and "--from=" not in line:
            *names, place = shlex.split(line)[1:]
            yield from ((name.rstrip("/"), place) for name in names)


def copied(target: Path, dockerfile: str = "Dockerfile") -> None:
    """What a Dockerfile copies from here into its first stage, of what it is sent."""
    for source, place in sources(dockerfile):
        if place.startswith("/"):
            continue
        for name in sorted(sent()):
            if name == source:
                to = target / place / Path(name).name if place.endswith("/") or place == "." else target / place
            elif name.startswith(f"{source}/"):
                to = target / place / name.removeprefix(f"{source}/")
            else:
                continue
            if (ROOT / name).is_file():
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, to)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_a_build_is_sent_all_that_it_copies(dockerfile: str) -> None:
    """Each source of each COPY passes .dockerignore, whole; an image that lacks one is not built at all."""
    needed = set()
    for source, _ in sources(dockerfile):
        path = ROOT / source
        assert path.exists(), source
        files = path.rglob("*") if path.is_dir() else [path]
        needed |= {str(file.relative_to(ROOT)) for file in files if file.is_file() and "__pycache__" not in file.parts}
    assert needed - sent() == set()


def test_a_build_is_sent_nothing_else() -> None:
    """No secret of a developer's .env, no history, no test: only what some Dockerfile copies, and itself."""
    named = tuple(source for dockerfile in DOCKERFILES for source, _ in sources(dockerfile))
    more = {
        name
        for name in sent()
        if (ROOT / name).is_file() and not any(name == one or name.startswith(f"{one}/") for one in named)
    }
    assert more <= {".dockerignore", *DOCKERFILES}


def test_the_image_has_all_that_it_needs(tmp_path: Path, start: Start) -> None:
    """Every function answers from the files that the Dockerfile names; nothing of the tools is among them."""
    image = tmp_path / "app"
    copied(image)
    assert sorted(path.name for path in (image / "ops").iterdir()) == ["__init__.py", "functions.py"]
    _, url = start(image)
    for function in load():
        if function.web:
            assert requests.request("BREW", f"{url}/v1/{function.route}", timeout=20).status_code == 405
    path = {"PYTHONPATH": f"{image}/lib:{image}"}
    assert (
        subprocess.run([sys.executable, "-c", "import serving.scheduler"], cwd=image, env=path, check=False).returncode
        == 0
    )


def test_the_image_of_the_backups_has_all_that_it_needs(tmp_path: Path) -> None:
    """Both programs start from the files that its Dockerfile names, and nothing of the functions is among them."""
    image = tmp_path / "app"
    copied(image, "deploy/backup/Dockerfile")
    assert sorted(path.name for path in image.iterdir()) == ["lib", "ops", "requirements"]
    path = {"PYTHONPATH": f"{image}/lib:{image}"}
    for program in ("ops.backup", "ops.restore"):
        command = [sys.executable, "-m", program, "--help"]
        said = subprocess.run(command, cwd=image, env=path, capture_output=True, text=True, check=True).stdout
        assert said.startswith("usage: ./doit")


def test_the_backups_are_an_app_of_their_own(tmp_path: Path) -> None:
    """Wherever functions run, it makes one each five minutes, with the variables of the pipeline's backup."""
    spec = yaml.safe_load((ROOT / "deploy/backup/app.yaml").read_text())
    assert spec.keys() == {"name", "region", "workers"}
    (worker,) = spec["workers"]
    assert worker["dockerfile_path"] == "deploy/backup/Dockerfile"
    assert worker["run_command"] == "python -m ops.backup --every 5m"
    (job,) = yaml.safe_load((ROOT / ".github/workflows/backup.yml").read_text())["jobs"].values()
    read = next(step["env"] for step in job["steps"] if step.get("run") == "./doit backup")
    assert {entry["key"] for entry in worker["envs"]} == set(read)
    secret = {entry["key"] for entry in worker["envs"] if entry.get("type") == "SECRET"}
    assert secret == {name for name, value in read.items() if "secrets." in str(value)}
    assert all(("value" in entry) == (entry["key"] not in secret) for entry in worker["envs"])
    assert [one["name"] for one in yaml.safe_load((ROOT / "deploy/app.yaml").read_text())["workers"]] == ["tick"]


def test_the_app_spec_gives_every_variable_and_the_probes_that_exist() -> None:
    """What project.yml gives the functions, and the gateway's secret; what is secret has no value in it.

    What is another one for each environment is to be filled in: no example is taken for a value.
    """
    spec = yaml.safe_load((ROOT / "deploy/app.yaml").read_text())
    given = {entry["key"]: entry for entry in spec["envs"]}
    read = {name for function in load() for name in function.environment} - {"LOG_DESTINATIONS"}
    assert set(given) == read - unread({"METAKEEP_WEBHOOK_SCHEME": "none"}) | {"WEB_SECURE"}
    fixed = dotenv_values(ROOT / "deploy/environments/production.env")
    filled_in = {name for name, entry in given.items() if "<" in entry.get("value", "")}
    assert filled_in >= {name for name in read.intersection(fixed) if "<" in fixed[name] or "example" in fixed[name]}
    same = {name for name in read.intersection(fixed) - filled_in if given[name].get("value") != fixed[name]}
    assert same == {"MONGODB_MAX_POOL_SIZE"}  # a container has threads
    secret = {name for name, entry in given.items() if entry.get("type") == "SECRET"}
    assert {name for name in read if re.search("SECRET|_URI|_KEYS$", name)}.intersection(given) <= secret
    assert all(("value" in given[name]) == (name not in secret) for name in given)
    api, tick = spec["services"][0], spec["workers"][0]
    assert (api["health_check"]["http_path"], api["liveness_health_check"]["http_path"]) == ("/readyz", "/livez")
    assert tick["run_command"] == "python -m serving.scheduler"
    assert signal.SIGTERM.name in (ROOT / "Dockerfile").read_text()
