"""How far the chain has been reconciled, and the hashes by which a reorganisation below that is noticed."""

from collections.abc import Sequence
from typing import Any

from pymongo import ReplaceOne
from pymongo.client_session import ClientSession

from getsmart import clock
from getsmart.breaks import Place
from getsmart.mongo import Document, database

NAME = "reconciliation"
KEPT = 256  # blocks whose hashes are remembered: four times the deepest reorganisation that is to be expected


def read() -> Place | None:
    """Where reconciliation stands, or None before its first window."""
    row = database().controls.find_one({"_id": NAME})
    return _place(row) if row and "to_block" in row else None


def _place(row: Document) -> Place:
    return Place(int(row["to_block"]), str(row["block_hash"]), int(row["version"]))


def advance(
    before: Place | None, to_block: int, block_hash: str, facts: dict[str, Any], *, session: ClientSession | None = None
) -> Place | None:
    """Move on (or, after a reorganisation, back) from where it was; None when somebody else has moved it since."""
    version = 1 if before is None else before.version + 1
    change = {"to_block": to_block, "block_hash": block_hash, "version": version, "at": clock.now(), **facts}
    if before is None:
        query: Document = {"_id": NAME, "to_block": {"$exists": False}}
        database().controls.update_one({"_id": NAME}, {"$setOnInsert": {"version": 0}}, upsert=True)
    else:
        query = {"_id": NAME, "version": before.version}
    done = database().controls.update_one(query, {"$set": change}, session=session)
    return Place(to_block, block_hash, version) if done.modified_count else None


def note(facts: dict[str, Any]) -> None:
    """Keep facts about the reading of the chain: the head that was seen, the genesis log."""
    database().controls.update_one({"_id": NAME}, {"$set": facts, "$setOnInsert": {"version": 0}}, upsert=True)


def remember(blocks: Sequence[tuple[int, str]]) -> None:
    """Keep the hashes of reconciled blocks, and forget those that lie too deep to change."""
    if not blocks:
        return
    writes = [ReplaceOne({"_id": number}, {"number": number, "hash": hash_}, upsert=True) for number, hash_ in blocks]
    database().blocks.bulk_write(writes, ordered=False)
    database().blocks.delete_many({"number": {"$lt": blocks[-1][0] - KEPT}})


def remembered() -> dict[int, str]:
    """The hashes that are kept, by block number."""
    return {int(row["number"]): str(row["hash"]) for row in database().blocks.find({})}


def forget_after(number: int, *, session: ClientSession) -> None:
    """The blocks above this one are not what they were."""
    database().blocks.delete_many({"number": {"$gt": number}}, session=session)
