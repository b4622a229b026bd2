"""The image of the gateway: it is made of what its Dockerfile names, and starts with what its environment has."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from local.ports import free_port
from ops.functions import ROOT
from ops.gateway import generate, runtime
from ops.gateway.environment import COLOURS, load, secret_name
from tests.gateway import require_haproxy, wait_for
from tests.serving.test_container import copied

DOCKERFILE = ROOT / "deploy/gateway/Dockerfile"
IMPORTED = """
import importlib.metadata, sys
before = set(sys.modules)
from ops.gateway.layout import main
code = main([sys.argv[1], "configuration"])
known = importlib.metadata.packages_distributions()
print(*sorted({name for module in set(sys.modules) - before for name in known.get(module.split(".")[0], [])}))
sys.exit(code)
"""


@pytest.mark.parametrize("name", ["staging", "production"])
def test_the_image_is_made_of_what_it_names(tmp_path: Path, name: str) -> None:
    """The generator runs on the files that are copied and the packages that are locked for it, and needs no other."""
    copied(tmp_path, "deploy/gateway/Dockerfile")
    path = {"PYTHONPATH": f"{tmp_path}/lib:{tmp_path}"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, name],
        cwd=tmp_path,
        env=path,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements/gateway.txt").read_text(), re.MULTILINE))
    used = {name.lower().replace("_", "-") for name in done.stdout.splitlines()[-1].split()}
    assert used <= locked
    assert sorted(file.name for file in (tmp_path / "configuration").iterdir()) == [
        "calls.lst", "haproxy.cfg", "routes.map", "state",
    ]  # fmt: skip


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, with the configuration of a gateway that has nobody behind it."""
    with tempfile.TemporaryDirectory(prefix="image") as name:
        local = load("local")
        gateway = local.gateway.model_copy(
            update={"folder": Path(name), "bind": f"127.0.0.1:{free_port()}", "internal": f"127.0.0.1:{free_port()}"}
        )
        there = local.model_copy(update={"gateway": gateway})
        generate.write({**generate.render(there, name="image"), runtime.STATE: runtime.NO_STATE}, Path(name))
        (Path(name) / "internal").write_text(gateway.internal)
        yield Path(name)


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ({"WEB_SECURE": "one-secret-for-both", "WEIGHT_BLUE": "0", "WEIGHT_GREEN": "240"}, {"blue": 0, "green": 100}),
        (
            {"WEB_SECURE_BLUE": "a" * 20, "WEB_SECURE_GREEN": "b" * 20, "WEIGHT_BLUE": "24", "WEIGHT_GREEN": "216"},
            {"blue": 10, "green": 90},
        ),
    ],
)
def test_it_starts_with_the_weights_of_its_environment(
    folder: Path, given: dict[str, str], shares: dict[str, int]
) -> None:
    """As an app's spec gives them."""
    require_haproxy()
    environment = {"PATH": os.environ["PATH"], "GATEWAY_FOLDER": str(folder), **given}
    process = subprocess.Popen([ROOT / "deploy/gateway/start"], env=environment, stderr=subprocess.DEVNULL)
    live = f"http://{(folder / 'internal').read_text()}/livez"

    def answers() -> bool:
        try:
            return requests.get(live, timeout=1).text == "ok"
        except requests.RequestException:
            return False

    try:
        wait_for(answers, "the gateway")
        assert runtime.Runtime(str(folder / "admin.sock")).shares() == shares
        secrets = folder / generate.GUARDS
        assert secrets.stat().st_mode & 0o777 == 0o600
        both = [given.get(secret_name(colour), given.get("WEB_SECURE")) for colour in COLOURS]
        assert secrets.read_text() == f"blue {both[0]}\ngreen {both[1]}\n"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "WEB_SECURE_BLUE and WEB_SECURE_GREEN, or WEB_SECURE, are needed"),
        ({"WEB_SECURE": "one-secret-for-both"}, "WEIGHT_BLUE and WEIGHT_GREEN are needed"),
        ({"WEB_SECURE": "one-secret-for-both", "WEIGHT_BLUE": "240"}, "WEIGHT_BLUE and WEIGHT_GREEN are needed"),
    ],
)
def test_without_secrets_and_weights_it_does_not_start(given: dict[str, str], said: str, folder: Path) -> None:
    """It says which variable is missing: who has the calls is no guess."""
    environment = {"PATH": os.environ["PATH"], "GATEWAY_FOLDER": str(folder), **given}
    start = [ROOT / "deploy/gateway/start"]
    done = subprocess.run(start, env=environment, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode != 0
    assert said in done.stderr


def test_the_app_spec_fits_the_image() -> None:
    """Ports, probe, Dockerfile and variables of the spec are those that exist."""
    spec = yaml.safe_load((ROOT / "deploy/gateway/app.yaml").read_text())
    (service,) = spec["services"]
    production = load("production")
    assert (ROOT / service["dockerfile_path"]) == DOCKERFILE
    assert load("staging").gateway == production.gateway
    assert production.gateway.bind == f"*:{service['http_port']}"
    assert production.gateway.internal == f"*:{service['health_check']['port']}"
    config = generate.render(production, name="production")[generate.CONFIG]
    assert f"path {service['health_check']['http_path']} " in config
    at_run_time = {env["key"] for env in service["envs"] if env["scope"] == "RUN_TIME"}
    read = set(re.findall(r"\$\{(WEIGHT_\w+)-", config)) | {secret_name(colour) for colour in COLOURS}
    assert at_run_time == read
    weights = {env["key"]: int(env["value"]) for env in service["envs"] if env["key"].startswith("WEIGHT_")}
    assert weights == {"WEIGHT_BLUE": generate.weight_of(100, len(production.colours["blue"])), "WEIGHT_GREEN": 0}
