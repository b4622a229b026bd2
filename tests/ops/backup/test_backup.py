"""A database, its backup, and what comes back: the same, byte for byte, as of one moment."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from getsmart import clock
from getsmart.stores.events import RESTORED
from ops import migrations
from ops.backup import changes, making, reading, restoring
from ops.backup.errors import BackupFailed, Refused
from ops.backup.sealed import new_identity
from tests.ops.backup.conftest import Keeper, Raw

RAW = CodecOptions[RawBSONDocument](document_class=RawBSONDocument)
NOT_COMPARED = {"info", "idIndex"}
OF_THE_RESTORE = ["recovery", "backup", RESTORED]


def contents(database: Raw) -> dict[str, Any]:
    """Everything: options, indexes and documents as bytes, by collection; but what a restore sets itself."""
    found: dict[str, Any] = {}
    for said in database.list_collections():
        name = said["name"]
        collection = database.get_collection(name, codec_options=RAW)
        is_view = said["type"] == "view"
        found[name] = {
            "about": {key: value for key, value in said.items() if key not in NOT_COMPARED},
            "indexes": [] if is_view else sorted((dict(one) for one in database[name].list_indexes()), key=str),
            "documents": sorted(one.raw for one in collection.find({"_id": {"$nin": OF_THE_RESTORE}})),
        }
    return found


def fill(database: Raw) -> None:
    """Every option of a collection and of an index, and every type of value that we keep or might."""
    database.command(
        {
            "create": "guarded",
            "validator": {"balance": {"$type": "decimal", "$gte": Decimal128("0")}},
            "validationLevel": "strict",
            "validationAction": "error",
        }
    )
    database.command({"create": "latest", "capped": True, "size": 4096, "max": 10})
    database.command({"create": "names", "collation": {"locale": "en", "strength": 2}})
    database.command({"create": "rich", "viewOn": "guarded", "pipeline": [{"$match": {"balance": {"$gt": 5}}}]})
    values = {
        "decimal": Decimal128("1000000000000.000000000000000001"),
        "date": datetime(2026, 11, 24, 12, 30, 15, 123_000, tzinfo=UTC),
        "binary": Binary(bytes(range(256)), 0),
        "uuid": Binary(bytes(16), 4),
        "long": Int64(5),
        "int": 5,
        "double": 5.0,
        "nothing": None,
        "yes": True,
        "id": ObjectId("0123456789abcdef01234567"),
        "pattern": Regex("^a", "i"),
        "stamp": Timestamp(5, 7),
        "list": [1, [2, {"deep": "est"}]],
        "text": "\u00e4\u4e2d\U0001f600",
        "order": {"z": 1, "a": 2},
        "dotted.name": 1,
        "$dollar": 2,
    }
    balances = [{"_id": number, "balance": Decimal128(str(number)), **values} for number in range(20)]
    database.guarded.insert_many(balances)
    database.get_collection("guarded").insert_one({"_id": "old", "balance": "text"}, bypass_document_validation=True)
    database.latest.insert_many([{"_id": number, "text": "x" * 20} for number in range(15)])
    database.names.insert_many([{"_id": name, "name": name} for name in ("Ada", "bob", "Cleo")])
    database.create_collection("empty")
    named = database.guarded
    named.create_index([("balance", -1), ("date", 1)], name="compound")
    named.create_index([("uuid", 1)], sparse=True)
    named.create_index([("id", 1)], name="some", unique=True, partialFilterExpression={"balance": {"$lt": 0}})
    named.create_index([("date", 1)], name="age", expireAfterSeconds=10**8)
    database.names.create_index([("name", 1)], unique=True, collation={"locale": "fr", "strength": 1})


def test_everything_comes_back_byte_for_byte(keeper: Keeper) -> None:
    """Options, views, capped, TTL, partial, unique, collation, validators past which a document stands, every type."""
    source, target = keeper.database(), keeper.database()
    fill(source)
    before = contents(source)
    receipt = keeper.back_up(source)
    done = keeper.restore(receipt, target)
    restored = contents(target)
    assert restored.pop("controls")["documents"] == []
    assert restored.pop("leases") == contents(source).pop("leases")
    assert restored == before
    assert done.documents == sum(part.documents for part in receipt.manifest.collections.values())
    assert receipt.manifest.collections["guarded"].documents == 21
    with pytest.raises(PyMongoError):
        target.guarded.insert_one({"balance": Decimal128("-1")})
    with pytest.raises(PyMongoError):
        target.names.insert_one({"name": "ADA"})


def test_documents_come_before_indexes_where_that_is_faster(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """On MongoDB indexes are built last; what comes back is the same."""
    source, target = keeper.database(), keeper.database()
    fill(source)
    receipt = keeper.back_up(source)
    order: list[str] = []
    fill_, index = restoring._fill, restoring._index
    monkeypatch.setattr(restoring, "_fill", lambda *words: (order.append("documents"), fill_(*words))[1])
    monkeypatch.setattr(
        restoring,
        "_index",
        lambda where, wanted: (order.extend(one["name"] for _, one in wanted), index(where, wanted)),
    )
    monkeypatch.setattr(restoring, "is_embedded", lambda _database: False)
    keeper.restore(receipt, target)
    assert (order[0], order[-1]) == ("documents", "age")
    assert {**contents(target), "controls": None} == {**contents(source), "controls": None}


@contextmanager
def moving(source: Raw) -> Iterator[list[int]]:
    """Each turn takes 1 from the left, replaces the right's document, and writes down what it did; so many turns."""
    is_over = threading.Event()
    moved = [0]

    def work(session: Any, number: int) -> None:
        source.left.update_one({"_id": number}, {"$inc": {"amount": -1}}, session=session)
        source.right.delete_one({"_id": number}, session=session)
        source.right.insert_one({"_id": number, "amount": 101 + moved[0]}, session=session)
        source.sums.insert_one({"_id": moved[0], "took": number}, session=session)

    def move() -> None:
        turns = random.Random(1)
        while not is_over.is_set():
            number = turns.randrange(3_000)
            with source.client.start_session() as session:
                session.with_transaction(lambda session: work(session, number))  # noqa: B023 - it runs at once
            moved[0] += 1

    writer = threading.Thread(target=move)
    writer.start()
    try:
        yield moved
    finally:
        is_over.set()
        writer.join()


