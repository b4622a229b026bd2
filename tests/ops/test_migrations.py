"""Migrations on the command line, over a database of their own."""

import contextlib
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, WriteError

from getsmart import clock, config
from ops import migrations
from tests.edge import Raw
from tests.local import programs
from tests.support import unique

VERSIONS = Path(migrations.__file__).parent.parent / "migrations" / "versions"
REVISIONS = sorted(path.name[:4] for path in VERSIONS.glob("[0-9]*.py"))
ZERO, MINUS = Decimal128("0"), Decimal128("-1")


@pytest.fixture
def empty(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Raw]:
    """An empty database that the environment points to."""
    name = unique("migrations")
    monkeypatch.setenv("MONGODB_DATABASE", name)
    config.forget()
    with contextlib.closing(MongoClient[dict[str, Any]](environment["MONGODB_URI"], tz_aware=True)) as client:
        yield client[name]
        client.drop_database(name)


def test_status_up_status(empty: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    """What is pending is told, applied once, and told as applied."""
    assert migrations.main(["status"]) == 0
    pending = capsys.readouterr().out.splitlines()
    assert pending[0].startswith("0001  pending   Genesis")
    assert [line.split()[:2] for line in pending] == [[revision, "pending"] for revision in REVISIONS]
    assert migrations.main(["up"]) == 0
    applied = capsys.readouterr().out
    assert "0001 Genesis" in applied
    assert applied.endswith(f"\n{len(REVISIONS)} applied\n")
    assert migrations.main(["up"]) == 0
    assert capsys.readouterr().out == "0 applied\n"
    assert migrations.main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[revision, "applied"] for revision in REVISIONS]


def test_every_collection_is_made_by_a_migration(system: Raw) -> None:
    """Whatever the library names is there before a first write: none is made while calls are answered."""
    stores = (VERSIONS.parent.parent / "lib/getsmart").rglob("*.py")
    named = {name for path in stores for name in re.findall(r"database\(\)\.([a-z_]+)\b", path.read_text())}
    assert named - {"get_collection", "client", "command"} <= set(system.list_collection_names())
    assert {"sequences", "transactions"} <= named


def test_genesis_is_booked_once(environment: dict[str, str], empty: Raw) -> None:
    """20,000,000 GETS from issuance to the treasury; two runners at once do it once."""
    where = {"MONGODB_URI": environment["MONGODB_URI"], "MONGODB_DATABASE": empty.name}
    runners = [programs.start("ops.migrations", "up", **where) for _ in range(2)]
    said = [runner.communicate(timeout=30) for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0], said
    assert sorted(out.splitlines()[-1] for out, _ in said) == sorted(["0 applied", f"{len(REVISIONS)} applied"])
    entries = {(entry["direction"], entry["account"], str(entry["amount"])) for entry in empty.entries.find({})}
    genesis = str(20_000_000 * 10**18)
    assert entries == {("debit", "issuance", genesis), ("credit", "treasury", genesis)}
    assert empty.controls.count_documents({}) == 4


@pytest.mark.parametrize(
    ("collection", "wrong"),
    [
        ("accounts", {"_id": "w", "posted": MINUS, "available": ZERO, "sequence": 1}),
        ("accounts", {"_id": "w", "posted": ZERO, "available": MINUS, "sequence": 1}),
        ("controls", {"_id": "x", "available": MINUS}),
        ("entries", {"transaction_id": "t", "account": "a", "direction": "up", "amount": Decimal128("1")}),
        ("entries", {"transaction_id": "t", "account": "a", "direction": "debit", "amount": ZERO}),
        ("transactions", {"_id": "t", "status": "lost"}),
        ("wallets", {"_id": "w", "address": 7, "links": []}),
        ("api_keys", {"_id": "k", "client_id": "c"}),
    ],
)
def test_the_database_refuses_what_must_not_be(system: Raw, collection: str, wrong: dict[str, Any]) -> None:
    """Validators hold where code is wrong, negative balances first."""
    with pytest.raises(WriteError):
        system[collection].insert_one({**wrong, "at": clock.now()})


def test_the_database_refuses_twins(system: Raw) -> None:
    """Unique indexes decide every race."""
    row = {"links": [], "address": "0x1", "address_key": "0x1", "email": "a@example.com"}
    system.wallets.insert_one({**row, "_id": "1"})
    for change in ({"address_key": "0x2"}, {"email": "b@example.com"}):
        with pytest.raises(DuplicateKeyError):
            system.wallets.insert_one({**row, **change, "_id": "2"})


def test_down_undoes_and_up_does_it_again(empty: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    """On an empty system, for developers."""
    assert migrations.main(["up"]) == 0
    assert migrations.main(["down"]) == 0
    assert capsys.readouterr().out.endswith("1 undone\n")
    rest = len(REVISIONS) - 1
    assert migrations.main(["down", "base"]) == 0
    assert capsys.readouterr().out.endswith(f"{rest} undone\n")
    assert {name for name in empty.list_collection_names() if not name.startswith("migrations")} == set()
    assert migrations.main(["up"]) == 0
    assert empty.entries.count_documents({}) == 2


def test_a_new_migration_is_numbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next number, a file name from its words, and it follows the last one."""
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    genesis = VERSIONS / "0001_genesis.py"
    (versions / genesis.name).write_text(genesis.read_text())
    path = migrations.new("Count the badges!", tmp_path)
    assert path.name == "0002_count_the_badges.py"
    assert 'down_revision = "0001"' in path.read_text().replace("'", '"')
    monkeypatch.setattr(migrations, "new", functools.partial(migrations.new, root=tmp_path))
    assert migrations.main(["new", "more"]) == 0
    assert capsys.readouterr().out == f"{versions / '0003_more.py'}\n"


def test_warnings_of_the_library_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """On a line that says what it is."""
    migrations.Narrator().warn("slow")
    assert capsys.readouterr().out == "warning: slow\n"


def test_what_cannot_be_is_one_clear_line(
    empty: Raw, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing variable, an unknown revision: exit 1."""
    assert migrations.main(["down", "9999"]) == 1
    assert capsys.readouterr().err.startswith("migrate: ")
    monkeypatch.setenv("MONGODB_URI", "")
    config.forget()
    assert migrations.main(["status"]) == 1
    assert capsys.readouterr().err == "migrate: environment: MONGODB_URI (missing)\n"


def test_an_address_that_is_none(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, without the credentials in it."""
    monkeypatch.setenv("MONGODB_URI", "http://user:s3cret@127.0.0.1/")  # pragma: allowlist secret
    config.forget()
    assert migrations.main(["up"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("migrate: ")
    assert printed.count("\n") == 1
    assert "s3cret" not in printed
