"""The copy that is deployed: what the deployer reads, with webSecure where the environment wants it."""

from pathlib import Path

import pytest

from ops import stage
from ops.deployer_rules import values_of
from ops.functions import load


@pytest.fixture
def env(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An env file that deploys; the process has no other values of what is tested."""
    path = tmp_path / ".env"
    path.write_text((repository / ".env.example").read_text())
    for name in ("WEB_SECURE", "COLOUR"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.mark.parametrize("line", ["", "WEB_SECURE=\n"])
def test_unset_is_off(repository: Path, env: Path, tmp_path: Path, line: str) -> None:
    """Without a secret, or with an empty one, project.yml is copied as it stands, and nothing but what is read."""
    env.write_text(env.read_text() + line)
    assert stage.main([str(tmp_path / "copy"), "--env", str(env)]) == 0
    assert (tmp_path / "copy/project.yml").read_bytes() == (repository / "project.yml").read_bytes()
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"project.yml", "packages", "lib"}
    assert not [*(tmp_path / "copy").rglob("__pycache__")]
    copied = [function.route for function in load(tmp_path / "copy")]
    assert copied == [function.route for function in load(repository)]


def test_set_is_on_for_the_web(repository: Path, env: Path, tmp_path: Path) -> None:
    """Every function on the web asks for the secret, by its name; the tick, which is not, does not."""
    env.write_text(env.read_text() + "WEB_SECURE=s3cret\n")
    assert stage.main([str(tmp_path / "copy"), "--env", str(env)]) == 0
    text = (tmp_path / "copy/project.yml").read_text()
    assert "s3cret" not in text
    on_the_web = [function for function in load(repository) if function.web]
    assert text.count("        web: raw\n        webSecure: '${WEB_SECURE}'\n") == len(on_the_web)
    assert text.count("webSecure") == len(on_the_web)


def test_what_would_be_refused_is_said(env: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Problems are lines, and the exit code: an empty variable, a folder that is taken, no env file."""
    env.write_text(env.read_text().replace("COLOUR=blue", "COLOUR="))
    assert stage.main([str(tmp_path / "copy"), "--env", str(env)]) == 1
    assert "COLOUR is unset or empty" in capsys.readouterr().err
    assert stage.main([str(tmp_path / "copy"), "--env", str(env)]) == 1
    assert capsys.readouterr().err == f"stage: {tmp_path}/copy/packages is there already\n"
    assert stage.main([str(tmp_path / "other"), "--env", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == "stage: none: cannot be read: No such file or directory\n"
    assert values_of(env)["COLOUR"] == ""