def test_a_backup_shows_one_moment(keeper: Keeper) -> None:
    """Money that moves between documents of two collections all the while is neither lost nor doubled in it."""
    source, target = keeper.database(), keeper.database()
    for name in ("left", "right"):
        source[name].insert_many([{"_id": number, "amount": 100, "text": "x" * 200} for number in range(3_000)])
    source.create_collection("sums")
    with moving(source) as moved:
        receipt = keeper.back_up(source, lambda _passed: _until(lambda before=moved[0]: moved[0] > before + 3))
    keeper.restore(receipt, target)
    assert receipt.manifest.changes.documents > 20
    rows = list(target.sums.find({}).sort("_id", 1))
    taken = [row["took"] for row in rows]
    assert [row["_id"] for row in rows] == list(range(len(taken)))
    assert 0 < len(taken) < moved[0]
    left = {row["_id"]: row["amount"] for row in target.left.find({})}
    assert left == {number: 100 - taken.count(number) for number in range(3_000)}
    assert {row["_id"] for row in target.right.find({})} == set(range(3_000))
    last = {number: turn for turn, number in enumerate(taken)}
    assert {row["_id"]: row["amount"] for row in target.right.find({"_id": {"$in": list(last)}})} == {
        number: 101 + turn for number, turn in last.items()
    }


def _until(is_so: Any) -> None:
    import time

    end = time.monotonic() + 5
    while not is_so() and time.monotonic() < end:
        time.sleep(0.005)


