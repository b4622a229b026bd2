"""The life of a transaction: queued, mined when it is due, told to the webhook; and the consent before it."""

import json
import secrets
import uuid
from typing import Any

from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address

from local import contract
from local.chain import ZERO_ADDRESS, Block, Call, Log
from local.sandbox import events
from local.sandbox.store import Row
from local.sandbox.world import CHAIN_ID, World

CONSENT_LIFE_MS = 10 * 60 * 1000
CONSENT_TOKEN_BYTES = 64
DEFAULT_ORPHAN_DELAY_MS = 1000
_EXPLORERS = {80002: "https://amoy.polygonscan.com/tx/", 137: "https://polygonscan.com/tx/"}
_FINAL_EVENTS = {
    "COMPLETED": "transaction.completed",
    "FAILED": "transaction.failed",
    "CANCELLED": "transaction.cancelled",
}

Fate = dict[str, Any]  # what a fault has in store: {"kind": "failed"|"cancelled"|"stuck"|"reorg", ...options}, or {}


class ConsentRefused(Exception):
    """The consent token is unknown, expired or was used before."""


def explorer_url(tx_hash: bytes) -> str:
    """Where a person may look at the transaction."""
    return f"{_EXPLORERS[CHAIN_ID]}0x{tx_hash.hex()}"


def queued_reply(transaction_id: str, tx_hash: bytes) -> dict[str, Any]:
    """The QUEUED reply."""
    return {
        "status": "QUEUED",
        "transactionId": transaction_id,
        "transactionHash": f"0x{tx_hash.hex()}",
        "transactionChainScanUrl": explorer_url(tx_hash),
    }


def queue(world: World, sender: str, target: str | None, data: bytes, fate: Fate) -> dict[str, Any]:
    """Accept a call (`target` None creates a contract) for mining and return the QUEUED reply."""
    transaction_id = str(uuid.uuid4())
    content = f"{CHAIN_ID}{transaction_id}{sender}{target}".encode() + data
    tx_hash = keccak(content)
    due_ms = None if fate.get("kind") == "stuck" else world.clock.now_ms() + world.options.mine_after_ms
    world.store.run(
        "INSERT INTO transactions (transaction_id, tx_hash, sender, target, data, state, due_ms, fate)"
        " VALUES (?, ?, ?, ?, ?, 'QUEUED', ?, ?)",
        *(transaction_id, tx_hash, sender, target, data, due_ms, json.dumps(fate)),
    )
    return queued_reply(transaction_id, tx_hash)


def status(world: World, transaction_id: str) -> dict[str, Any] | None:
    """The reply of transaction/status, or None for an unknown id."""
    row = world.store.row("SELECT * FROM transactions WHERE transaction_id = ?", transaction_id)
    if row is None:
        return None
    view = {
        "status": row["state"],
        "transactionHash": f"0x{row['tx_hash'].hex()}",
        "transactionChainScanUrl": explorer_url(row["tx_hash"]),
        "events": json.loads(row["events"]),
    }
    if row["failure"]:
        view["failureReason"] = row["failure"]
    return view


def _event_view(log: Log) -> dict[str, Any] | None:
    event = contract.read_event(log.topics, log.data)
    return None if event is None else {"lambda": log.address, "name": event.name, "args": event.args}


def _mine(world: World, row: Row, fate: Fate) -> Block:
    refusal = str(fate.get("reason", "execution reverted")) if fate.get("kind") == "failed" else ""
    if row["target"] is not None and not world.chain.code(row["target"]):
        refusal = "there is no contract at this address yet"
    # Late mining (after a pause of the process) must not date a block before its parent.
    at_ms = max(row["due_ms"], world.chain.head.call.at_ms)
    return world.mine(Call(row["tx_hash"], row["sender"], row["target"], row["data"], at_ms, refusal))


def _finish(world: World, row: Row) -> None:
    fate = json.loads(row["fate"])
    state, failure, views, orphan_at_ms = "CANCELLED", "transaction was never mined", [], None
    if fate.get("kind") != "cancelled":
        block = _mine(world, row, fate)
        state, failure = ("FAILED", block.failure) if block.failure else ("COMPLETED", "")
        views = [view for view in map(_event_view, block.logs) if view]
        if fate.get("kind") == "reorg":
            orphan_at_ms = block.call.at_ms + fate.get("delay_ms", DEFAULT_ORPHAN_DELAY_MS)
    world.store.run(
        "UPDATE transactions SET state = ?, failure = ?, events = ?, orphan_at_ms = ? WHERE seq = ?",
        *(state, failure, json.dumps(views), orphan_at_ms, row["seq"]),
    )
    view = status(world, row["transaction_id"]) or {}
    events.publish(world, _FINAL_EVENTS[state], {"transactionId": row["transaction_id"], **view})


