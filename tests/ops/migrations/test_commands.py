"""Migrations on the command line, over a database of their own."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, WriteError

from getsmart import clock, config
from ops.functions import ROOT
from ops.migrations import __main__ as migrations
from ops.migrations import files
from ops.migrations.history import Narrator
from tests.edge import Raw
from tests.local import programs
from tests.migrating import AFTER, NEXT, advance, file, picture, project
from tests.support import unique

VERSIONS = ROOT / "migrations" / "versions"
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
    assert pending[0].startswith("0001  pending   expand    Genesis")
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
    said = [runner.communicate(timeout=120) for runner in runners]
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


@pytest.mark.parametrize("phase", files.PHASES)
def test_a_new_migration_is_numbered(tmp_path: Path, capsys: pytest.CaptureFixture[str], phase: str) -> None:
    """The next number, a file name from its words, its phase; it follows the last one, and the code knows of it."""
    root = project(tmp_path, {})
    assert migrations.main(["new", "Count the badges!", "--phase", phase], root) == 0
    path = root / f"migrations/versions/{NEXT}_count_the_badges.py"
    assert capsys.readouterr().out == f"{path}\n"
    text = path.read_text()
    assert f'down_revision = "{REVISIONS[-1]}"' in text
    assert f'\nphase = "{phase}"\n' in text
    assert f"\nSCHEMA = {int(NEXT)}\n" in (root / files.CODE).read_text()
    assert migrations.main(["new", "more"], root) == 0
    assert capsys.readouterr().out == f"{root / f'migrations/versions/{AFTER}_more.py'}\n"


def test_warnings_of_the_library_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """On a line that says what it is."""
    Narrator().warn("slow")
    assert capsys.readouterr().out == "warning: slow\n"


def test_what_cannot_be_is_one_clear_line(
    empty: Raw, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing variable, an unknown revision: exit 1."""
    assert migrations.main(["down", "9999"]) == 1
    assert capsys.readouterr().err.startswith(f"database {empty.name}\nmigrate: ")
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
    assert printed.startswith("database tests\nmigrate: ")
    assert printed.count("\n") == 2
    assert "s3cret" not in printed


