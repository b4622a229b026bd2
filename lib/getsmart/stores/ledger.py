"""The double-entry ledger: entries are only ever added; accounts carry their sums.

A wallet's account moves in the same transaction as its entries. The system accounts are hot, so no money
transaction touches them: the row is flagged, and `sum_confirmed` folds flagged rows into the books, exactly once.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, cast

from pymongo.client_session import ClientSession

from getsmart.breaks import CorrectionRow
from getsmart.errors import Internal
from getsmart.models import ISSUANCE, SYSTEM_ACCOUNTS, TREASURY, AccountRow, EntryRow, TransactionRow
from getsmart.mongo import Document, database, to_decimal, to_units, transact

BOOKS = "books"
WALLETS = "wallets"  # the control account: the sum of all wallets


def post(row: TransactionRow, *, session: ClientSession) -> None:
    """Book a confirmed transaction: a debit of its origin and a credit of its target; they sum to zero."""
    _enter(row, row["origin"], "debit", session)
    _enter(row, row["target"], "credit", session)


def correct(row: CorrectionRow, *, session: ClientSession, is_held: bool = True) -> None:
    """Book what a break moves: the same two entries, summed by the same tick.

    `is_held` False: nothing was set aside for the debit; it is taken from what an earlier part of this transaction
    has made available.
    """
    database().corrections.insert_one({**row}, session=session)
    _enter(row, row["origin"], "debit", session, is_held=is_held)
    _enter(row, row["target"], "credit", session)


def _enter(
    row: Any,
    party: Mapping[str, Any],
    direction: Literal["debit", "credit"],
    session: ClientSession,
    *,
    is_held: bool = True,
) -> None:
    entry: Document = {
        "_id": f"{row['_id']}:{direction}",
        "transaction_id": row.get("transaction_id", row["_id"]),
        "account": party["account"],
        "direction": direction,
        "amount": row["amount"],
        "at": row["at"] if "break_id" in row else row["updated_at"],
    }
    if "break_id" in row:
        entry["break_id"] = row["break_id"]
    if party["account"] not in SYSTEM_ACCOUNTS:
        units = to_units(row["amount"]) * (1 if direction == "credit" else -1)
        entry |= _move_wallet(party["account"], units, entry["at"], session, is_held=is_held)
    database().entries.insert_one(entry, session=session)


def _move_wallet(wallet_id: str, units: int, at: datetime, session: ClientSession, *, is_held: bool = True) -> Document:
    """Move a wallet's account; a debit that was held before changes nothing of what is available.

    Clocks differ: an entry is never earlier than the one before it, so that the order of an account is that of time.
    """
    account = cast(AccountRow | None, database().accounts.find_one({"_id": wallet_id}, session=session))
    sequence = (account["sequence"] if account else 0) + 1
    posted = (to_units(account["posted"]) if account else 0) + units
    at = max(at, account.get("moved_at", at) if account else at)
    moved = {"posted": to_decimal(posted), "sequence": sequence, "moved_at": at}
    if account is None:
        fresh = {**moved, "available": to_decimal(posted), "version": 0}
        database().accounts.insert_one({"_id": wallet_id, **fresh}, session=session)
    else:
        freed = max(units, 0) if is_held else units
        credited = {"available": to_decimal(freed), "version": 1}
        done = database().accounts.update_one(
            {"_id": wallet_id, "sequence": account["sequence"]},
            {"$set": moved, "$inc": credited},
            session=session,
        )
        if done.modified_count != 1:
            raise Internal(f"account {wallet_id} moved inside a transaction")
    return {"account_sequence": sequence, "balance_after": to_decimal(posted), "at": at}


def find_entries(
    wallet_id: str, client_id: str | None, after: tuple[datetime, int] | None, limit: int
) -> tuple[list[EntryRow], list[TransactionRow]] | None:
    """Up to `limit` lines of a wallet's account behind (time, sequence), the oldest first; one round trip.

    With them those of their transactions that are the client's own (None: all). None when the client is not linked.
    """
    behind: Document = {"at": {"$gte": after[0]}, "account_sequence": {"$gt": after[1]}} if after else {}
    order: list[Document] = [{"$match": behind}, {"$sort": {"at": 1, "account_sequence": 1}}, {"$limit": limit}]
    own: Document = {} if client_id is None else {"client_id": client_id}
    seen = dict.fromkeys(("client_id", "kind", "origin", "target", "reason"), 1)
    cause = {"from": "transactions", "localField": "ids", "foreignField": "_id", "as": "causes"}
    found = _with_entries(
        wallet_id,
        client_id,
        order,
        [
            {"$set": {"ids": {"$map": {"input": "$entries", "as": "entry", "in": "$$entry.transaction_id"}}}},
            {"$lookup": {**cause, "pipeline": [{"$match": own}, {"$project": seen}]}},
        ],
    )
    if found is None:
        return None
    return cast(list[EntryRow], found["entries"]), cast(list[TransactionRow], found["causes"])


def find_entry_at(wallet_id: str, client_id: str | None, moment: datetime) -> tuple[bool, EntryRow | None]:
    """Whether the client is linked to the wallet, and the last line of its account up to a moment, if there was one."""
    last: list[Document] = [
        {"$match": {"at": {"$lte": moment}}},
        {"$sort": {"at": -1, "account_sequence": -1}},
        {"$limit": 1},
    ]
    found = _with_entries(wallet_id, client_id, last, [])
    entries = cast(list[EntryRow], found["entries"] if found else [])
    return found is not None, entries[0] if entries else None


def _with_entries(
    wallet_id: str, client_id: str | None, pipeline: list[Document], further: list[Document]
) -> Document | None:
    """A linked wallet with the lines of its account that the pipeline picks."""
    linked: Document = {} if client_id is None else {"links.client_id": client_id}
    entries = {"from": "entries", "localField": "_id", "foreignField": "account", "pipeline": pipeline, "as": "entries"}
    stages = [{"$match": {"_id": wallet_id, **linked}}, {"$project": {"_id": 1}}, {"$lookup": entries}, *further]
    return next(iter(database().wallets.aggregate(stages)), None)


def sum_confirmed(limit: int) -> int:
    """Fold up to `limit` confirmed rows into the system accounts; returns how many. Safe to run twice at once."""
    return _fold("transactions", limit)


def sum_corrections(limit: int) -> int:
    """The same for what breaks moved."""
    return _fold("corrections", limit)


def _fold(name: Literal["transactions", "corrections"], limit: int) -> int:
    place = database()[name]

    def fold(session: ClientSession) -> int:
        rows = list(place.find({"is_unsummed": True}, session=session).limit(limit))
        if not rows:
            return 0
        query = {"_id": {"$in": [row["_id"] for row in rows]}, "is_unsummed": True}
        done = place.update_many(query, {"$unset": {"is_unsummed": ""}}, session=session)
        if done.modified_count != len(rows):
            raise Internal("rows were summed by somebody else inside a transaction")
        change = {account: to_decimal(units) for account, units in _sums(rows).items()}
        database().controls.update_one(
            {"_id": BOOKS}, {"$inc": {**change, name: len(rows), "version": 1}}, session=session
        )
        return len(rows)

    return transact(fold)


def _sums(rows: list[Any]) -> dict[str, int]:
    sums = dict.fromkeys((*SYSTEM_ACCOUNTS, WALLETS), 0)
    for row in rows:
        units = to_units(row["amount"])
        for side, sign in ((row["origin"], -1), (row["target"], 1)):
            account = side["account"] if side["account"] in SYSTEM_ACCOUNTS else WALLETS
            sums[account] += sign * units
    return sums


def minted(*, session: ClientSession) -> int:
    """All that issuance has paid out, confirmed rows that are not yet summed included."""
    return -_with_unsummed(ISSUANCE, session)


def treasury(*, session: ClientSession) -> int:
    """The treasury's posted balance, confirmed rows that are not yet summed included."""
    return _with_unsummed(TREASURY, session)


def posted(wallet_id: str, *, session: ClientSession) -> int:
    """A wallet's posted balance."""
    account = database().accounts.find_one({"_id": wallet_id}, session=session)
    return to_units(account["posted"]) if account else 0


def _with_unsummed(account: str, session: ClientSession) -> int:
    books = database().controls.find_one({"_id": BOOKS}, session=session)
    if books is None:
        raise Internal("the database has no books; migrations are missing")
    unsummed = [
        row
        for name in ("transactions", "corrections")
        for row in database()[name].find({"is_unsummed": True}, session=session)
    ]
    return to_units(books[account]) + _sums(unsummed)[account]
