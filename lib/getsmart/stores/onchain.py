"""Transactions as the chain knows them: found by hash, by block or by their parties; their places on it corrected."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from pymongo.client_session import ClientSession

from getsmart.ids import new_id
from getsmart.models import EXTERNAL, ISSUANCE, SUPPLY, TREASURY, Event, TransactionRow
from getsmart.mongo import Document, database, to_decimal
from getsmart.objects import transaction
from getsmart.replies import dump_json

_MOST_KEYS = 1_000  # in one query
# What matching reads of a row is little; whoever moves one reads all of it.
_UNREAD = dict.fromkeys(("request.body", "reply", "outbox", "audit", "changed_by", "timeline"), 0)


def find_by_hashes(hashes: Sequence[str]) -> list[TransactionRow]:
    """The rows that stand for these transactions of the chain."""
    found: list[TransactionRow] = []
    for start in range(0, len(hashes), _MOST_KEYS):
        query = {"tx_hash": {"$in": list(hashes[start : start + _MOST_KEYS])}}
        found.extend(cast(list[TransactionRow], list(database().transactions.find(query, _UNREAD))))
    return found


def find_settled(tx_hash: str, log_index: int, *, session: ClientSession | None = None) -> TransactionRow | None:
    """The row that this very Transfer has settled, or None."""
    # By the row's own hash, the settlement's: its index serves a question; the partial one of settlements only inserts.
    query = {"tx_hash": tx_hash, "settlement.tx_hash": tx_hash, "settlement.log_index": log_index}
    return cast(TransactionRow | None, database().transactions.find_one(query, session=session))


def find_in_blocks(first: int, last: int) -> list[TransactionRow]:
    """The rows whose Transfers stand in these blocks, as far as we know."""
    query = {"block_number": {"$gte": first, "$lte": last}}
    return cast(list[TransactionRow], list(database().transactions.find(query, _UNREAD)))


def find_unwitnessed(before: datetime, limit: int) -> list[TransactionRow]:
    """Rows that MetaKeep alone has confirmed, before a moment: their place on the chain is not known."""
    query = {"is_unwitnessed": True, "updated_at": {"$lt": before}}
    return cast(list[TransactionRow], list(database().transactions.find(query, _UNREAD).limit(limit)))


def find_open_between(origin: str, target: str, units: int) -> list[TransactionRow]:
    """Rows that are not final and move this amount from one account to the other (of `external`: to any address).

    To a wallet also those to any address: it may have been outside when they were ordered.
    """
    if origin == ISSUANCE:
        # Of thousands of mints under way those of one wallet are few; who holds the supply are all.
        query: Document = {"incoming_wallet_id": target, "kind": "mint"}
    else:
        query = {"hold.name": TREASURY if origin == TREASURY else origin, "hold.state": "held"}
    query |= {"amount": to_decimal(units), "target.account": {"$in": [target, EXTERNAL]}}
    return cast(list[TransactionRow], list(database().transactions.find(query, _UNREAD)))


def find_paid_outside(addresses: Sequence[str], limit: int) -> list[TransactionRow]:
    """Up to `limit` rows whose Transfers to these outside addresses stand in the books and on the chain.

    Those that were booked on into a wallet are left out. Addresses are compared by letter: those of rows are in lower
    case, but before schema 10 they are as their orderer wrote them.
    """
    query = {
        "target.account": EXTERNAL,
        "target.address": {"$in": list(addresses)},
        "status": "confirmed",
        "settlement.log_index": {"$gte": 0},
        "reorged_at": {"$exists": False},
        "passed_on": None,  # is not there
    }
    rows = database().transactions.find(query, _UNREAD, hint="paid_outside").limit(limit)
    return cast(list[TransactionRow], list(rows))


def reserve_of(account: str) -> str | None:
    """What limits a debit of an account: the supply for issuance, the treasury, a wallet; nothing for the rest."""
    if account == ISSUANCE:
        return SUPPLY
    return account if account == TREASURY or account.startswith("wlt_") else None


def annotate(
    row: TransactionRow,
    changes: Mapping[str, Any],
    gone: Sequence[str] = (),
    *,
    event_type: str | None = None,
    session: ClientSession | None = None,
) -> bool:
    """Correct what we know of a final row's place on the chain, and tell its client where `event_type` says so.

    The state stays. False when somebody changed the row first.
    """
    new = {**changes, "version": row["version"] + 1}
    update: Document = {"$set": new}
    if gone:
        update["$unset"] = dict.fromkeys(gone, "")
    if event_type is not None:
        kept = {name: value for name, value in row.items() if name not in gone}
        update["$push"] = {"outbox": _event(cast(TransactionRow, {**kept, **new}), event_type)}
    current = {"_id": row["_id"], "version": row["version"], "status": row["status"]}
    return database().transactions.update_one(current, update, session=session).modified_count == 1


def _event(row: TransactionRow, event_type: str) -> Event:
    return {
        "event_id": new_id("evt"),
        "client_id": row["client_id"],
        "type": event_type,
        "created_at": row["updated_at"],
        "data": dump_json(transaction(row)),
    }