def _orphan(world: World, row: Row) -> None:
    """Take a completed transaction off the chain again, as the fault `reorg` asked for."""
    world.store.run("UPDATE transactions SET orphan_at_ms = NULL WHERE seq = ?", row["seq"])
    block = world.chain.block_of(row["tx_hash"])
    if block is not None:
        world.reorganise(world.chain.head.number - block.number + 1, [row["tx_hash"]])


def _expire(world: World, row: Row) -> None:
    world.store.run("UPDATE consents SET state = 'expired' WHERE token = ?", row["token"])
    events.publish(world, "consent.expired", {"status": "CONSENT_EXPIRED", "consentToken": row["token"]})


def settle(world: World) -> None:
    """Do everything that is due by now: mine, let consents expire, reorganise."""
    now, store = world.clock.now_ms(), world.store
    due = "SELECT * FROM transactions WHERE state = 'QUEUED' AND due_ms <= ? ORDER BY due_ms, seq"
    for row in store.rows(due, now):
        _finish(world, row)
    for row in store.rows("SELECT * FROM consents WHERE state = 'pending' AND expires_ms <= ?", now):
        _expire(world, row)
    for row in store.rows("SELECT * FROM transactions WHERE orphan_at_ms <= ? ORDER BY seq", now):
        _orphan(world, row)


def ask_consent(world: World, sender: str, target: str, data: bytes, fate: Fate) -> dict[str, Any]:
    """Put a user's call aside until the user has agreed, and return the USER_CONSENT_NEEDED reply."""
    token = secrets.token_urlsafe(CONSENT_TOKEN_BYTES)
    world.store.run(
        "INSERT INTO consents VALUES (?, ?, ?, ?, ?, ?, 'pending')",
        *(token, sender, target, data, json.dumps(fate), world.clock.now_ms() + CONSENT_LIFE_MS),
    )
    return {"status": "USER_CONSENT_NEEDED", "consentToken": token}


def answer_consent(world: World, token: str, *, is_approved: bool) -> dict[str, Any]:
    """The user's answer: the QUEUED reply, or USER_CONSENT_DENIED. Raises ConsentRefused."""
    row = world.store.row("SELECT * FROM consents WHERE token = ?", token)
    if row is None or row["state"] != "pending":
        raise ConsentRefused("unknown consentToken" if row is None else f"the consent is already {row['state']}")
    state = "approved" if is_approved else "denied"
    world.store.run("UPDATE consents SET state = ? WHERE token = ?", state, token)
    if is_approved:
        reply = queue(world, row["sender"], row["target"], row["data"], json.loads(row["fate"]))
    else:
        reply = {"status": "USER_CONSENT_DENIED"}
    events.publish(world, f"consent.{state}", {**reply, "consentToken": token})
    return reply


def release_stuck(world: World) -> None:
    """Let stuck transactions go on: they are due at once."""
    world.store.run(
        "UPDATE transactions SET due_ms = ?, fate = '{}' WHERE state = 'QUEUED' AND due_ms IS NULL",
        world.clock.now_ms(),
    )


def mine_transfer(world: World, sender: str, recipient: str, units: int) -> Block:
    """Mine a call of the token contract that no request of MetaKeep's stands behind."""
    origin, target = str(to_checksum_address(sender)), str(to_checksum_address(recipient))
    if origin == ZERO_ADDRESS:
        origin, data = world.treasury, contract.call_data("mint(address,uint256)", target, units)
    elif target == ZERO_ADDRESS:
        data = contract.call_data("burn(uint256)", units)
    else:
        data = contract.call_data("transfer(address,uint256)", target, units)
    number = world.chain.head.number + 1
    tx_hash = keccak(f"{CHAIN_ID}{number}{world.chain.head.hash.hex()}{origin}".encode() + data)
    at_ms = max(world.clock.now_ms(), world.chain.head.call.at_ms)
    return world.mine(Call(tx_hash, origin, world.token, data, at_ms))


def forget(world: World) -> None:
    """What is queued is never mined, what waits for consent is never asked, what was to be orphaned stays.

    Idempotency keys are forgotten too: what is unique in one test's database need not be in the next one's.
    """
    world.store.run("DELETE FROM replies")
    world.store.run("UPDATE transactions SET state = 'CANCELLED', due_ms = NULL WHERE state = 'QUEUED'")
    world.store.run("UPDATE transactions SET orphan_at_ms = NULL WHERE orphan_at_ms IS NOT NULL")
    world.store.run("UPDATE consents SET state = 'expired' WHERE state = 'pending'")
