"""`./doit backup` and `./doit restore` on the command line."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from getsmart import config, mongo
from ops import migrations, restore
from ops.backup import __main__ as backup
from ops.backup import sealed
from ops.backup.server import drop
from ops.backup.vault import Vault
from tests.local import programs
from tests.ops.backup.conftest import Raw
from tests.support import unique


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where backups go."""
    return tmp_path / "backups"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The file of a key."""
    return tmp_path / "identity.txt"


@pytest.fixture
def source(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, place: Path, key: Path, capsys: Any
) -> Iterator[Raw]:
    """A migrated database that the environment points to, a key made by the command, and a place."""
    name = unique("commanded")
    assert backup.main(["--new-identity", str(key)]) == 0
    recipient = capsys.readouterr().out.rpartition("=")[2].strip()
    for variable, value in {
        "MONGODB_DATABASE": name,
        "BACKUP_PLACE": str(place),
        "BACKUP_RECIPIENTS": recipient,
        "BACKUP_IDENTITY": key.read_text(),
    }.items():
        monkeypatch.setenv(variable, value)
    config.forget()
    migrations.up(environment["MONGODB_URI"], name)
    with MongoClient[dict[str, Any]](environment["MONGODB_URI"], tz_aware=True) as client:
        yield client[name]
        for made in (name, f"{name}-copy"):
            drop(client[made], client[made].list_collection_names())
            client.drop_database(made)
    mongo.forget()


def test_back_up_list_check_restore(source: Raw, place: Path, key: Path, capsys: Any) -> None:
    """The way of an operator; the key is readable by its owner alone, and the copy stands in recovery mode."""
    assert key.stat().st_mode & 0o777 == 0o600
    assert backup.main([]) == 0
    made = capsys.readouterr().out
    assert f"{len(list(source['migrations'].find()))}" in made
    newest = migrations.status(*_where())[-1][0]
    assert f"schema {newest}" in made
    assert backup.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert listed.split("  sha256")[0] == made.split("  sha256")[0]
    file = next(place.glob("*.age"))
    assert restore.main([str(file), "--check"]) == 0
    assert "is whole" in capsys.readouterr().out
    assert restore.main(["newest", "--to", f"{source.name}-copy"]) == 0
    said = capsys.readouterr().out
    assert "recovery mode" in said
    assert "./doit recovery off" in said
    copy = source.client[f"{source.name}-copy"]
    recovery = copy.controls.find_one({"_id": "recovery"})
    assert recovery is not None
    assert recovery["is_recovering"]
    assert recovery["stopped"]["why"] == f"restored from {file.name}, to be verified"
    assert copy.entries.count_documents({}) == 2
    assert restore.main([file.name, "--to", f"{source.name}-copy"]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert restore.main([file.name, "--to", f"{source.name}-copy", "--force"]) == 0
    last = source.controls.find_one({"_id": "backup"})
    assert last is not None
    assert last["point"] == Vault(str(place)).receipts()[0].manifest.point


def test_a_restore_may_open_by_itself(source: Raw, place: Path) -> None:
    """Then no brake is left: reaching the chain's head is enough."""
    assert backup.main([]) == 0
    assert restore.main(["newest", "--to", f"{source.name}-copy", "--then-open"]) == 0
    recovery = source.client[f"{source.name}-copy"].controls.find_one({"_id": "recovery"})
    assert recovery is not None
    assert recovery["is_recovering"]
    assert "stopped" not in recovery


def _where() -> tuple[str, str]:
    settings = config.read(config.DatabaseSettings)
    return settings.uri, settings.name


def test_old_ones_go(source: Raw, place: Path, capsys: Any) -> None:
    """What retention does not keep is removed, with its receipt, and only after a new one is there."""
    for _ in range(3):
        assert backup.main(["--keep", "2/0/0/0"]) == 0
    assert "removed" in capsys.readouterr().out
    assert len(list(place.glob("*.age"))) == len(list(place.glob("*.json"))) == 2


