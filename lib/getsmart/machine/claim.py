"""One idempotency key, one effect: look the key up, set the amount aside, claim by one insert, send, answer.

The transaction row is the claim: a unique index on (client, path, key) decides every race. Whatever the first call
was answered is stored with the row and repeated for ever; a claim whose holder died is taken over after its lease.
"""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from getsmart import calls, clock
from getsmart.errors import (
    BadgeAlreadyClaimed,
    DatabaseUnavailable,
    GetSmartError,
    IdempotencyInProgress,
    IdempotencyMismatch,
    InsufficientBalance,
    Internal,
    SupplyExhausted,
)
from getsmart.ids import new_id
from getsmart.machine import ceiling, told
from getsmart.machine.recovery import is_too_late, lost_before, refuse
from getsmart.machine.send import resend, send_new
from getsmart.metakeep import client, protocol
from getsmart.models import SUPPLY, Accepted, Claim, Kind, Party, TransactionRow
from getsmart.mongo import to_decimal
from getsmart.replies import dump_json
from getsmart.stores import reserves, transactions

if TYPE_CHECKING:
    from getsmart.breaks import BreakRow

_PAUSES = (0.1, 0.3, 0.6)  # within that a call that is alive has written its row


class Draft(NamedTuple):
    """What is to happen: parties, amount in base units, what it is set aside from, and the provider's request."""

    kind: Kind
    amount: int
    origin: Party
    target: Party
    hold: str
    path: str
    body: bytes
    reason: str | None = None
    from_block: int | None = None


def place(claim: Claim, draft: Callable[[], Draft], badge: dict[str, str] | None = None) -> Accepted:
    """Claim, send and answer; or repeat what the first call with this key was answered.

    `draft` is asked only when the key is new, so that a replay reads and reserves nothing. `badge` (badge_id, claimant)
    is what the call claims, if anything: it is rewarded once under whatever key. Raises what `draft` raises,
    SupplyExhausted, InsufficientBalance, LimitExceeded, BadgeAlreadyClaimed, DatabaseUnavailable or Recovering (all of
    which claim nothing), IdempotencyMismatch or IdempotencyInProgress.
    """
    known = _find(claim, badge)
    if known.row is not None:
        return _again(claim, known.row, known.recovery)
    drafted = draft()
    refuse(known.recovery)
    key: str | dict[str, str] = claim.idempotency_key if badge is None else badge
    provider_key = protocol.idempotency_key(claim.caller.client_id, claim.route, key, 0, 1 + known.ended)
    return _first(claim, drafted, _row(claim, drafted, provider_key, badge), known.recovery)


def _find(claim: Claim, badge: dict[str, str] | None = None) -> transactions.Known:
    return transactions.find_claim(claim.caller.client_id, claim.route, claim.idempotency_key, badge)


def _first(claim: Claim, draft: Draft, row: TransactionRow, recovery: dict[str, Any]) -> Accepted:
    lost = lost_before(recovery, row)
    if is_too_late(recovery, lost):
        row["is_held_back"], row["is_in_flight"] = True, False
        del row["send_started_at"]
    counted = ceiling.count(claim.caller, draft.hold, draft.amount)
    begun = reserves.begin()
    row["begun_at"] = begun.at
    try:
        if not reserves.take(draft.hold, draft.amount) and not _take_back(lost, draft):
            _take_after_all(draft)
    except GetSmartError:
        ceiling.give_back(counted)
        raise
    if begun.is_late():
        raise DatabaseUnavailable("setting the amount aside took too long to be claimed safely")
    try:
        transactions.insert(row)
    except transactions.Taken as taken:
        reserves.give_back(draft.hold, draft.amount, begun)
        ceiling.give_back(counted)
        known = _find(claim)
        if known.row is not None:
            return _again(claim, known.row, known.recovery)
        if taken.is_badge:
            raise BadgeAlreadyClaimed from None
        raise Internal("an insert met a unique index without a twin") from None
    # Nothing of a claim that froze on its way has left, and its reserve may be gone.
    return _concluded(resend({**row, "is_in_flight": False}) if begun.is_late() else send_new(row, begun))


