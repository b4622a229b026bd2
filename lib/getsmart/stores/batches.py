"""Every query on airdrops: their batches, and the rows that wait to become transactions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, cast

from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError

from getsmart import clock
from getsmart.models import AirdropRow, BatchRow
from getsmart.mongo import again, database, to_units

_DUPLICATE = 11_000


def find_by_key(client_id: str, idempotency_key: str) -> BatchRow | None:
    """The batch that one of its calls claimed under this idempotency key, or None."""
    query = {"client_id": client_id, "idempotency_keys": idempotency_key}
    return cast(BatchRow | None, database().batches.find_one(query))


def find_by_reference(client_id: str, reference: str) -> BatchRow | None:
    """The client's batch with this reference, or None."""
    return cast(BatchRow | None, database().batches.find_one({"client_id": client_id, "reference": reference}))


def find(batch_id: str, client_id: str | None) -> BatchRow | None:
    """The batch with this id, if it is this client's; None as client (an admin) sees all."""
    query: dict[str, Any] = {"_id": batch_id}
    if client_id is not None:
        query["client_id"] = client_id
    return cast(BatchRow | None, database().batches.find_one(query))


def find_open() -> list[BatchRow]:
    """The batches that are being worked off, the oldest first; read in the order of their states, so none is missed."""
    found: dict[str, BatchRow] = {}
    for status in ("queued", "running"):
        rows = database().batches.find({"status": status}).sort([("created_at", 1)])
        found |= {row["_id"]: cast(BatchRow, row) for row in rows}
    return sorted(found.values(), key=lambda batch: batch["created_at"])


def count_waiting(client_id: str, most: int) -> int:
    """How many of the client's batches have rows that are no transactions yet, counted up to `most`."""
    found = database().batches.find(
        {"status": {"$in": ["queued", "running", "accepting"]}, "client_id": client_id},
        {"status": 1, "unfolded": 1, "total": 1, "lease_until": 1},
    )
    at = clock.now()
    waiting = (row for row in found if row["unfolded"] < row["total"] and _is_real(row, at))
    return sum(1 for _ in islice(waiting, most))


def _is_real(row: Mapping[str, Any], at: datetime) -> bool:
    """Whether it is worked off, or a call is just accepting it; what a dead call left is paid by nobody."""
    return bool(row["status"] != "accepting" or row["lease_until"] > at)


def insert(row: BatchRow) -> bool:
    """Claim reference and key; False when another batch has one of them."""
    try:
        again(lambda: database().batches.insert_one({**row}))
    except DuplicateKeyError:
        return database().batches.find_one({"_id": row["_id"]}, {"_id": 1}) is not None
    return True


def bind_key(batch_id: str, idempotency_key: str) -> bool:
    """Let another key stand for the same batch; False when that key stands for another one."""
    try:
        database().batches.update_one({"_id": batch_id}, {"$addToSet": {"idempotency_keys": idempotency_key}})
    except DuplicateKeyError:
        return False
    return True


def change(
    row: BatchRow,
    changes: Mapping[str, Any],
    *,
    outbox: Sequence[Any] = (),
    session: ClientSession | None = None,
) -> BatchRow | None:
    """The batch with `changes`, and the events that tell of them; None when somebody changed it first."""
    new = {**changes, "version": row["version"] + 1, "updated_at": clock.now()}
    update: dict[str, Any] = {"$set": new}
    if outbox:
        update["$push"] = {"outbox": {"$each": list(outbox)}}
    current = {"_id": row["_id"], "version": row["version"]}
    done = database().batches.update_one(current, update, session=session)
    return cast(BatchRow, {**row, **new}) if done.modified_count else None


def interrupt() -> None:
    """Have every call that is just accepting a batch notice that it was not alone: it ends, and is repeated."""
    database().batches.update_many({"status": "accepting"}, {"$inc": {"version": 1}})


def remove(row: BatchRow) -> None:
    """Take back a claim that was refused in the end; nothing happens when somebody else has moved it on."""
    if database().batches.delete_one({"_id": row["_id"], "version": row["version"]}).deleted_count:
        database().batch_rows.delete_many({"batch_id": row["_id"]})


def insert_rows(rows: Sequence[AirdropRow]) -> None:
    """Keep a chunk of rows; those that an earlier try kept stay as they are."""
    try:
        database().batch_rows.insert_many([{**row} for row in rows], ordered=False)
    except BulkWriteError as error:
        if any(problem["code"] != _DUPLICATE for problem in error.details["writeErrors"]):
            raise


def find_rows(batch_id: str, start: int, limit: int) -> list[AirdropRow]:
    """Up to `limit` rows of the batch from row `start` on, in order."""
    query = {"batch_id": batch_id, "row": {"$gte": start}}
    return cast(list[AirdropRow], list(database().batch_rows.find(query).sort([("row", 1)]).limit(limit)))


def has_waiting(wallet_id: str) -> bool:
    """Whether a row that is to pay this wallet has been accepted and is no transaction yet."""
    for batch in find_open():
        query = {"batch_id": batch["_id"], "wallet_id": wallet_id, "row": {"$gte": batch["unfolded"]}}
        if database().batch_rows.find_one(query, {"_id": 1}) is not None:
            return True
    return False


def sum_held(*, session: ClientSession) -> int:
    """The base units that open batches hold of the supply for rows that are not transactions yet."""
    held = 0
    for status in ("queued", "running"):
        rows = database().batches.find({"status": status}, {"held": 1}, session=session)
        held += sum(to_units(row["held"]) for row in rows)
    return held
