"""Every query on wallets and on the links that make a wallet visible to a client."""

from typing import Any, cast

from pymongo.errors import DuplicateKeyError

from getsmart.models import AccountRow, Event, TransactionRow, WalletLink, WalletRow
from getsmart.mongo import again, database


def _visible(client_id: str | None) -> dict[str, Any]:
    """The filter that hides wallets a client is not linked to; None (an admin) sees all."""
    return {} if client_id is None else {"links.client_id": client_id}


def find(wallet_id: str, client_id: str | None) -> WalletRow | None:
    """The wallet, if `client_id` is linked to it."""
    return cast(WalletRow | None, database().wallets.find_one({"_id": wallet_id, **_visible(client_id)}))


def find_by_email(email: str, client_id: str | None = None) -> WalletRow | None:
    """The wallet of this normalised address, if `client_id` is linked to it."""
    return cast(WalletRow | None, database().wallets.find_one({"email": email, **_visible(client_id)}))


def find_by_address(address: str, client_id: str | None = None) -> WalletRow | None:
    """The wallet at this chain address in any case of letters, if `client_id` is linked to it."""
    return cast(WalletRow | None, database().wallets.find_one({"address_key": address.lower(), **_visible(client_id)}))


def insert(row: WalletRow) -> bool:
    """Keep a new wallet. False when its owner has one already: the unique index decides the race."""
    try:
        again(lambda: database().wallets.insert_one({**row}))
    except DuplicateKeyError:
        return database().wallets.count_documents({"_id": row["_id"]}, limit=1) == 1
    return True


def link(wallet_id: str, new: WalletLink, event: Event) -> None:
    """Make the wallet visible to a client, with its event; a client that is linked already keeps its link."""
    unlinked = {"_id": wallet_id, "links.client_id": {"$ne": new["client_id"]}}
    again(lambda: database().wallets.update_one(unlinked, {"$push": {"links": new, "outbox": event}}))


def describe(wallet_id: str, client_id: str, changes: dict[str, Any]) -> None:
    """Set label or metadata of one client's link."""
    database().wallets.update_one(
        {"_id": wallet_id, "links.client_id": client_id},
        {"$set": {f"links.$.{name}": value for name, value in changes.items()}},
    )


def find_with_account(
    wallet_id: str, client_id: str | None
) -> tuple[WalletRow, AccountRow | None, list[TransactionRow]] | None:
    """The wallet, its ledger account, and the open transactions on their way in; one round trip."""
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
                        "as": "incoming",
                    }
                },
            ]
        )
    )
    if not rows:
        return None
    account = cast(AccountRow, rows[0]["account"][0]) if rows[0]["account"] else None
    return cast(WalletRow, rows[0]), account, cast(list[TransactionRow], rows[0]["incoming"])
