"""The facts about the embedded server that the code leans on, so that an upgrade that changes one shows."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128
from pymongo import MongoClient, ReturnDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    WriteError,
)

from local.database import EmbeddedDatabase

Row = dict[str, Any]
BIG = "9999999999999999999999999999999999"  # 34 digits


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedDatabase]:
    """One server for this file: the embedded one, whatever the other tests use."""
    running = EmbeddedDatabase(tmp_path_factory.mktemp("pins"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def db(server: EmbeddedDatabase) -> Iterator[Database[Row]]:
    """An empty database."""
    with MongoClient[Row](server.uri, tz_aware=True) as client:
        client.drop_database("pins")
        yield client["pins"]


def leash(server: EmbeddedDatabase) -> int:
    """The process whose death kills the server."""
    assert server.child is not None
    return server.child._leash.pid


def test_json_schema_minimum_does_not_see_decimals_but_query_operators_do(db: Database[Row]) -> None:
    """Validators are therefore written as query operators; a negative balance is refused by them on every write."""
    by_schema = {"$jsonSchema": {"properties": {"balance": {"minimum": 0}}}}
    db.create_collection("by_schema", validator=by_schema)
    db.by_schema.insert_one({"balance": Decimal128("-1")})  # the flaw: when this fails, it is gone
    zero = Decimal128("0")
    validators: list[Row] = [
        {"balance": {"$type": "decimal", "$gte": zero}},
        {"$expr": {"$gte": ["$balance", zero]}},
    ]
    for number, validator in enumerate(validators):
        rows: Collection[Row] = db.create_collection(f"guarded{number}", validator=validator)
        rows.insert_one({"_id": 1, "balance": zero})
        with pytest.raises(WriteError):
            rows.insert_one({"balance": Decimal128("-1")})
        with pytest.raises(WriteError):
            rows.update_one({"_id": 1}, {"$inc": {"balance": Decimal128("-1")}})


def test_decimals_of_34_digits_count_exactly(db: Database[Row]) -> None:
    """Base units fit, sums are exact, and a guarded update takes exactly what is there."""
    db.accounts.insert_one({"_id": 1, "left": Decimal128(BIG)})
    take = {"$inc": {"left": Decimal128("-1")}}
    assert db.accounts.update_one({"_id": 1, "left": {"$gte": Decimal128(BIG)}}, take).modified_count == 1
    assert db.accounts.update_one({"_id": 1, "left": {"$gte": Decimal128(BIG)}}, take).modified_count == 0
    assert db.accounts.find_one({"_id": 1}) == {"_id": 1, "left": Decimal128(BIG[:-1] + "8")}
    db.accounts.insert_one({"_id": 2, "left": Decimal128("1")})
    total = next(iter(db.accounts.aggregate([{"$group": {"_id": None, "sum": {"$sum": "$left"}}}])))
    assert total["sum"] == Decimal128(BIG)


def test_guarded_updates_of_parallel_writers_never_overdraw(db: Database[Row]) -> None:
    """A hundred attempts on ten: ten succeed."""
    db.supply.insert_one({"_id": 1, "left": 10})
    taken: list[int] = []

    def take() -> None:
        for _ in range(25):
            update = db.supply.update_one({"_id": 1, "left": {"$gte": 1}}, {"$inc": {"left": -1}})
            taken.append(update.modified_count)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), sum(taken)) == (100, 10)


def test_a_unique_insert_claims_once_and_the_error_names_the_index(db: Database[Row]) -> None:
    """Also a partial unique index on nested fields, which leaves rows without the field alone."""
    db.rows.create_index([("key.client", 1), ("key.text", 1)], unique=True)
    db.rows.create_index(
        [("badge.id", 1), ("badge.claimant", 1)],
        unique=True,
        partialFilterExpression={"badge.claimant": {"$type": "string"}},
    )
    badge = {"id": "b", "claimant": "c"}
    db.rows.insert_one({"key": {"client": 1, "text": "a"}, "badge": badge})
    db.rows.insert_many([{"key": {"client": 1, "text": text}} for text in "bc"])
    with pytest.raises(DuplicateKeyError) as same_key:
        db.rows.insert_one({"key": {"client": 1, "text": "a"}})
    with pytest.raises(DuplicateKeyError) as same_badge:
        db.rows.insert_one({"key": {"client": 1, "text": "d"}, "badge": badge})
    assert (same_key.value.details or {})["keyPattern"] == {"key.client": 1, "key.text": 1}
    assert (same_badge.value.details or {})["keyPattern"] == {"badge.id": 1, "badge.claimant": 1}


def test_an_update_pipeline_knows_the_servers_time(db: Database[Row]) -> None:
    """`$$NOW` is one date for the whole update, counts in milliseconds, and comes back from find_one_and_update."""
    db.keys.insert_one({"_id": 1, "seen": []})
    row = db.keys.find_one_and_update(
        {"_id": 1},
        [
            {"$set": {"at": "$$NOW", "seen": {"$concatArrays": ["$seen", ["$$NOW"]]}}},
            {"$set": {"before": {"$subtract": ["$$NOW", 1_000]}, "is_new": {"$gte": [{"$size": "$seen"}, 1]}}},
        ],
        return_document=ReturnDocument.AFTER,
    )
    assert row is not None
    assert row["seen"] == [row["at"]]
    assert row["at"] - row["before"] == timedelta(seconds=1)
    assert row["is_new"] is True
    assert abs(datetime.now(UTC) - row["at"]) < timedelta(seconds=10)


def test_lookup_joins_by_local_and_foreign_field(db: Database[Row]) -> None:
    """Each row gets the list of its partners, empty when there is none."""
    db.wallets.insert_many([{"_id": 1}, {"_id": 2}])
    db.links.insert_one({"_id": 9, "wallet": 1})
    joined = {"from": "links", "localField": "_id", "foreignField": "wallet", "as": "links"}
    rows = list(db.wallets.aggregate([{"$lookup": joined}, {"$sort": {"_id": 1}}]))
    assert [row["links"] for row in rows] == [[{"_id": 9, "wallet": 1}], []]


def test_a_transaction_is_all_or_nothing_and_a_rival_is_told_to_try_again(db: Database[Row]) -> None:
    """A second transaction on the same document is a WriteConflict that may be repeated; abort leaves no trace."""
    db.rows.insert_one({"_id": 1, "n": 0})
    client = db.client
    with client.start_session() as first, client.start_session() as second:
        first.start_transaction()
        db.rows.update_one({"_id": 1}, {"$inc": {"n": 1}}, session=first)
        second.start_transaction()
        with pytest.raises(OperationFailure) as conflict:
            db.rows.update_one({"_id": 1}, {"$inc": {"n": 1}}, session=second)
        assert conflict.value.has_error_label("TransientTransactionError")
        assert conflict.value.code == 112
        first.abort_transaction()
    assert db.rows.find_one({"_id": 1}) == {"_id": 1, "n": 0}


def test_a_write_after_a_restart_fails_at_most_once_and_the_unique_key_decides(tmp_path: Path) -> None:
    """Without retryable writes the driver may say AutoReconnect: a second try either works or finds the first's row."""
    server = EmbeddedDatabase(tmp_path)
    with MongoClient[Row](server.start(), serverMonitoringMode="poll") as client:
        client.pins.rows.insert_one({"_id": 1})
        assert server.child is not None
        server.child.kill()
        server.start()
        with contextlib.suppress(AutoReconnect):
            client.pins.rows.insert_one({"_id": 2})
        with contextlib.suppress(DuplicateKeyError):
            client.pins.rows.insert_one({"_id": 2})
        assert [row["_id"] for row in client.pins.rows.find()] == [1, 2]
    server.stop()


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Inserts and transactions that returned before the server was killed are there after the restart, whole."""
    server = EmbeddedDatabase(tmp_path)
    uri = server.start()
    acknowledged: list[int] = []
    enough = threading.Event()

    def write() -> None:
        with (
            MongoClient[Row](uri, serverSelectionTimeoutMS=2_000) as client,
            client.start_session() as s,
        ):
            try:
                for number in range(100_000):
                    with s.start_transaction():
                        client.pins.left.insert_one({"_id": number}, session=s)
                        client.pins.right.insert_one({"_id": number}, session=s)
                    acknowledged.append(number)
                    if number == 50:
                        enough.set()
            except (ConnectionFailure, PyMongoError):
                return

    writer = threading.Thread(target=write)
    writer.start()
    assert enough.wait(60)
    os.kill(leash(server), signal.SIGKILL)
    writer.join(60)
    with MongoClient[Row](server.start()) as client:
        left, right = ({row["_id"] for row in client.pins[name].find()} for name in ("left", "right"))
    server.stop()
    assert left == right
    assert set(acknowledged) <= left
    assert len(left) <= len(acknowledged) + 1
