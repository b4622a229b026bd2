"""Every query on wallets and on the links that make a wallet visible to a client."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from getsmart.models import UNLISTED, AccountRow, AuditLine, Event, TransactionRow, WalletFilter, WalletLink, WalletRow
from getsmart.mongo import again, database, to_units
from getsmart.paging import newest_first

_MOST_IDS = 1_000  # in one query
_MOST_LINES = 50  # of a link that is described again and again; a document ends at 16 MB


# Of a person: who is erased in this very moment is not written about again.
_NAMED = {"$exists": True}


def _visible(client_id: str | None) -> dict[str, Any]:
    """The filter that hides wallets a client is not linked to; None (an admin) sees all."""
    return {} if client_id is None else {"links.client_id": client_id}


def find(wallet_id: str, client_id: str | None) -> WalletRow | None:
    """The wallet, if `client_id` is linked to it."""
    return cast(WalletRow | None, database().wallets.find_one({"_id": wallet_id, **_visible(client_id)}))


def find_many(
    wallet_ids: Sequence[str], client_id: str | None = None, *, session: ClientSession | None = None
) -> dict[str, WalletRow]:
    """The wallets of these ids that `client_id` is linked to (None: all), by id; a query for each thousand."""
    found: dict[str, WalletRow] = {}
    for start in range(0, len(wallet_ids), _MOST_IDS):
        query = {"_id": {"$in": list(wallet_ids[start : start + _MOST_IDS])}, **_visible(client_id)}
        rows = database().wallets.find(query, {"links": 0, "outbox": 0}, session=session)
        found.update((row["_id"], cast(WalletRow, row)) for row in rows)
    return found


def find_by_email(email: str, client_id: str | None = None) -> WalletRow | None:
    """The wallet of this normalised address, if `client_id` is linked to it."""
    return cast(WalletRow | None, database().wallets.find_one({"email": email, **_visible(client_id)}))


def find_by_address(address: str, client_id: str | None = None) -> WalletRow | None:
    """The wallet at this chain address in any case of letters, if `client_id` is linked to it."""
    return cast(WalletRow | None, database().wallets.find_one({"address_key": address.lower(), **_visible(client_id)}))


def find_ids_by_address(addresses: Sequence[str]) -> dict[str, str]:
    """The wallets at these addresses (in lower case): wallet id by address; a query for each thousand."""
    found: dict[str, str] = {}
    for start in range(0, len(addresses), _MOST_IDS):
        query = {"address_key": {"$in": list(addresses[start : start + _MOST_IDS])}}
        found.update((row["address_key"], row["_id"]) for row in database().wallets.find(query, {"address_key": 1}))
    return found


def find_new(after: str, limit: int) -> list[WalletRow]:
    """Up to `limit` wallets with an id above `after`, the oldest first: what they are called, and their addresses."""
    named = {"address": 1, "address_key": 1}
    rows = database().wallets.find({"_id": {"$gt": after}}, named).sort([("_id", 1)]).limit(limit)
    return cast(list[WalletRow], list(rows))


def insert(row: WalletRow) -> bool:
    """Keep a new wallet. False when its owner has one already: the unique index decides the race."""
    try:
        again(lambda: database().wallets.insert_one({**row}))
    except DuplicateKeyError:
        return database().wallets.count_documents({"_id": row["_id"]}, limit=1) == 1
    return True


def link(wallet_id: str, new: WalletLink, event: Event) -> None:
    """Make the wallet visible to a client, with its event; a client that is linked already keeps its link."""
    unlinked = {"_id": wallet_id, "email": _NAMED, "links.client_id": {"$ne": new["client_id"]}}
    again(lambda: database().wallets.update_one(unlinked, {"$push": {"links": new, "outbox": event}}))


def describe(wallet_id: str, client_id: str, changes: dict[str, Any], line: AuditLine) -> None:
    """Set label or metadata of one client's link; the newest audit lines stay with it."""
    database().wallets.update_one(
        {"_id": wallet_id, "email": _NAMED, "links.client_id": client_id},
        {
            "$set": {f"links.$.{name}": value for name, value in changes.items()},
            "$push": {"links.$.audit": {"$each": [line], "$slice": -_MOST_LINES}},
        },
    )


def find_page(client_id: str | None, of: str, only: WalletFilter, after: str | None, limit: int) -> list[WalletRow]:
    """Up to `limit` wallets that `client_id` is linked to (None: all), newest first; a label is one of `of`'s."""
    query = _visible(client_id)
    if "label" in only:
        # Both at one link: another client's label is nobody's business. The label alone is what an index finds.
        query |= {"links.label": only["label"], "links": {"$elemMatch": {"client_id": of, "label": only["label"]}}}
    if "email_prefix" in only:
        # An address is printable ASCII, which ends before DEL.
        query["email"] = {"$gte": only["email_prefix"], "$lt": only["email_prefix"] + "\x7f"}
    query |= newest_first("wlt", after, only.get("created_after"), only.get("created_before"))
    found = database().wallets.find(query, {"outbox": 0}).sort([("_id", -1)]).limit(limit)
    return cast(list[WalletRow], list(found))


