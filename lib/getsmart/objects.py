"""The objects that callers see, made from the records we keep. Pure."""

from typing import Any

from bson import Decimal128

from getsmart.amounts import format_units
from getsmart.clock import to_wire
from getsmart.models import SYSTEM_ACCOUNTS, AccountRow, Party, TransactionRow, WalletRow


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
    """The transaction object of the API; fields that have no value yet are null."""
    return {
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


def wallet(row: WalletRow, client_id: str, *, with_owner: bool = True) -> dict[str, Any]:
    """The wallet object as `client_id` sees it; events carry it without the owner, who is a person."""
    link = next((link for link in row["links"] if link["client_id"] == client_id), None)
    seen: dict[str, Any] = {
        "wallet_id": row["_id"],
        "address": row["address"],
        "label": link["label"] if link else None,
        "metadata": link["metadata"] if link else {},
        "created_at": to_wire(row["created_at"]),
    }
    return {**seen, "owner": {"email": row["email"]}} if with_owner else seen


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
