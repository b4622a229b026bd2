"""Every query on breaks, and on sightings: Transfers whose transaction has not ended yet."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from pymongo import UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from getsmart import clock
from getsmart.breaks import NOTHING_MOVED, RECONCILIATION, BreakRow, BreakType, SightingRow
from getsmart.mongo import Document, database

_MOST_KEYS = 1_000  # in one query


def find(break_id: str) -> BreakRow | None:
    """The break with this id, or None."""
    return cast(BreakRow | None, database().breaks.find_one({"_id": break_id}))


def find_subject(subject: str) -> BreakRow | None:
    """The break about this very thing, or None."""
    return cast(BreakRow | None, database().breaks.find_one({"subject": subject}))


def find_open(limit: int, *, only: BreakType | None = None, after: str | None = None) -> list[BreakRow]:
    """Up to `limit` open breaks, the oldest first."""
    query: Document = {"status": "open", "_id": {"$gt": after or ""}}
    if only is not None:
        query["type"] = only
    return cast(list[BreakRow], list(database().breaks.find(query).sort([("_id", 1)]).limit(limit)))


def find_due(limit: int, after: str = "") -> list[BreakRow]:
    """Breaks whose movements still have to be booked, or undone, the oldest first."""
    query = {"due": {"$in": ["stand", "fall"]}, "_id": {"$gt": after}}
    return cast(list[BreakRow], list(database().breaks.find(query).sort([("_id", 1)]).limit(limit)))


def is_any_missing(mined_after: datetime, mined_before: datetime) -> bool:
    """Whether there is an open break about a Transfer in no transaction's name that was mined between."""
    mined_at = {"$gte": mined_after, "$lte": mined_before}
    query = {"status": "open", "type": "missing_in_ledger", "mined_at": mined_at}
    return database().breaks.find_one(query, {"_id": 1}) is not None


def find_of_log(tx_hash: str, log_index: int) -> list[BreakRow]:
    """The breaks about one Transfer, resolved ones included."""
    return cast(list[BreakRow], list(database().breaks.find({"tx_hash": tx_hash, "log_index": log_index})))


def find_of_transaction(transaction_id: str) -> list[BreakRow]:
    """The open breaks about one transaction."""
    query = {"transaction_id": transaction_id, "status": "open"}
    return cast(list[BreakRow], list(database().breaks.find(query)))


def find_reorged(transaction_id: str) -> BreakRow | None:
    """The break that has booked a transaction back, also one that a person closed; else the open one, or None."""
    rows = cast(list[BreakRow], list(database().breaks.find({"transaction_id": transaction_id, "type": "reorged"})))
    standing = [row for row in rows if row["standing"]]
    return next(iter(standing), next((row for row in rows if row["status"] == "open"), None))


def find_closed_of(addresses: Sequence[str], limit: int, after: str = "") -> list[BreakRow]:
    """Up to `limit` closed breaks about Transfers from or to these addresses, the oldest first.

    Those of more than nothing that a person has closed, or reconciliation as nothing of ours moved.
    """
    query: Document = {
        "$or": [{"resolution.who": {"$ne": RECONCILIATION}}, {"resolution.why": NOTHING_MOVED}],
        "type": "missing_in_ledger",
        "status": "resolved",
        "found.amount": {"$ne": "0"},
        "_id": {"$gt": after},
    }
    found: dict[str, BreakRow] = {}
    for side, index in (("found.sender", "found_sender"), ("found.recipient", "found_recipient")):
        rows = database().breaks.find({side: {"$in": list(addresses)}, **query}, hint=index).sort([("_id", 1)])
        found.update((row["_id"], cast(BreakRow, row)) for row in rows.limit(limit))
    return [found[break_id] for break_id in sorted(found)[:limit]]


def find_in_blocks(first: int, last: int) -> list[BreakRow]:
    """The open breaks about Transfers in these blocks."""
    query = {"status": "open", "block_number": {"$gte": first, "$lte": last}}
    return cast(list[BreakRow], list(database().breaks.find(query)))


def find_of_hashes(hashes: Sequence[str]) -> list[BreakRow]:
    """The breaks about Transfers of these transactions of the chain, resolved ones included."""
    found: list[BreakRow] = []
    for start in range(0, len(hashes), _MOST_KEYS):
        query = {"tx_hash": {"$in": list(hashes[start : start + _MOST_KEYS])}}
        found.extend(cast(list[BreakRow], list(database().breaks.find(query))))
    return found