def _take_after_all(draft: Draft) -> None:
    """Take what another call gives back; too little for now is no refusal (docs/adr/0085).

    Raises SupplyExhausted or InsufficientBalance for good, and DatabaseUnavailable while the amount is set aside
    without a row: whoever did it has died, and the next repair brings it back.
    """
    if draft.hold == SUPPLY:
        raise SupplyExhausted
    from getsmart.machine import repair  # only now: most calls find enough

    for seconds in _PAUSES:
        if not repair.is_set_aside(draft.hold, draft.amount):
            raise InsufficientBalance
        time.sleep(seconds)
        if reserves.take(draft.hold, draft.amount):
            return
    raise DatabaseUnavailable("the amount is set aside by a call that has not written its row")


def _take_back(lost: "Sequence[BreakRow]", draft: Draft) -> bool:
    """Take what a Transfer from before a restore has taken already, where it may be this very order's."""
    for one in lost:
        from getsmart.machine import correct  # only now: after a restore, and where too little is left

        if correct.step_aside(one, draft.hold):
            return reserves.take(draft.hold, draft.amount)
    return False


def _again(claim: Claim, row: TransactionRow, recovery: dict[str, Any]) -> Accepted:
    if row["body_digest"] != claim.body_digest:
        raise IdempotencyMismatch
    if "reply" in row:
        return _answer(row, is_replay=True)
    refuse(recovery)
    leased = transactions.take_lease(row)
    if leased is None:
        raise IdempotencyInProgress
    return _concluded(resend(leased))  # without a reply it is queued: every move stores one


def _concluded(row: TransactionRow) -> Accepted:
    told.first_attempts(row["client_id"])
    return _answer(row, is_replay=False)


def _answer(row: TransactionRow, *, is_replay: bool) -> Accepted:
    """The reply that was stored when a call came to its end; without one a twin is at work, and its end will store it.

    Raises IdempotencyInProgress.
    """
    if "reply" not in row:
        raise IdempotencyInProgress
    return Accepted(row["reply"]["status"], _body(row), is_replay)


def _body(row: TransactionRow) -> str:
    """The stored body; while a person is asked, with the token, which is never stored in it: docs/adr/0006.

    Inside a JSON string the quotes of the mark would be escaped, so it stands for nothing else.
    """
    body = row["reply"]["body"]
    if "consent_token" not in row:
        return body
    return body.replace('"consent_token":null', f'"consent_token":{dump_json(row["consent_token"])}', 1)


def _row(claim: Claim, draft: Draft, provider_key: str, badge: dict[str, str] | None) -> TransactionRow:
    """The claim as it is inserted: in flight from the start, since this very call sends it."""
    at = clock.now()
    client_id = claim.caller.client_id
    lease_until = at + timedelta(seconds=transactions.LEASE_SECONDS)
    row: TransactionRow = {
        "_id": new_id("txn"),
        "version": 1,
        "client_id": client_id,
        "route": claim.route,
        "idempotency_key": claim.idempotency_key,
        "body_digest": claim.body_digest,
        "kind": draft.kind,
        "status": "queued",
        "amount": to_decimal(draft.amount),
        "origin": draft.origin,
        "target": draft.target,
        "hold": {"name": draft.hold, "state": "held"},
        "request": {
            "path": draft.path,
            "body": draft.body.decode(),
            "idempotency_key": provider_key,
            "signer": client.signers()[0],
        },
        "audit": {
            "key_id": claim.caller.key_id,
            "source": claim.source,
            "request_id": claim.request_id,
            "at": at,
            "traceparent": calls.traceparent(),
        },
        "timeline": [{"status": "queued", "at": at}],
        "created_at": at,
        "updated_at": at,
        "send_started_at": at,
        "lease_until": lease_until,
        "due_at": lease_until,
        "attempts": 0,
        "is_in_flight": True,
        "is_ambiguous": False,
    }
    optional = {
        "reason": draft.reason,
        "badge_claim": badge,
        "badge_lock": badge,
        "incoming_wallet_id": draft.target.get("wallet_id"),
        "consent_from_block": draft.from_block,
    }
    full = cast(TransactionRow, {**row, **{name: value for name, value in optional.items() if value is not None}})
    full["outbox"] = [transactions.event_of(full)]
    return full
