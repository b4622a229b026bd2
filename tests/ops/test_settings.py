"""On which environment an operator's command works: the reviewed file over the process over .env, everywhere."""

import argparse
import contextlib
import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from getsmart import config, mongo
from ops import keys, logs, reconcile, recovery, resolve, settings, verify
from ops.audit import __main__ as audit
from ops.migrations import __main__ as migrations
from ops.rotate import __main__ as rotate
from tests.support import unique

COMMANDS = (
    *("audit", "backup", "drill", "keys", "logs", "migrations", "reconcile", "recovery", "resolve", "restore"),
    *("rotate", "verify"),
)
PARTS = {"keys": ("create", "list", "revoke"), "migrations": ("status", "history", "up", "down", "new")}


@pytest.fixture
def staging(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[MongoClient[dict[str, Any]], str, str]]:
    """A newcomer's machine: nothing in the process, .env with the URI and its own database, staging.env with another.

    The client, the database of .env, and that of staging.
    """
    own, there = unique("newcomers"), unique("stagings")
    (tmp_path / ".env").write_text(f"MONGODB_URI={environment['MONGODB_URI']}\nMONGODB_DATABASE={own}\n")
    (tmp_path / "staging.env").write_text(f"MONGODB_DATABASE={there}\nTREASURY_ADDRESS='<the treasury>'\n")
    monkeypatch.setattr(settings, "OWN", tmp_path / ".env")
    monkeypatch.setattr(settings, "FOLDER", tmp_path)
    for name in ("MONGODB_URI", "MONGODB_DATABASE"):
        monkeypatch.delenv(name)
    config.forget()
    with contextlib.closing(MongoClient[dict[str, Any]](environment["MONGODB_URI"])) as client:
        yield client, own, there
        for made in (own, there):
            client.drop_database(made)


