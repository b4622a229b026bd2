"""deploy/environments/*.yml are typed, hold no secret, and cannot say what would go wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.gateway import environment
from ops.gateway.environment import EnvironmentInvalid, load

NAMES = sorted(file.stem for file in environment.FOLDER.glob("*.yml"))


def written(folder: Path, **changes: Any) -> str:
    """The local environment with changes, as a file."""
    content = json.loads(load("local").model_dump_json())
    file = folder / "changed.yml"
    file.write_text(yaml.safe_dump({**content, **changes}))
    return str(file)


def test_the_three_environments_are_there() -> None:
    """And their namespaces are all different ones."""
    assert NAMES == ["local", "production", "staging"]
    urls = [server.space.url for name in NAMES for server in load(name).servers()]
    assert len(urls) == len(set(urls)) == 10


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_stands_in_a_file(name: str) -> None:
    """Keys, passwords and connection strings come from variables."""
    text = (environment.FOLDER / f"{name}.yml").read_text()
    assert not re.search(r"mongodb://|gsk_|dof_v1|(?i:secret: |password|token)", text)


def test_namespaces_have_names_and_ids() -> None:
    """A namespace of the platform has its id in its URL; a container has none."""
    production = {server.name: server.space for server in load("production").servers()}
    assert list(production) == ["blue-1", "blue-2", "blue-3", "green-1", "green-2", "green-3"]
    space = production["green-2"]
    assert space.id == "fn-00000000-0000-4000-8000-0000000000e2"
    assert (space.host, space.port, space.base) == (
        "faas-fra1-example.doserverless.co", 443, f"/api/v1/web/{space.id}",
    )  # fmt: skip
    assert [server.space.id for server in load("local").servers("blue")] == [None]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colours": {"blue": [{"label": "b", "url": "http://127.0.0.1:1/v1"}]}}, "both colours"),
        ({"colours": {"red": [{"label": "b", "url": "http://127.0.0.1:1/v1"}]}}, "colours.red"),
        (
            {"colours": {c: [{"label": "same", "url": "http://127.0.0.1:1/v1"}] for c in ("blue", "green")}},
            "stands twice",
        ),
        ({"colours": {"blue": [], "green": []}}, "at least 1"),
        ({"public": "http://api.example.com"}, "public"),
        ({"promotion": {"weights": [50, 10, 100]}}, "rise"),
        ({"promotion": {"weights": [10, 50]}}, "end with 100"),
        ({"limits": {"body_bytes": 1_000_000}}, "body_bytes"),
        ({"limits": {"concurrent_per_address": 0}}, "concurrent_per_address"),
        ({"limits": {"concurrent_uploads": 120}}, "less than concurrent_per_namespace"),
        ({"gateway": {"bind": "8080", "folder": "x"}}, "bind"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_would_go_wrong_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """In one line that names the place."""
    with pytest.raises(EnvironmentInvalid, match=said) as caught:
        load(written(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_an_unknown_environment_is_named() -> None:
    """With those there are."""
    with pytest.raises(EnvironmentInvalid, match="no environment moon; there are local, production, staging"):
        load("moon")


@pytest.mark.parametrize("value", ["", "short", "has a space in it now", "percent%percent%percent", "x" * 129])
def test_a_secret_that_could_break_a_configuration_is_refused(value: str) -> None:
    """It stands in a header, in project.yml and in HAProxy's environment."""
    with pytest.raises(EnvironmentInvalid, match="WEB_SECURE"):
        load("staging").secret("blue", {"WEB_SECURE": value})


def test_variables_come_from_the_process_before_the_file(tmp_path: Path) -> None:
    """So that a pipeline needs no file."""
    (tmp_path / "variables").write_text("WEB_SECURE=from-the-file-from-it\nMONGODB_URI=x\n")  # pragma: allowlist secret
    there = load(written(tmp_path, variables=str(tmp_path / "variables")))
    assert there.secret("blue", {}) == "from-the-file-from-it"
    assert there.secret("green", {"WEB_SECURE": "from-the-process-1"}) == "from-the-process-1"
    own = {"WEB_SECURE_GREEN": "of-green-alone-of-it", "WEB_SECURE": "from-the-process-1"}
    assert [there.secret(colour, own) for colour in environment.COLOURS] == [own["WEB_SECURE"], own["WEB_SECURE_GREEN"]]
    assert load("staging").values({"MONGODB_DATABASE": "x"})["MONGODB_DATABASE"] == "getsmart_staging"
    assert there.values({"EMPTY": ""}) == {"WEB_SECURE": "from-the-file-from-it", "MONGODB_URI": "x"}


def test_the_other_colour() -> None:
    """There are two."""
    assert [environment.other(colour) for colour in environment.COLOURS] == ["green", "blue"]


def test_a_command_without_a_name_means_the_local_system_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`local` is meant where it was started here, and no other database stands in the process."""
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.pick("staging", {"MONGODB_URI": "mongodb://x"}) == "staging"
    with pytest.raises(EnvironmentInvalid, match="name the environment: local, production, staging"):
        environment.pick(None, {})
    (tmp_path / load("local").gateway.folder).mkdir(parents=True)
    assert environment.pick(None, {}) == "local"
    with pytest.raises(EnvironmentInvalid, match="name the environment"):
        environment.pick(None, {"MONGODB_URI": "mongodb://x"})
