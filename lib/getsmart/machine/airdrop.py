"""An airdrop: accepted whole or not at all, its rows then made into transactions that are sent like any other.

Rows are written in chunks under a batch that is `accepting`; the last write makes it `queued`, beside the reserve of
the sum. Whoever dies before leaves nothing that will ever be paid, and a call with the same reference and rows goes on.
The tick unfolds the rows: a chunk of transactions and how far the batch has come are one database transaction.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, cast

from getsmart import calls, clock, config, objects
from getsmart.errors import (
    DatabaseUnavailable,
    IdempotencyInProgress,
    IdempotencyMismatch,
    Internal,
    InvalidState,
    LimitExceeded,
    SupplyExhausted,
)
from getsmart.ids import new_id
from getsmart.machine import ceiling, receipt
from getsmart.machine.recovery import is_too_late, lost_before, refuse_while_recovering
from getsmart.metakeep import client, protocol
from getsmart.models import (
    FINAL,
    ISSUANCE,
    SUPPLY,
    Accepted,
    AirdropRow,
    BatchRow,
    Claim,
    Event,
    TransactionRow,
    WalletRow,
    cause_of,
)
from getsmart.mongo import to_decimal, to_units, transact
from getsmart.replies import dump_json, success
from getsmart.stores import batches, reserves, transactions, wallets

CHUNK = 1_000  # rows in one insert
UNFOLD = 200  # transactions made in one database transaction
LEASE = timedelta(seconds=15)
MOST_WAITING = 20  # airdrops of a client whose rows are being unfolded; calls at the same moment may pass it together


class Payment(NamedTuple):
    """One row as it was asked for: a linked wallet, and base units."""

    wallet_id: str
    amount: int


def accept(claim: Claim, reference: str, payments: Callable[[], Sequence[Payment]]) -> Accepted:
    """Accept an airdrop, or repeat what the first call with its key or its reference was answered.

    `payments` is asked only when rows have to be written. Raises what it raises, SupplyExhausted, LimitExceeded or
    Recovering (all of which claim nothing), InvalidState when the reference stands for other rows, IdempotencyMismatch
    or IdempotencyInProgress.
    """
    batch = _find(claim, reference)
    if batch is not None:
        return _again(batch, payments)
    refuse_while_recovering()
    if batches.count_waiting(claim.caller.client_id, MOST_WAITING) >= MOST_WAITING:
        raise LimitExceeded(message=f"A client has at most {MOST_WAITING} airdrops whose rows still wait to be sent.")
    wanted = payments()
    amount = sum(payment.amount for payment in wanted)
    if not reserves.has(SUPPLY, amount):
        raise SupplyExhausted
    batch = _batch(claim, reference, amount, len(wanted))
    counted = ceiling.count(claim.caller, SUPPLY, amount)
    if not batches.insert(batch):
        ceiling.give_back(counted)
        twin = _find(claim, reference)
        if twin is None:
            raise Internal("a batch met a unique index without a twin")
        return _again(twin, payments)
    try:
        return _finish(batch, wanted)
    except SupplyExhausted:
        ceiling.give_back(counted)
        raise


def _find(claim: Claim, reference: str) -> BatchRow | None:
    """The batch of this key, or of this reference, to which the key is then bound."""
    client_id = claim.caller.client_id
    batch = batches.find_by_key(client_id, claim.idempotency_key)
    if batch is not None:
        if batch["body_digest"] != claim.body_digest:
            raise IdempotencyMismatch
        return batch
    batch = batches.find_by_reference(client_id, reference)
    if batch is None:
        return None
    if batch["body_digest"] != claim.body_digest:
        raise InvalidState(f"{reference} stands for other rows", message="This reference stands for other rows.")
    if not batches.bind_key(batch["_id"], claim.idempotency_key):
        raise IdempotencyMismatch
    return batch


def _again(batch: BatchRow, payments: Callable[[], Sequence[Payment]]) -> Accepted:
    if "reply" in batch:
        return Accepted(batch["reply"]["status"], batch["reply"]["body"], is_replay=True)
    refuse_while_recovering()
    if batch["lease_until"] > clock.now():
        raise IdempotencyInProgress
    return _finish(_renew(batch), payments())


def _batch(claim: Claim, reference: str, amount: int, total: int) -> BatchRow:
    at = clock.now()
    return {
        "_id": new_id("bat"),
        "version": 1,
        "client_id": claim.caller.client_id,
        "key_id": claim.caller.key_id,
        "reference": reference,
        "route": claim.route,
        "idempotency_keys": [claim.idempotency_key],
        "body_digest": claim.body_digest,
        "status": "accepting",
        "amount": to_decimal(amount),
        "held": to_decimal(0),
        "total": total,
        "unfolded": 0,
        "audit": {
            "key_id": claim.caller.key_id,
            "source": claim.source,
            "request_id": claim.request_id,
            "at": at,
            "traceparent": calls.traceparent(),
        },
        "created_at": at,
        "updated_at": at,
        "lease_until": at + LEASE,
    }


def _renew(batch: BatchRow) -> BatchRow:
    """Say that this call is still at it. Raises IdempotencyInProgress when another one took over."""
    renewed = batches.change(batch, {"lease_until": clock.now() + LEASE})
    if renewed is None:
        raise IdempotencyInProgress
    return renewed


def _finish(batch: BatchRow, payments: Sequence[Payment]) -> Accepted:
    rows: list[AirdropRow] = [
        {
            "_id": f"{batch['_id']}:{number}",
            "batch_id": batch["_id"],
            "row": number,
            "wallet_id": payment.wallet_id,
            "amount": to_decimal(payment.amount),
        }
        for number, payment in enumerate(payments)
    ]
    for start in range(0, len(rows), CHUNK):
        batches.insert_rows(rows[start : start + CHUNK])
        batch = _renew(batch)
    return _make_real(batch)


def _make_real(batch: BatchRow) -> Accepted:
    """The reserve, and the write after which every row will be paid."""
    amount = to_units(batch["amount"])
    begun = reserves.begin()
    if not reserves.take(SUPPLY, amount):
        batches.remove(batch)
        raise SupplyExhausted
    if begun.is_late():
        raise DatabaseUnavailable("setting the sum aside took too long to be claimed safely")
    queued = cast(BatchRow, {**batch, "status": "queued"})
    reply = {"status": 202, "body": success(202, objects.batch(queued, {"queued": batch["total"]}), "accepted").body}
    moved = batches.change(batch, {"status": "queued", "held": batch["amount"], "reply": reply})
    if moved is None:
        reserves.give_back(SUPPLY, amount, begun)
        raise IdempotencyInProgress
    return Accepted(202, moved["reply"]["body"], is_replay=False)


def work(batch: BatchRow) -> int:
    """Make the next chunk of rows into transactions, or close a batch whose rows are all final; how many rows moved."""
    if batch["unfolded"] < batch["total"]:
        return _unfold(batch)
    if not transactions.has_open_of_batch(batch["_id"]):
        _complete(batch)
    return 0


def _complete(batch: BatchRow) -> None:
    """Where every row is final: the receipt, and the event that tells of it.

    What is final never moves, so it is counted: a row that moves while open ones are looked for, state by state, may be
    in none of them.
    """
    counts = transactions.count_by_status(batch["_id"])
    if sum(counts.get(status, 0) for status in FINAL) < batch["total"]:
        return
    root = receipt.merkle_root(_lines(batch))
    completed = cast(BatchRow, {**batch, "status": "completed", "merkle_root": root})
    event: Event = {
        "event_id": new_id("evt"),
        "client_id": batch["client_id"],
        "type": "batch.completed",
        "created_at": clock.now(),
        "data": dump_json(objects.batch(completed, counts)),
        "traceparent": cause_of(batch),
    }
    batches.change(batch, {"status": "completed", "merkle_root": root}, outbox=[event])


def _lines(batch: BatchRow) -> Iterator[bytes]:
    """Each row as `tokens/batch` lists it, in order: the leaves of the receipt (docs/airdrop.md)."""
    for start in range(0, batch["total"], CHUNK):
        made = transactions.find_batch_rows(batch["_id"], start, CHUNK)
        for row in batches.find_rows(batch["_id"], start, CHUNK):
            yield dump_json(objects.batch_row(row, made.get(row["row"]))).encode()


def _unfold(batch: BatchRow) -> int:
    rows = batches.find_rows(batch["_id"], batch["unfolded"], UNFOLD)
    recovery = refuse_while_recovering()
    left = to_units(batch["held"]) - sum(to_units(row["amount"]) for row in rows)
    changes = {"status": "running", "unfolded": batch["unfolded"] + len(rows), "held": to_decimal(left)}

    def write(session: Any) -> int:
        if batches.change(batch, changes, session=session) is None:
            return 0
        transactions.insert_many(_made(batch, rows, recovery, session), session=session)
        return len(rows)

    return transact(write)


def _made(batch: BatchRow, rows: Sequence[AirdropRow], recovery: Any, session: Any) -> list[TransactionRow]:
    """The rows as transactions; who is paid by them cannot be erased any more (docs/adr/0080)."""
    named = sorted({row["wallet_id"] for row in rows})
    wallets.hold(named, session=session)
    owners = wallets.find_many(named, session=session)
    made = [_transaction(batch, row, owners[row["wallet_id"]]) for row in rows]
    for one in made:
        if is_too_late(recovery, lost_before(recovery, one)):
            one["is_held_back"] = True
    return made


def _transaction(batch: BatchRow, row: AirdropRow, owner: WalletRow) -> TransactionRow:
    """A mint that was not sent yet, under a provider's key that a retry after a restore would make again.

    A wallet that was erased since has no address to send to: MetaKeep refuses the empty request, and the row fails.
    """
    at, client_id = clock.now(), batch["client_id"]
    airdrop = {"reference": batch["reference"]}  # paid once, under whatever keys
    contract = config.read(config.TokenSettings).contract_address
    path, body = protocol.mint(contract, owner.get("email", ""), to_units(row["amount"]))
    made: TransactionRow = {
        "_id": new_id("txn"),
        "version": 1,
        "client_id": client_id,
        "route": batch["route"],
        "idempotency_key": row["_id"],
        "body_digest": batch["body_digest"],
        "kind": "mint",
        "status": "queued",
        "amount": row["amount"],
        "origin": {"account": ISSUANCE},
        "target": {"account": owner["_id"], "wallet_id": owner["_id"], "address": owner["address"]},
        "hold": {"name": SUPPLY, "state": "held"},
        "request": {
            "path": path,
            "body": body.decode(),
            "idempotency_key": protocol.idempotency_key(client_id, batch["route"], airdrop, row["row"], 1),
            "signer": client.signers()[0],
        },
        "audit": batch["audit"],
        "timeline": [{"status": "queued", "at": at}],
        "created_at": at,
        "updated_at": at,
        "lease_until": at,
        "due_at": at,
        "attempts": 0,
        "is_in_flight": False,
        "is_ambiguous": False,
        "incoming_wallet_id": owner["_id"],
        "batch_id": batch["_id"],
        "batch_row": row["row"],
    }
    made["outbox"] = [transactions.event_of(made)]
    return made