def test_when_one_fails_none_goes(source: Raw, place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup that cannot be read back is none: it is told, does not count, and the old ones stay."""
    assert backup.main([]) == 0
    real = Vault.check

    def damaged(vault: Vault, receipt: Any) -> None:
        file = place / receipt.file
        file.write_bytes(file.read_bytes()[:-1])
        real(vault, receipt)

    monkeypatch.setattr(Vault, "check", damaged)
    assert backup.main(["--keep", "1/0/0/0"]) == 1
    assert "is not what was written" in capsys.readouterr().err
    monkeypatch.undo()
    assert len(Vault(str(place)).receipts()) == 1


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda raw: raw.controls.delete_many({}), "has no supply, books, colour: it is empty, or half of a database"),
        (lambda raw: raw.controls.delete_one({"_id": "colour"}), "has no colour"),
        (
            lambda raw: raw.controls.insert_one({"_id": "recovery", "is_recovering": True, "is_being_restored": True}),
            "is being restored",
        ),
    ],
)
def test_what_is_no_whole_database_is_not_backed_up(
    source: Raw, place: Path, capsys: Any, spoil: Any, problem: str
) -> None:
    """It would be the newest; nothing is made, nothing goes, and nothing is written into what is being restored."""
    assert backup.main([]) == 0
    spoil(source)
    source.leases.delete_many({})
    before = sorted(file.name for file in place.iterdir())
    assert backup.main(["--keep", "1/0/0/0"]) == 1
    assert problem in capsys.readouterr().err
    assert sorted(file.name for file in place.iterdir()) == before
    assert source.leases.count_documents({}) == 0


def test_a_database_that_lost_half_pushes_no_backup_out(source: Raw, place: Path, capsys: Any) -> None:
    """Kept and told, with exit 1; the alert rings; `newest` is not guessed. Once it was meant, all goes on."""
    many = [{"_id": f"wlt_{number}", "address_key": f"{number}", "owner_key": f"{number}"} for number in range(9)]
    source.get_collection("wallets").insert_many(many, bypass_document_validation=True)
    assert backup.main([]) == 0
    good = Vault(str(place)).receipts()[0].file
    last = source.controls.find_one({"_id": "backup"})
    source.wallets.delete_many({})
    for _ in range(2):
        assert backup.main(["--keep", "1/0/0/0"]) == 1
        said = capsys.readouterr()
        assert "removed" not in said.out
        assert f"has 2 wallets, transactions and entries, {good} before it 11: less than half" in said.err
    assert source.controls.find_one({"_id": "backup"}) == last
    assert backup.main(["--list"]) == 0
    assert capsys.readouterr().out.count("LESS THAN HALF") == 2
    assert restore.main(["newest", "--check"]) == 1
    assert "less than half: name the file" in capsys.readouterr().err
    assert restore.main([good, "--check"]) == 0
    source.get_collection("wallets").insert_many(many, bypass_document_validation=True)
    assert backup.main(["--keep", "2/0/0/0"]) == 0
    source.wallets.delete_many({})
    assert backup.main(["--keep", "1/0/0/0", "--smaller"]) == 0
    assert restore.main(["newest", "--check"]) == 0
    assert backup.main(["--keep", "1/0/0/0"]) == 0
    assert source.controls.find_one({"_id": "backup"}) != last
    assert good not in {one.file for one in Vault(str(place)).receipts()}


def test_each_database_has_its_own_newest(
    source: Raw, place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two in one place: neither pushes the other's out, and `newest` is that of the configured one or of none."""
    assert backup.main([]) == 0
    mine = Vault(str(place)).receipts()[0].file
    other = f"{source.name}-copy"
    monkeypatch.setenv("MONGODB_DATABASE", other)
    config.forget()
    migrations.up(*_where())
    for _ in range(2):
        assert backup.main(["--keep", "1/0/0/0"]) == 0
    assert mine in {one.file for one in Vault(str(place)).receipts()}
    assert len(Vault(str(place)).receipts()) == 2
    capsys.readouterr()
    assert restore.main(["newest", "--check"]) == 0
    assert f"is whole: {other} as of" in capsys.readouterr().out
    monkeypatch.setenv("MONGODB_DATABASE", "a-third")
    config.forget()
    assert restore.main(["newest", "--check"]) == 1
    assert f"has backups of {source.name}, {other}: name the file" in capsys.readouterr().err


def test_one_receipt_that_cannot_be_read_is_named(source: Raw, place: Path, capsys: Any) -> None:
    """It stops neither the list nor retention; `newest` is refused only where it would be that one."""
    files = []
    for _ in range(2):
        assert backup.main([]) == 0
        files.append(Vault(str(place)).receipts()[0].file)
    receipt = place / f"{files[0]}.json"
    receipt.write_text("{}")
    capsys.readouterr()
    assert backup.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert f"{files[0]}  its receipt cannot be read" in said
    assert f"{files[1]}  as of" in said
    assert restore.main(["newest", "--check"]) == 0
    assert backup.main(["--keep", "1/0/0/0"]) == 0
    newest = Vault(str(place)).receipts()
    assert len(newest) == 1
    assert receipt.exists()
    (place / f"{newest[0].file}.json").write_text("{}")
    assert backup.main([]) == 0
    (place / f"{Vault(str(place)).receipts()[0].file}.json").write_text("{}")
    assert restore.main(["newest", "--check"]) == 1
    assert "there is no backup in" in capsys.readouterr().err
    assert backup.main([]) == 0
    older = Vault(str(place)).receipts()[0].file
    assert backup.main([]) == 0
    latest = Vault(str(place)).receipts()[0].file
    (place / f"{latest}.json").write_text("{}")
    assert older < latest
    assert restore.main(["newest", "--check"]) == 1
    assert f"what stands beside the newest, {latest}, is no receipt: name the file" in capsys.readouterr().err


def test_one_each_so_often(source: Raw, place: Path, environment: dict[str, str]) -> None:
    """It goes on, also after a failure, until it is told to end; then it finishes what it does and exits 0."""
    names = ("MONGODB_URI", "MONGODB_DATABASE", "BACKUP_RECIPIENTS")
    import os

    process = programs.start(
        "ops.backup", "--every", "1s", "--out", str(place), **{name: os.environ[name] for name in names}
    )
    try:
        deadline = time.monotonic() + 40
        while len(list(place.glob("*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, error) == (0, "")
    assert len(out.splitlines()) == len(Vault(str(place)).receipts()) >= 2


def test_the_loop_outlives_a_failure(source: Raw, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away for a moment costs one backup; one that takes too long for the objective is told."""
    rounds = iter((backup.BackupFailed("the database is away"), 599.0, 1.0))
    ended: list[Any] = []

    def once(*_words: Any) -> float:
        result = next(rounds, None)
        if isinstance(result, Exception):
            raise result
        if result is None:
            ended[0](signal.SIGTERM, None)
            return 0.0
        return result

    monkeypatch.setattr(backup, "_once", once)
    monkeypatch.setattr(backup.signal, "signal", lambda _number, handler: ended.append(handler))
    monkeypatch.setattr(backup, "_span", lambda _text: 2.0)
    monkeypatch.setattr(backup.threading.Event, "wait", lambda *_words: None)
    assert backup.main(["--every", "2s"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said == ["backup: the database is away", "backup: 599 s long each 2 s: too much may be lost"]


@pytest.mark.parametrize(
    ("program", "words", "problem"),
    [
        (restore, ["newest", "--to", "x"], "there is no backup in"),
        (restore, ["nothing.age", "--to", "x"], "there is no nothing.age"),
        (restore, ["x.age", "--to", "x", "--identity", "/nowhere/key"], "No such file"),
        (backup, ["--out", "gopher://x"], "cannot be used"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    source: Raw, capsys: Any, program: Any, words: list[str], problem: str
) -> None:
    """Exit 1."""
    assert program.main(words) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("database ")]
    assert len(said) == 1
    assert problem in said[0]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (backup, ["--every", "soon"]),
        (backup, ["--every", "0m"]),
        (backup, ["--keep", "1/2"]),
        (restore, ["newest"]),
        (restore, ["newest", "--to", "x", "--check"]),
    ],
)
def test_what_nobody_can_mean_is_refused(program: Any, words: list[str], capsys: Any) -> None:
    """Exit 2, with the usage."""
    with pytest.raises(SystemExit, match="2"):
        program.main(words)
    assert "usage: ./doit" in capsys.readouterr().err


def test_a_key_is_never_overwritten(key: Path, capsys: Any) -> None:
    """With it every backup would be lost."""
    assert backup.main(["--new-identity", str(key)]) == 0
    before = key.read_text()
    assert backup.main(["--new-identity", str(key)]) == 1
    assert key.read_text() == before


def test_a_missing_variable_is_named(source: Raw, capsys: Any, monkeypatch: pytest.MonkeyPatch, key: Path) -> None:
    """Nobody to encrypt for: no backup. A file without a key: no restore."""
    monkeypatch.delenv("BACKUP_RECIPIENTS")
    config.forget()
    assert backup.main([]) == 1
    assert capsys.readouterr().err == "backup: environment: BACKUP_RECIPIENTS (missing)\n"
    key.write_text("# nothing here\n")
    with pytest.raises(sealed.BackupFailed, match="holds no key"):
        restore.read_identities(key)