def test_a_dry_run_says_every_step_and_touches_nothing(
    empty: Raw, environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up and down, over a database with data: in words, with numbers; each byte is afterwards as it was."""
    root = project(tmp_path)
    advance(empty, environment["MONGODB_URI"], 4)
    empty.wallets.insert_many(
        [
            {"_id": f"wlt_{n}", "address": f"0xA{n}", "address_key": f"0xa{n}", "links": [], "nickname": "n"}
            for n in range(120)
        ]
    )
    before = picture(empty, is_whole=True)
    assert migrations.main(["up", "--dry-run", "--contract"], root) == 1  # a wallet was made: somebody serves
    said = capsys.readouterr()
    lines = said.out.splitlines()
    heads = [line.partition("  ")[0] for line in lines if not line.startswith(" ")]
    assert heads == [*REVISIONS[4:], NEXT, AFTER, f"{len(REVISIONS) - 2} would be applied"]
    assert "    breaks: set validator level=strict, action=error" in lines
    assert "    failures: create index ttl" in lines
    assert f"{NEXT}  expand  Wallets: an address in lower case" in lines
    (backfill,) = [line for line in lines if "backfill" in line]
    assert "about 120 documents" in backfill
    (unset,) = [line for line in lines if "unset field" in line]
    assert unset.startswith("    wallets: unset field $unset nickname (backup")
    assert "blue is active and has not said what it was made for" in said.err
    assert picture(empty, is_whole=True) == before
    assert migrations.main(["down", "0001", "--dry-run"], root) == 0
    said = capsys.readouterr()
    assert "    endpoints: drop collection all data deleted" in said.out
    assert "    risk high: deletes data without a backup (endpoints.drop_collection)" in said.out
    assert said.out.endswith("3 would be undone\n")
    assert picture(empty, is_whole=True) == before


def test_a_dry_run_of_an_empty_database_makes_nothing(empty: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even a collection of its own."""
    assert migrations.main(["up", "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith(f"{len(REVISIONS)} would be applied\n")
    assert empty.list_collection_names() == []


def test_what_would_fail_is_said_before(
    empty: Raw, environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Duplicates under a unique index, documents that a validator refuses, code that cannot be told."""
    advance(empty, environment["MONGODB_URI"], 1)
    empty.batches.insert_many([{"client_id": "a", "reference": "r"}] * 1 + [{"client_id": "a", "reference": "r"}])
    assert migrations.main(["up", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "batches: create index reference (unique), about 2 documents; will fail: duplicate values exist" in said
    assert "batches: set validator level=strict, action=error; ~2 existing documents don't match" in said
    assert "    risk high: expected to fail (batches.create_index)" in said


def test_history_tells_who_when_and_how_long(
    empty: Raw, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ups and downs, those of others and those of before runs were kept; what failed and why."""
    monkeypatch.setenv("GITHUB_ACTOR", "ada")
    assert migrations.main(["history"]) == 0
    assert capsys.readouterr().out == ""
    assert migrations.main(["up"]) == 0
    assert migrations.main(["down"]) == 0
    empty.migrations_history.delete_many({"revision": "0002"})
    empty.sequences.drop()
    empty.create_collection("sequences")
    empty.sequences.insert_one({"_id": "a", "last": "no number"})
    monkeypatch.setenv("GITHUB_ACTOR", "grace")
    assert migrations.main(["up"]) == 0
    capsys.readouterr()
    assert migrations.main(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    form = r"(\S+Z)  (up|down) *  (\d{4}) +(\d+ ms)?  (\S+)  (.+)"
    told = [re.fullmatch(form, line) for line in lines]
    assert all(told), lines
    runs = [(one[2], one[3], one[5].partition("@")[0], one[6]) for one in told if one]
    rest = [("up", name, "ada", "done") for name in REVISIONS if name != "0002"]
    newest = REVISIONS[-1]
    assert [one for one in runs if one[1] != "0002"] == [
        *rest, ("down", newest, "ada", "done"), ("up", newest, "grace", "done")
    ]  # fmt: skip
    assert [one[3] for one in runs if one[1] == "0002"] == ["done"]
    assert [one[1] for one in told if one] == sorted(one[1] for one in told if one)


def test_a_step_that_fails_is_told_and_gone_on_with(
    empty: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where and why, what to do, and it stays in the history; once the cause is gone, the same command ends it."""
    step = 'def upgrade(ctx):\n    ctx.ops.create_index("failures", "code", unique=True)\n'
    body = f"{step}\n\ndef downgrade(ctx):\n    pass\n"
    root = project(tmp_path, {f"{NEXT}_x.py": file(NEXT, "expand", body)})
    advance(empty, files_uri(), len(REVISIONS))
    empty.failures.insert_many([{"at": clock.now(), "event": "e", "code": "c"} for _ in range(2)])
    assert migrations.main(["up"], root) == 1
    _, first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(
        f"migrate: Migration {NEXT} (Something) failed during upgrade in create_index on failures: "
    )
    assert second == "migrate: the same command goes on where it stopped: docs/runbooks/migration-failed.md"
    assert migrations.main(["status"], root) == 0
    assert f"{NEXT}  failed    expand    Something" in capsys.readouterr().out
    empty.failures.delete_many({})
    assert migrations.main(["up"], root) == 0
    capsys.readouterr()
    assert migrations.main(["history"], root) == 0
    failed, done = capsys.readouterr().out.splitlines()[-2:]
    assert "  failed: " in failed
    assert done.endswith("  done")


def files_uri() -> str:
    """Where the test's database is."""
    return config.read(config.DatabaseSettings).uri
