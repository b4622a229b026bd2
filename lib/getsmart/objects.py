"""The objects that callers see, made from the records we keep. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from bson import Decimal128

from getsmart.amounts import format_units
from getsmart.clock import to_wire
from getsmart.hooks import DeliveryRow, EndpointRow, ReplayRow
from getsmart.models import (
    DEFAULT_PER_HOUR,
    DEFAULT_PER_SECOND,
    MOVES,
    SYSTEM_ACCOUNTS,
    AccountRow,
    AirdropRow,
    BatchRow,
    EntryRow,
    KeyRow,
    Party,
    TransactionRow,
    WalletRow,
)


def amount(value: Decimal128) -> str:
    """A stored amount in the wire form."""
    return format_units(int(value.to_decimal()))


def party(side: Party) -> dict[str, str]:
    """`{wallet_id?, address?, account?}`; `account` only for system accounts."""
    seen: dict[str, str] = {key: str(value) for key, value in side.items() if key != "account"}
    if side["account"] in SYSTEM_ACCOUNTS:
        seen["account"] = side["account"]
    return seen


def transaction(row: TransactionRow) -> dict[str, Any]:
    """The transaction object of the API; fields that have no value yet are null.

    Events and stored replies are made of it, so it never holds the consent token.
    """
    seen: dict[str, Any] = {
        "transaction_id": row["_id"],
        "kind": row["kind"],
        "status": row["status"],
        "amount": amount(row["amount"]),
        "from": party(row["origin"]),
        "to": party(row["target"]),
        "tx_hash": row.get("tx_hash"),
        "block_number": row.get("block_number"),
        "explorer_url": row.get("explorer_url"),
        "metakeep_transaction_id": row.get("metakeep_transaction_id"),
        "badge_claim": row.get("badge_claim"),
        "reason": row.get("reason"),
        "batch_id": row.get("batch_id"),
        "failure": row.get("failure"),
        "created_at": to_wire(row["created_at"]),
        "updated_at": to_wire(row["updated_at"]),
        "timeline": [{"status": step["status"], "at": to_wire(step["at"])} for step in row["timeline"]],
    }
    if "consent_expires_at" in row:
        seen |= {"consent_token": None, "consent_expires_at": to_wire(row["consent_expires_at"])}
    return seen


def own_transaction(row: TransactionRow, client_id: str) -> dict[str, Any]:
    """The same as `client_id` sees it: the consent token, while there is one, is shown to its own client alone."""
    seen = transaction(row)
    if "consent_token" in row and row["client_id"] == client_id:
        seen["consent_token"] = row["consent_token"]
    return seen


def batch(row: BatchRow, counts: Mapping[str, int]) -> dict[str, Any]:
    """The batch object; `counts` has its rows by the status of their transactions."""
    return {
        "batch_id": row["_id"],
        "reference": row["reference"],
        "status": row["status"],
        "counts": {status: counts.get(status, 0) for status in MOVES},
        "total": row["total"],
        "merkle_root": row.get("merkle_root"),
        "created_at": to_wire(row["created_at"]),
    }


def batch_row(row: AirdropRow, made: TransactionRow | None) -> dict[str, Any]:
    """One row of a batch; until its turn comes it has no transaction yet, and counts as queued."""
    return {
        "row": row["row"],
        "wallet_id": row["wallet_id"],
        "amount": amount(row["amount"]),
        "transaction_id": made["_id"] if made else None,
        "status": made["status"] if made else "queued",
        "tx_hash": made.get("tx_hash") if made else None,
    }


def wallet(row: WalletRow, client_id: str) -> dict[str, Any]:
    """The wallet object as `client_id` sees it; an erased one names nobody."""
    link = next((link for link in row["links"] if link["client_id"] == client_id), None)
    return {
        "wallet_id": row["_id"],
        "owner": {"email": row.get("email")},
        "address": row["address"],
        "label": link["label"] if link else None,
        "metadata": link["metadata"] if link else {},
        "created_at": to_wire(row["created_at"]),
        "erased_at": to_wire(row["erased_at"]) if "erased_at" in row else None,
    }


def wallet_event(row: WalletRow) -> dict[str, Any]:
    """The wallet as an event tells of it: events are kept for ever, so nothing that somebody wrote about a person."""
    return {"wallet_id": row["_id"], "address": row["address"], "created_at": to_wire(row["created_at"])}


def key(row: KeyRow) -> dict[str, Any]:
    """The key object, without its secret; limits as they count, None where there is none."""
    limits = row["limits"]
    ends = {name: row[name] for name in ("expires_at", "revoked_at")} | {"last_used_at": row.get("last_used_at")}
    return {
        "key_id": row["_id"],
        "client_id": row["client_id"],
        "mode": row["mode"],
        "scopes": row["scopes"],
        "allowed_ips": row["allowed_ips"],
        "limits": {
            "per_second": limits.get("per_second", DEFAULT_PER_SECOND),
            "per_hour": limits.get("per_hour", DEFAULT_PER_HOUR),
            "mint_per_day": _daily(limits.get("mint_per_day")),
            "treasury_per_day": _daily(limits.get("treasury_per_day")),
        },
        "created_at": to_wire(row["created_at"]),
        **{name: to_wire(at) if at else None for name, at in ends.items()},
    }


def _daily(units: str | None) -> str | None:
    return None if units is None else format_units(int(units))


def balance(wallet_id: str, account: AccountRow | None, pending_in: int, as_of: str) -> dict[str, Any]:
    """The balance object; a wallet that never moved has no account yet and stands at zero."""
    posted = int(account["posted"].to_decimal()) if account else 0
    available = int(account["available"].to_decimal()) if account else 0
    return {
        "wallet_id": wallet_id,
        "posted": format_units(posted),
        "pending_in": format_units(pending_in),
        "pending_out": format_units(posted - available),
        "available": format_units(available),
        "ledger_sequence": account["sequence"] if account else 0,
        "as_of": as_of,
    }


def past_balance(wallet_id: str, entry: EntryRow | None, as_of: str) -> dict[str, Any]:
    """The balance object of a moment that has passed: the ledger keeps what was posted, not what was under way."""
    return {
        "wallet_id": wallet_id,
        "posted": amount(entry["balance_after"]) if entry else "0",
        "pending_in": None,
        "pending_out": None,
        "available": None,
        "ledger_sequence": entry["account_sequence"] if entry else 0,
        "as_of": as_of,
    }


def entry(row: EntryRow, cause: TransactionRow | None) -> dict[str, Any]:
    """A line of a statement; `cause` is its transaction where that is the client's own, else all of it stays null."""
    seen: dict[str, Any] = {
        "sequence": row["account_sequence"],
        "at": to_wire(row["at"]),
        "direction": row["direction"],
        "amount": amount(row["amount"]),
        "balance": amount(row["balance_after"]),
        "transaction_id": None,
        "kind": None,
        "reason": None,
        "counterparty": None,
    }
    if cause is None:
        return seen
    other = cause["origin"] if cause["target"]["account"] == row["account"] else cause["target"]
    own = {"transaction_id": cause["_id"], "kind": cause["kind"], "reason": cause.get("reason")}
    return {**seen, **own, "counterparty": party(other)}