def test_every_command_works_on_the_environment_that_is_named(
    staging: tuple[MongoClient[dict[str, Any]], str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Migrations, keys and what looks at the books are of staging's database; that of .env is not even made."""
    client, own, there = staging
    assert migrations.main(["up", "--env", "staging"]) == 0
    assert capsys.readouterr().err.startswith(f"database {there}\n")
    assert keys.main(["create", "--client", "smoke", "--scopes", "ops:read", "--env", "staging"]) == 0
    said = capsys.readouterr()
    assert said.err == f"database {there}\n"
    assert client[there].api_keys.count_documents({}) == 1
    key_id = said.out.splitlines()[0]
    assert keys.main(["list", "--env", "staging"]) == 0
    said = capsys.readouterr()
    assert (said.err, said.out.split()[0]) == ("", key_id)
    assert recovery.main(["on", "--because", "a trial", "--env", "staging"]) == 0
    assert capsys.readouterr().err == f"database {there}\n"
    assert recovery.main(["status", "--env", "staging"]) == 0
    assert "a trial" in capsys.readouterr().out
    assert verify.main(["--quiet", "--env", "staging"]) == 0
    assert reconcile.main(["--report", "--env", "staging"]) == 0
    assert logs.main(["--json", "--env", "staging"]) == 0
    capsys.readouterr()
    assert resolve.main(["txn_nobody", "--to", "failed", "--evidence", "statement=x", "--env", "staging"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"database {there}",
        "resolve: there is no transaction txn_nobody",
    ]
    words = ["api-key", "replace", "--key", key_id, "--env", "staging"]
    assert rotate.main(words) == 0
    assert client[there].api_keys.count_documents({}) == 2
    assert keys.main(["revoke", key_id, "--env", "staging"]) == 0
    assert own not in client.list_database_names()


def test_without_a_name_it_is_the_process_and_env(
    staging: tuple[MongoClient[dict[str, Any]], str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`./doit migrate up` reads .env as every other command does; a value of the process comes before it."""
    client, own, there = staging
    assert migrations.main(["status"]) == 0
    assert "pending" in capsys.readouterr().out
    assert keys.main(["create", "--client", "smoke", "--scopes", "ops:read"]) == 0
    assert client[own].api_keys.count_documents({}) == 1
    monkeypatch.setenv("MONGODB_DATABASE", there)
    config.forget()
    mongo.forget()
    assert keys.main(["create", "--client", "smoke", "--scopes", "ops:read"]) == 0
    assert client[there].api_keys.count_documents({}) == 1


@pytest.mark.parametrize(
    ("env", "process", "own", "user", "found"),
    [
        ({"A": "1"}, {"A": "2"}, {"A": "3"}, None, {"A": "1"}),
        ({}, {"A": "2"}, {"A": "3"}, None, {"A": "2"}),
        ({"A": ""}, {"A": ""}, {"A": "3"}, None, {"A": "3"}),
        ({}, {}, {"MONGODB_URI": "functions'", "M": "migrations'"}, "M", {"MONGODB_URI": "migrations'"}),
        ({}, {}, {"MONGODB_URI": "functions'", "M": "migrations'"}, None, {"MONGODB_URI": "functions'"}),
        ({}, {"MONGODB_URI": "a job's"}, {"M": "migrations'"}, "M", {"MONGODB_URI": "a job's"}),
        ({}, {"M": "migrations'"}, {"MONGODB_URI": "functions'"}, "M", {"MONGODB_URI": "migrations'"}),
    ],
)
def test_what_counts_before_what(
    env: dict[str, str],
    process: dict[str, str],
    own: dict[str, str],
    user: str | None,
    found: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The named file, the process, .env; empty is unset; the URI of a user with more rights counts where it stands."""
    for file, values in (("named", env), (".env", own)):
        (tmp_path / file).write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    monkeypatch.setattr(settings, "OWN", tmp_path / ".env")
    monkeypatch.delenv("MONGODB_URI", raising=False)
    for name, value in process.items():
        monkeypatch.setenv(name, value)
    settings.use(tmp_path / "named", user=user)
    assert {name: os.environ.get(name) for name in found} == found


def test_a_name_and_a_file() -> None:
    """A bare word is an environment of deploy/environments, anything else a path; an unknown one says what there is."""
    assert settings.reviewed("staging") == settings.FOLDER / "staging.env"
    assert settings.reviewed("deploy/environments/production.env").samefile(settings.FOLDER / "production.env")
    for wrong in ("stagign", "nowhere/staging.env", "deploy"):
        with pytest.raises(argparse.ArgumentTypeError, match=re.escape(f"{wrong} is no file, nor an environment; ")):
            settings.reviewed(wrong)
    with pytest.raises(argparse.ArgumentTypeError, match=r"there are production, staging$"):
        settings.reviewed("stagign")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_option_is_the_same_everywhere(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command that works on a database takes --env, and says the same of it."""
    packaged = (settings.ROOT / "ops" / command).is_dir()
    main = importlib.import_module(f"ops.{command}.__main__" if packaged else f"ops.{command}").main
    for words in PARTS.get(command, ("",)):
        with pytest.raises(SystemExit):
            main([*filter(None, [words]), "--help"])
        assert f"--env NAME|FILE {settings.HELP}" in " ".join(capsys.readouterr().out.split())


def test_nobody_reads_an_environment_in_another_way() -> None:
    """No command of ops/ loads .env by itself; the gateway's and the deployment's readers are named here."""
    others = {"ops/gateway/environment.py", "ops/deployer_template.py"}
    found = {
        str(path.relative_to(settings.ROOT))
        for path in (settings.ROOT / "ops").rglob("*.py")
        if re.search(r"^from dotenv|^import dotenv|load_dotenv", path.read_text(), re.MULTILINE)
    }
    assert found <= others


def test_the_audit_looks_at_the_named_database(
    staging: tuple[MongoClient[dict[str, Any]], str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The functions' user and the keys are those of the environment."""
    _, _, there = staging
    seen: list[str] = []
    monkeypatch.setattr(audit, "checks", lambda environ, live: seen.append(environ["MONGODB_DATABASE"]) or {})
    monkeypatch.setattr(audit.licences, "bills", lambda folder: None)
    audit.main(["--offline", "--env", "staging", "--output", str(tmp_path / "report")])
    assert seen == [there]