def count_open(most: int) -> dict[str, int]:
    """How many breaks are open, by type, counted up to `most` in all."""
    counts: dict[str, int] = {}
    for row in database().breaks.find({"status": "open"}, {"type": 1}).limit(most):
        counts[row["type"]] = counts.get(row["type"], 0) + 1
    return counts


def insert(row: BreakRow) -> bool:
    """Keep a new break; False when there is one about the same thing already."""
    try:
        database().breaks.insert_one({**row})
    except DuplicateKeyError:
        return database().breaks.find_one({"_id": row["_id"]}, {"_id": 1}) is not None
    return True


def change(
    row: BreakRow, changes: Mapping[str, Any], gone: Sequence[str] = (), *, session: ClientSession | None = None
) -> BreakRow | None:
    """The break with `changes` and without `gone`; None when somebody changed it first."""
    new = {**changes, "version": row["version"] + 1, "updated_at": clock.now()}
    update: Document = {"$set": new}
    if gone:
        update["$unset"] = dict.fromkeys(gone, "")
    current = {"_id": row["_id"], "version": row["version"]}
    done = database().breaks.update_one(current, update, session=session)
    kept = {name: value for name, value in row.items() if name not in gone}
    return cast(BreakRow, {**kept, **new}) if done.modified_count else None


def sight(rows: Sequence[SightingRow]) -> None:
    """Keep Transfers to be looked at again; one that is kept already keeps when it was first seen."""
    if rows:
        database().sightings.bulk_write([_sight(row) for row in rows], ordered=False)


def _sight(row: SightingRow) -> UpdateOne:
    first = {"seen_at": row["seen_at"]}
    place = {name: value for name, value in row.items() if name not in (*first, "_id")}
    update: Document = {"$set": place, "$setOnInsert": first}
    if "transaction_id" not in row:
        update["$unset"] = {"transaction_id": ""}
    return UpdateOne({"_id": row["_id"]}, update, upsert=True)


def look_again(key: str, at: datetime, judged_for: datetime | None = None) -> None:
    """Look at it again then; `judged_for` is the restore in whose recovery it was judged with all of the chain read."""
    facts = {"due_at": at} if judged_for is None else {"due_at": at, "judged_for": judged_for}
    database().sightings.update_one({"_id": key}, {"$set": facts})


def find_unjudged(judged_for: datetime, limit: int) -> list[SightingRow]:
    """Those in no row's name that were not judged yet in the recovery from the restore of that moment."""
    query = {"judged_for": {"$ne": judged_for}, "transaction_id": {"$exists": False}}
    return cast(list[SightingRow], list(database().sightings.find(query).sort([("_id", 1)]).limit(limit)))


def find_sightings(before: datetime, limit: int) -> list[SightingRow]:
    """Transfers to be looked at again by now, the longest overdue first."""
    rows = database().sightings.find({"due_at": {"$lte": before}}).sort([("due_at", 1)]).limit(limit)
    return cast(list[SightingRow], list(rows))


def find_equal_sightings(sender: str, recipient: str, amount: str) -> list[SightingRow]:
    """Those in no row's name between the same two of the same amount."""
    query = {"recipient": recipient, "sender": sender, "amount": amount}
    rows = cast(list[SightingRow], list(database().sightings.find(query)))
    return [row for row in rows if "transaction_id" not in row]


def lose_sight(keys: Sequence[str]) -> None:
    """What was looked at again needs it no more."""
    if keys:
        database().sightings.delete_many({"_id": {"$in": list(keys)}})


def lose_sight_after(block_number: int, *, session: ClientSession) -> None:
    """Blocks above this one were reorganised away: what is on the new ones is seen anew."""
    database().sightings.delete_many({"block_number": {"$gt": block_number}}, session=session)


def find_equal(sender: str, recipient: str, amount: str, mined_after: datetime) -> list[BreakRow]:
    """Breaks about Transfers in no transaction's name between the same two of the same amount.

    Open ones, and those of strangers: whoever had no wallet when it was judged may have one again.
    """
    query: Document = {
        "found.sender": sender,
        "found.recipient": recipient,
        "found.amount": amount,
        "type": "missing_in_ledger",
        "$or": [{"status": "open"}, {"resolution.why": NOTHING_MOVED}],
        "mined_at": {"$gte": mined_after},
    }
    return cast(list[BreakRow], list(database().breaks.find(query)))
