"""Create a wallet at MetaKeep and here, once a person, however many clients and calls there are."""

from typing import Any

from getsmart import calls, clock, log, objects
from getsmart.errors import Internal, InvalidState
from getsmart.ids import new_id
from getsmart.machine import told
from getsmart.metakeep import client, protocol
from getsmart.models import Caller, Event, WalletLink, WalletRow
from getsmart.replies import dump_json
from getsmart.stores import wallets

_PROVIDER_SECONDS = 20.0


def create(
    caller: Caller, *, email: str, label: str | None, metadata: dict[str, str] | None
) -> tuple[dict[str, Any], bool]:
    """The wallet object of a normalised e-mail address, linked to the caller; True when it is new.

    A label or metadata that is given replaces that of the caller's link. A person who was erased gets the same wallet
    again, since MetaKeep gives them the same address: docs/adr/0010. Raises ProviderRejected or
    ProviderUnavailable when the wallet is new and MetaKeep does not give an address; nothing is kept then.
    """
    at = clock.now()
    link: WalletLink = {
        "client_id": caller.client_id,
        "label": label,
        "metadata": metadata or {},
        "linked_at": at,
        "audit": [caller.audit("link", at)],
    }
    existing = wallets.find_by_email(email)
    if existing is not None:
        return _linked(existing, link, label, metadata), False
    address = protocol.read_wallet(client.call(protocol.get_wallet(email), seconds=_PROVIDER_SECONDS))
    row = _row(email, address, link)
    if wallets.insert(row):
        log.event("wallet.created", wallet_id=row["_id"], client_id=caller.client_id)
        told.first_attempts(caller.client_id)
        return objects.wallet(row, caller.client_id), True
    wallets.revive(address, email)
    winner = wallets.find_by_email(email)
    if winner is None:
        raise Internal(f"address {address} belongs to a wallet with another owner")
    return _linked(winner, link, label, metadata), False


def _row(email: str, address: str, link: WalletLink) -> WalletRow:
    row: WalletRow = {
        "_id": new_id("wlt"),
        "email": email,
        "address": address,
        "address_key": address.lower(),
        "created_at": link["linked_at"],
        "links": [link],
    }
    row["outbox"] = [_event(row, link)]
    return row


def _event(row: WalletRow, link: WalletLink) -> Event:
    """`wallet.created` for the client that is linked."""
    return {
        "event_id": new_id("evt"),
        "client_id": link["client_id"],
        "type": "wallet.created",
        "created_at": link["linked_at"],
        "data": dump_json(objects.wallet_event(row)),
        "traceparent": calls.traceparent(),
    }


def _linked(row: WalletRow, link: WalletLink, label: str | None, metadata: dict[str, str] | None) -> dict[str, Any]:
    """The existing wallet as the caller sees it from now on."""
    client_id = link["client_id"]
    if not any(known["client_id"] == client_id for known in row["links"]):
        wallets.link(row["_id"], link, _event(row, link))
        told.first_attempts(client_id)
    changes = {name: value for name, value in (("label", label), ("metadata", metadata)) if value is not None}
    if changes:
        wallets.describe(row["_id"], client_id, changes, {**link["audit"][0], "what": "describe"})
    current = wallets.find(row["_id"], client_id)
    if current is None:
        if "erased_at" in (wallets.find(row["_id"], None) or {}):
            raise InvalidState(f"wallet {row['_id']} was erased in this moment")
        raise Internal(f"wallet {row['_id']} lost its link")
    return objects.wallet(current, client_id)