def begin_erasure(wallet_id: str, mark: str) -> str | None:
    """Mark the wallet as about to be erased, unless it is; the mark that stands then, None where an order took it."""
    place = database().wallets
    place.update_one({"_id": wallet_id, "erasing": {"$exists": False}}, {"$set": {"erasing": mark}})
    row = place.find_one({"_id": wallet_id}, {"erasing": 1}) or {}
    standing: str | None = row.get("erasing")
    return standing


def end_erasure(wallet_id: str, mark: str) -> None:
    """Take the mark back: there is something under way."""
    database().wallets.update_one({"_id": wallet_id, "erasing": mark}, {"$unset": {"erasing": ""}})


def hold(wallet_ids: Sequence[str], *, session: ClientSession | None = None) -> bool:
    """Whether all of these are still somebody's, for an order that is written already: an erasure that has begun ends.

    One read where none has begun.
    """
    place, these = database().wallets, {"$in": list(wallet_ids)}
    begun, erased = {"erasing": {"$exists": True}}, {"erased_at": {"$exists": True}}
    if place.find_one({"_id": these, "$or": [begun, erased]}, {"_id": 1}, session=session) is None:
        return True
    place.update_many({"_id": these, **begun}, {"$unset": {"erasing": ""}}, session=session)
    return place.find_one({"_id": these, **erased}, {"_id": 1}, session=session) is None


def erase(wallet_id: str, mark: str, at: datetime, line: AuditLine) -> None:
    """Take away who it is and what was written about them, if the mark still stands.

    Address and links stay, as the books speak of them.
    """
    again(
        lambda: database().wallets.update_one(
            {"_id": wallet_id, "erased_at": {"$exists": False}, "erasing": mark},
            {
                "$set": {"erased_at": at, "erasure": line, "links.$[].label": None, "links.$[].metadata": {}},
                "$unset": {"email": "", "erasing": ""},
            },
        )
    )


def revive(address: str, email: str) -> None:
    """Make an erased wallet its owner's again: MetaKeep gives one address to one person."""
    erased = {"address_key": address.lower(), "erased_at": {"$type": "date"}}
    again(lambda: database().wallets.update_one(erased, {"$set": {"email": email}, "$unset": {"erased_at": ""}}))


def find_with_transactions(
    wallet_id: str, client_id: str | None, query: dict[str, Any], limit: int
) -> tuple[WalletRow, list[TransactionRow]] | None:
    """The wallet, and up to `limit` transactions that `query` finds to or from it, newest first; one round trip."""
    found = list(
        database().wallets.aggregate(
            [
                {"$match": {"_id": wallet_id, **_visible(client_id)}},
                _transactions_of("origin", query, limit),
                _transactions_of("target", query, limit),
            ]
        )
    )
    if not found:
        return None
    rows = {row["_id"]: row for row in (*found[0].pop("origin"), *found[0].pop("target"))}
    newest = [rows[row_id] for row_id in sorted(rows, reverse=True)[:limit]]
    return cast(WalletRow, found[0]), cast(list[TransactionRow], newest)


def _transactions_of(side: str, query: dict[str, Any], limit: int) -> dict[str, Any]:
    """The stage that finds them on one side of the wallet, by the index of that side."""
    unseen = dict.fromkeys(UNLISTED, 0)
    return {
        "$lookup": {
            "from": "transactions",
            "localField": "_id",
            "foreignField": f"{side}.wallet_id",
            "pipeline": [{"$match": query}, {"$sort": {"_id": -1}}, {"$limit": limit}, {"$project": unseen}],
            "as": side,
        }
    }


def find_with_account(wallet_id: str, client_id: str | None) -> tuple[WalletRow, AccountRow | None, int] | None:
    """The wallet, its ledger account, and the base units that are on their way in; one round trip.

    The database sums them: the transactions of a large airdrop to one wallet are more than one reply may hold.
    """
    rows = list(
        database().wallets.aggregate(
            [
                {"$match": {"_id": wallet_id, **_visible(client_id)}},
                {"$lookup": {"from": "accounts", "localField": "_id", "foreignField": "_id", "as": "account"}},
                {
                    "$lookup": {
                        "from": "transactions",
                        "localField": "_id",
                        "foreignField": "incoming_wallet_id",
                        "pipeline": [{"$group": {"_id": None, "amount": {"$sum": "$amount"}}}],
                        "as": "incoming",
                    }
                },
            ]
        )
    )
    if not rows:
        return None
    account = cast(AccountRow, rows[0]["account"][0]) if rows[0]["account"] else None
    incoming = sum(to_units(row["amount"]) for row in rows[0]["incoming"])
    return cast(WalletRow, rows[0]), account, incoming