def test_without_what_changed_it_would_not(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that is changed behind the reader's back is in the backup as it stands in the end, or gone."""
    source, target = keeper.database(), keeper.database()
    source.a.insert_many([{"_id": number, "n": 0} for number in range(10)])
    source.b.insert_one({"_id": 1})

    def meddle(_passed: int) -> None:
        source.a.update_one({"_id": 3}, {"$set": {"n": 3}})
        source.a.delete_one({"_id": 4})
        source.a.replace_one({"_id": 5}, {"m": 5}, upsert=True)
        source.b.update_one({"_id": 1}, {"$inc": {"n": 1}})

    receipt = keeper.back_up(source, meddle)
    keeper.restore(receipt, target)
    found = {row["_id"]: row for row in target.a.find({})}
    assert (found[3]["n"], found.get(4), found[5]) == (3, None, {"_id": 5, "m": 5})
    assert target.b.find_one() == source.b.find_one()
    assert receipt.manifest.changes.documents == 2 + 1 + 2 + 2 + 2  # the last is the mark


def test_a_collection_that_comes_or_goes_meanwhile_spoils_it(keeper: Keeper) -> None:
    """No backup is made, and none is left half."""
    source = keeper.database()
    source.a.insert_one({"_id": 1})
    for meddle in (
        lambda _passed: source.drop_collection("a"),
        lambda _passed: source.more.insert_one({}),
        lambda _passed: source.more.create_index("x"),
    ):
        source.a.update_one({"_id": 1}, {"$set": {"n": 1}}, upsert=True)
        with pytest.raises(BackupFailed, match="try again"):
            keeper.back_up(source, meddle)
    assert list(keeper.folder.iterdir()) == []


def test_a_database_that_does_not_tell_of_changes_is_an_error(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an older server, or one that lost its memory: no backup that might be wrong."""
    source = keeper.database()
    source.a.insert_one({"_id": 1})
    monkeypatch.setattr(changes, "_MARK_SECONDS", 0.3)
    monkeypatch.setattr(changes.Changes, "_note", lambda _self, _event: None)
    with pytest.raises(BackupFailed, match=r"did not tell of a change in 0\.3 s"):
        keeper.back_up(source)
    monkeypatch.undo()
    monkeypatch.setattr(changes, "_MARKS", "$wrong")
    with pytest.raises((BackupFailed, PyMongoError)):
        keeper.back_up(source)


def test_a_kind_of_collection_that_we_do_not_know_is_refused(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather no backup than one that lacks it."""
    source = keeper.database()
    source.a.insert_one({})
    monkeypatch.setattr(reading, "_STORED", {"view"})
    with pytest.raises(BackupFailed, match="a: a collection collection cannot be backed up"):
        keeper.back_up(source)


def damaged(content: bytes) -> dict[str, bytes]:
    """The ways in which a file goes wrong."""
    middle = len(content) // 2
    return {
        "cut": content[:middle],
        "short": content[:-1],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "empty": b"",
        "another file": b"hello, I am a picture",
    }


@pytest.mark.parametrize("way", list(damaged(b"ab")))
def test_a_damaged_backup_touches_nothing(keeper: Keeper, way: str) -> None:
    """It is refused with what is wrong, before a single write, and not even --force empties the target for it."""
    source, target = keeper.database(), keeper.database()
    fill(source)
    receipt = keeper.back_up(source)
    target.kept.insert_one({"_id": "precious"})
    before = contents(target)
    file = keeper.folder / receipt.file
    file.write_bytes(damaged(file.read_bytes())[way])
    with pytest.raises(Refused, match="damaged, cut off, or no backup"):
        keeper.restore(receipt, target, replace=True)
    assert contents(target) == before


def test_another_key_touches_nothing(keeper: Keeper) -> None:
    """Nor does a file that is not the one of its receipt."""
    source, target = keeper.database(), keeper.database()
    fill(source)
    receipt, other = keeper.back_up(source), keeper.back_up(source)
    target.kept.insert_one({"_id": "precious"})
    before = contents(target)
    there = restoring.Target(keeper.uri, target.name, replace=True)
    with pytest.raises(Refused, match="encrypted for another key"):
        restoring.restore(keeper.vault, receipt.file, [new_identity()[0]], there)
    (keeper.folder / receipt.file).write_bytes((keeper.folder / other.file).read_bytes())
    with pytest.raises(Refused, match="not the one that its receipt speaks of"):
        keeper.restore(receipt, target, replace=True)
    assert contents(target) == before


def test_a_manifest_that_does_not_fit_touches_nothing(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts and checksums are compared collection by collection, even of a file that opens."""
    source, target = keeper.database(), keeper.database()
    fill(source)
    real = making.Tally.part

    def wrong(tally: making.Tally, namespace: Any) -> Any:
        part = real(tally, namespace)
        return part.model_copy(update={"documents": part.documents + 1}) if namespace.collection == "names" else part

    with monkeypatch.context() as patch:
        patch.setattr(making.Tally, "part", wrong)
        receipt = keeper.back_up(source)
    with pytest.raises(Refused, match="names is not what the manifest says"):
        keeper.restore(receipt, target)
    assert target.list_collection_names() == []


def test_a_database_with_something_in_it_is_not_written_to(keeper: Keeper) -> None:
    """Unless it is to be replaced: then nothing of what was there is left."""
    source, target = keeper.database(), keeper.database()
    fill(source)
    receipt = keeper.back_up(source)
    target.strangers.insert_one({"_id": 1})
    target.controls.insert_many([{"_id": "colour", "active": "green"}, {"_id": "recovery", "is_recovering": False}])
    before = contents(target)
    with pytest.raises(BackupFailed, match=r"is not empty \(controls, strangers\): --force"):
        keeper.restore(receipt, target)
    assert contents(target) == before
    keeper.restore(receipt, target, replace=True)
    assert "strangers" not in target.list_collection_names()
    assert [row["_id"] for row in target.controls.find({})] == ["recovery"]


def test_nobody_can_use_it_before_it_is_whole(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any write of the restore: the database is in recovery mode, without keys and an active colour."""
    source = keeper.database()
    migrations.up(keeper.uri, source.name)
    source.api_keys.insert_one({"_id": "key_1", "secret_sha256": "x", "client_id": "app"})
    receipt = keeper.back_up(source)
    steps = ("refuse_unless_allowed", "_recovering", "_create", "_index", "_fill", "_compare", "_open")
    for step in steps:
        target = keeper.database()

        def end(*_words: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(restoring, step, end)
            with pytest.raises(KeyboardInterrupt):
                keeper.restore(receipt, target)
        assert target.api_keys.count_documents({}) == 0
        assert target.controls.find_one({"_id": "colour"}) is None
        if step not in ("refuse_unless_allowed", "_recovering"):
            recovery = target.controls.find_one({"_id": "recovery"})
            assert recovery is not None
            assert recovery["is_recovering"]
            assert recovery["is_being_restored"]
    target = keeper.database()
    keeper.restore(receipt, target)
    recovery, colour = (target.controls.find_one({"_id": name}) for name in ("recovery", "colour"))
    assert recovery is not None
    assert recovery["is_recovering"]
    assert colour == {"_id": "colour", "active": "blue"}
    assert target.api_keys.count_documents({}) == 1


@pytest.mark.parametrize("before", [{}, {"is_overshadowed": False}, {"is_overshadowed": True, "lost_since": "earlier"}])
def test_a_restore_writes_down_since_when_something_may_be_lost(keeper: Keeper, before: dict[str, Any]) -> None:
    """The backup's moment; or that of an earlier restore, where not all that it lost is explained yet."""
    source, target = keeper.database(), keeper.database()
    migrations.up(keeper.uri, source.name)
    earlier = clock.now() - timedelta(hours=1)
    known = {name: earlier if value == "earlier" else value for name, value in before.items()}
    source.controls.insert_one({"_id": "recovery", "is_recovering": False, **known})
    receipt = keeper.back_up(source)
    keeper.restore(receipt, target)
    recovery: Any = target.controls.find_one({"_id": "recovery"})
    expected = earlier if before.get("is_overshadowed") else receipt.manifest.point
    assert recovery["is_overshadowed"]
    assert abs(recovery["lost_since"].replace(tzinfo=UTC) - expected) < timedelta(milliseconds=2)


def test_a_restore_gives_no_number_twice(keeper: Keeper) -> None:
    """Events that come after it are numbered from beyond those that its lost time may have been given."""
    source, target = keeper.database(), keeper.database()
    migrations.up(keeper.uri, source.name)
    source.sequences.insert_one({"_id": "app", "last": 90})
    before = clock.now().timestamp()
    keeper.restore(keeper.back_up(source), target)
    rows = {row["_id"]: row for row in target.sequences.find()}
    assert rows["app"]["last"] == 90
    assert rows[RESTORED]["last"] >= int(before * 1000)
    assert rows[RESTORED]["restored"] == [rows[RESTORED]["last"]]


def test_recovery_in_the_backup_does_not_end_recovery(keeper: Keeper) -> None:
    """What the controls said of it then does not matter; the validator of the controls comes back too."""
    source, target = keeper.database(), keeper.database()
    migrations.up(keeper.uri, source.name)
    source.controls.insert_one({"_id": "recovery", "is_recovering": False})
    target.controls.insert_one({"_id": "old"})
    keeper.restore(keeper.back_up(source), target, replace=True)
    recovery = target.controls.find_one({"_id": "recovery"})
    assert recovery is not None
    assert recovery["is_recovering"]
    before, after = contents(source)["controls"], contents(target)["controls"]
    assert before == after
    assert bson.decode(before["documents"][0])["_id"] != "recovery"


def test_what_is_written_meanwhile_is_overwritten(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick that is under way, the backups' worker, a call that fails: none of them breaks a restore, nor stays."""
    source, target = keeper.database(), keeper.database()
    migrations.up(keeper.uri, source.name)
    until = datetime(2026, 1, 1, tzinfo=UTC)
    source.leases.insert_one({"_id": "tick", "holder": "who had it then", "until": until})
    source.controls.insert_many([{"_id": "tick", "ran_at": 1}, {"_id": "reconciliation", "version": 7}])
    receipt = keeper.back_up(source)
    fill_ = restoring._fill

    def busy(*words: Any) -> Any:
        target.leases.insert_many([{"_id": name, "holder": "x", "until": clock.now()} for name in ("tick", "backup")])
        for name in ("tick", "reconciliation", "backup", "supply"):
            target.controls.update_one({"_id": name}, {"$set": {"version": 0}}, upsert=True)
        target.failures.insert_one({"_id": "a call that failed", "at": clock.now(), "event": "x", "code": "x"})
        return fill_(*words)

    monkeypatch.setattr(restoring, "_fill", busy)
    keeper.restore(receipt, target)
    before, after = contents(source), contents(target)
    for name in ("leases", "controls"):
        assert after[name] == before[name]
    assert [row["_id"] for row in target.failures.find()] == ["a call that failed"]
    assert target.controls.count_documents({"_id": "backup"}) == 0


def test_a_brake_outlives_the_opening(keeper: Keeper) -> None:
    """It comes with the opening; until then the database says of itself that it is being restored."""
    source, target = keeper.database(), keeper.database()
    migrations.up(keeper.uri, source.name)
    receipt = keeper.back_up(source)
    brake = {"by": "ada", "why": "to be verified", "at": clock.now()}
    keeper.restore(receipt, target, brake=brake)
    recovery = target.controls.find_one({"_id": "recovery"})
    assert recovery is not None
    assert recovery["stopped"]["why"] == "to be verified"
    since = {"lost_since", "is_overshadowed"}
    assert recovery.keys() == {"_id", "is_recovering", "at", "restored_at", "stopped", *since}
    keeper.restore(receipt, target, replace=True)
    recovery = target.controls.find_one({"_id": "recovery"})
    assert recovery is not None
    assert recovery["stopped"]["by"] == "ada"  # only a person takes it off


@pytest.mark.parametrize("code", [13, 8000])
@pytest.mark.parametrize("right", ["collMod", "update"])
def test_a_user_without_the_rights_destroys_nothing(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, right: str, code: int
) -> None:
    """Asked before the first write; who may do it is asked for as well, and nothing is left of the question."""
    source, target = keeper.database(), keeper.database()
    migrations.up(keeper.uri, source.name)
    receipt = keeper.back_up(source)
    target.precious.insert_one({"_id": 1})
    before = contents(target)

    def refused(*_words: Any, **_more: Any) -> Any:
        raise OperationFailure("not authorized", code)

    with monkeypatch.context() as patch:
        if right == "update":
            patch.setattr(Collection, "update_one", refused)
        else:
            patch.setattr(Database, "command", refused)
        with pytest.raises(BackupFailed, match="its user needs readWrite and dbAdmin on it; nothing was changed"):
            keeper.restore(receipt, target, replace=True)
    assert contents(target) == before
    keeper.restore(receipt, target, replace=True)
    assert set(target.list_collection_names()) == set(source.list_collection_names())


def test_a_restore_that_lacks_a_document_is_not_opened(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are compared once more in the database itself."""
    source, target = keeper.database(), keeper.database()
    source.a.insert_many([{"_id": 1}, {"_id": 2}])
    receipt = keeper.back_up(source)
    real = restoring._compare

    def lose(database: Any, held: Any) -> None:
        database.a.delete_one({"_id": 2})
        real(database, held)

    monkeypatch.setattr(restoring, "_compare", lose)
    with pytest.raises(BackupFailed, match="a has 1 documents instead of 2"):
        keeper.restore(receipt, target)


def test_a_database_that_refuses_a_document_is_an_error(keeper: Keeper, tmp_path: Path) -> None:
    """A restore never goes on without one."""
    source, target = keeper.database(), keeper.database()
    source.a.insert_many([{"_id": 1, "x": 1}, {"_id": 2, "x": 1}])
    receipt = keeper.back_up(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            restoring, "_indexes", lambda _collections: ([], [("a", {"key": {"x": 1}, "name": "x", "unique": True})])
        )
        with pytest.raises(BackupFailed, match="duplicate key"):
            keeper.restore(receipt, target)