def event_payload(row: Mapping[str, Any]) -> dict[str, Any]:
    """A numbered event, as the log shows it and as it is delivered."""
    return {
        "event_id": row["event_id"],
        "type": row["type"],
        "sequence": row["sequence"],
        "created_at": to_wire(row["created_at"]),
        "data": json.loads(row["data"]),
    }


def endpoint(row: EndpointRow) -> dict[str, Any]:
    """The endpoint object, without its secrets; a removed one is disabled for good."""
    return {
        "endpoint_id": row["_id"],
        "url": row["url"],
        "event_types": row["event_types"],
        "status": "disabled" if row["status"] == "removed" else row["status"],
        "mode": row["mode"],
        "failing_since": to_wire(row["failing_since"]) if "failing_since" in row else None,
        "created_at": to_wire(row["created_at"]),
    }


def delivery(row: DeliveryRow, endpoint: EndpointRow | None) -> dict[str, Any]:
    """The delivery object; what waits is told when its endpoint is called next."""
    is_waiting = row["status"] == "pending" and endpoint is not None and endpoint["status"] == "enabled"
    due_at = endpoint.get("due_at") if is_waiting and endpoint is not None else None
    return {
        "delivery_id": row["_id"],
        "event_id": row["event_id"],
        "endpoint_id": row["endpoint_id"],
        "type": row["type"],
        "sequence": row["sequence"],
        "status": row["status"],
        "attempts": [{**attempt, "at": to_wire(attempt["at"])} for attempt in row["attempts"]],
        "next_attempt_at": to_wire(due_at) if due_at else None,
        "created_at": to_wire(row["created_at"]),
    }


def replay(row: ReplayRow, counts: Mapping[str, int]) -> dict[str, Any]:
    """The replay object: how much is put in line, and what became of that."""
    return {
        "replay_id": row["_id"],
        "status": "running" if row["status"] == "completed" and counts.get("pending") else row["status"],
        "total": row["total"],
        "queued": row["queued"],
        "counts": {status: counts.get(status, 0) for status in ("pending", "delivered", "dead")},
        "created_at": to_wire(row["created_at"]),
    }
