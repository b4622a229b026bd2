"""Queued transactions leave for MetaKeep: the same request, key and bytes, however often it takes.

A row is marked in flight before the first byte leaves. Whoever finds that mark knows that an effect may exist: only a
row without any such doubt may fail on a refusal. After 15 minutes nothing is sent again, as MetaKeep documents no
horizon for its idempotency keys.
"""

import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pymongo.errors import DuplicateKeyError

from getsmart import clock, log
from getsmart.errors import DeadlineExceeded, Internal, Misconfigured
from getsmart.machine.conclude import end_without_effect
from getsmart.metakeep import client, protocol
from getsmart.metakeep.protocol import ProviderOutage, ProviderRefusal, ProviderRequest
from getsmart.models import Status, TransactionRow, needs_consent
from getsmart.mongo import to_units
from getsmart.stores import controls, reserves, transactions, wallets

HORIZON = timedelta(minutes=15)
FIRST_POLL = timedelta(seconds=2)
CONSENT_LIFE = timedelta(minutes=10)
_AGAIN = timedelta(seconds=60)  # until an unknown row without an id is asked about
CALL_SECONDS = 12.0  # below the claim's lease, so that no twin takes over a call that still runs
_LONGEST_PAUSE_SECONDS = 60.0
_SURELY_LATE = timedelta(seconds=reserves.ACT_SECONDS) + reserves.MOST_SKEW


def send_new(row: TransactionRow, begun: clock.Begun) -> TransactionRow:
    """Send a row that this very call has just written down, unless a person whom it names was erased meanwhile."""
    return send(row, begun) if _names_somebody(row) else _end_nameless(row)


def send(row: TransactionRow, begun: clock.Begun) -> TransactionRow:
    """Send a queued row that is already marked in flight, and conclude: submitted, failed, unknown, or queued still.

    `begun` is from before the mark: who freezes after it, for however long, sends nothing when they wake. Returns the
    row as it stands now, also when somebody else moved it meanwhile.
    """
    if "is_held_back" in row:
        return _hold_back(row)
    request = _request(row)
    try:
        signer = row["request"]["signer"]
        if signer not in client.signers():
            # The mark is this call's own, and nothing of this call has left.
            return _give_up({**row, "is_in_flight": False}, "the request was signed by another API key")
        answer = protocol.read_submission(client.call(request, seconds=CALL_SECONDS, signer=signer, begun=begun))
    except ProviderRefusal as refusal:
        return _refused(row, refusal)
    except ProviderOutage as outage:
        return _put_off(row, outage, is_ambiguous=outage.is_ambiguous)
    except (Misconfigured, DeadlineExceeded) as error:
        return _put_off(row, error, is_ambiguous=False)
    return _asked(row, answer) if isinstance(answer, protocol.ConsentNeeded) else _submitted(row, answer)


def resend(row: TransactionRow, recovery: Mapping[str, Any] | None = None) -> TransactionRow:
    """Send a queued row whose last call died or was put off; within the horizon, and marked first.

    The mark takes the lease, or renews it: of a caller's retry and the tick one gets it, by the row's version, and the
    other waits for that one's call. `recovery` is what is known of the last restore, which may have taken the mark of a
    row away.
    """
    begun, started = clock.begin(), row.get("send_started_at")
    row = _backed(row)  # first of all: however it ends, what it does not hold must not be given back
    if "is_held_back" in row or (recovery and recovery.get("is_overshadowed") and _has_left(row, recovery)):
        return _hold_back(row)
    if started is not None and clock.now() - started > HORIZON:
        return _give_up(row, "the horizon for sending again has passed")
    if not row.get("is_backed") and "batch_id" not in row and not _names_somebody(row):
        return _end_nameless(row)
    if "is_void" in row["hold"]:
        return _give_up(row, "what it held was given away")
    lease_until = clock.now() + timedelta(seconds=transactions.LEASE_SECONDS)
    marked = transactions.note(
        row,
        {
            "send_started_at": started or clock.now(),
            "is_ambiguous": row["is_ambiguous"] or row["is_in_flight"],
            "is_in_flight": True,
            "is_backed": True,
            "lease_until": lease_until,
            "due_at": lease_until,
        },
    )
    return send(marked, begun) if marked else _current(row)


def _backed(row: TransactionRow) -> TransactionRow:
    """The row with what it holds set aside for it, or void: its claim may have frozen and come after a repair.

    Then it is set aside once more: at worst too much is, which the next repair finds. A row that anybody concluded
    about, and a batch's, which takes over what its batch held, are beyond doubt. Of one that surely came late nothing
    has left, whatever its mark says: its claimer would have come by here first.
    """
    if row.get("is_backed") or "batch_id" in row or _came_in_time(row):
        return row
    if _came_late(row):
        row = {**row, "is_in_flight": False}
    name = row["hold"]["name"]
    if not reserves.was_repaired_since(name, row["created_at"]) or reserves.take(name, to_units(row["amount"])):
        return row
    return {**row, "hold": {**row["hold"], "is_void": True}}


def _came_in_time(row: TransactionRow) -> bool:
    """Whether the claim was surely written before any repair could take its reserve for a leak.

    A repair comes QUIET after the taking at the soonest (machine/repair.py), by clocks that may differ; so does the
    server's from the claimer's. False also where nobody can say: rows of before `inserted_at`, or clocks that differ by
    more than is assumed.
    """
    if "inserted_at" not in row:
        return False
    late = row["inserted_at"] - row["begun_at"]
    return -reserves.MOST_SKEW <= late < _SURELY_LATE


def _came_late(row: TransactionRow) -> bool:
    """Whether its claimer has surely found itself late after the insert, and so sent nothing without `is_backed`."""
    return "inserted_at" in row and row["inserted_at"] - row["begun_at"] >= _SURELY_LATE


def _names_somebody(row: TransactionRow) -> bool:
    """Whether the persons whom the row names to MetaKeep are still there; from now on none of them can be erased.

    Asked once the row is written, and before anything of it leaves: of an order and an erasure at the same moment one
    sees the other (docs/adr/0080).
    """
    named = sorted({side["wallet_id"] for side in (row["origin"], row["target"]) if "wallet_id" in side})
    return not named or wallets.hold(named) or "is_held_back" in row


def _end_nameless(row: TransactionRow) -> TransactionRow:
    """Nothing of it has left: whoever asked before found the same, and sent nothing."""
    failure = {"code": "wallet_erased", "message": "The wallet's owner was erased before the transaction was sent."}
    return end_without_effect(row, "failed", failure) or _current(row)


def _has_left(row: TransactionRow, known: Mapping[str, Any]) -> bool:
    """Whether it may have been sent before a restore, so long ago that MetaKeep may have forgotten its answer."""
    from getsmart.machine import recovery  # only after a restore

    return recovery.is_too_late(known, recovery.may_have_left(known, row))


def _hold_back(row: TransactionRow) -> TransactionRow:
    from getsmart.machine import recovery  # only after a restore

    return recovery.hold_back(row, recovery.lost_before(controls.read_recovery(), row))


def ask_again(row: TransactionRow) -> TransactionRow:
    """The identical request once more for an unknown row that MetaKeep gave no id, as long as that is safe.

    A row that was sent may only have been answered: MetaKeep repeats its first answer, which has the id. Whatever else
    comes of it proves nothing. Later the chain alone can tell: machine/reconcile.py.
    """
    begun, started = clock.begin(), row.get("send_started_at", row["created_at"])
    if begun.at - started > HORIZON or row["request"]["body"] is None or "is_held_back" in row:
        return transactions.note(row, {}, gone=("due_at",)) or _current(row)
    noted = transactions.note(row, {"due_at": begun.at + _AGAIN, "attempts": row["attempts"] + 1})
    signer = row["request"]["signer"]
    if noted is None or signer not in client.signers():
        return noted or _current(row)
    try:
        told = client.call(_request(noted), seconds=CALL_SECONDS, signer=signer, begun=begun)
        answer = protocol.read_submission(told)
    except (ProviderRefusal, ProviderOutage, Misconfigured, DeadlineExceeded) as error:
        log.failure("transaction.asked_again", error, transaction_id=row["_id"])
        return noted
    return noted if isinstance(answer, protocol.ConsentNeeded) else _submitted(noted, answer)


def _request(row: TransactionRow) -> ProviderRequest:
    stored = row["request"]
    return ProviderRequest(stored["path"], (stored["body"] or "").encode(), stored["idempotency_key"])


def _submitted(row: TransactionRow, submitted: protocol.Submitted) -> TransactionRow:
    """Keep MetaKeep's id; also when a twin marked the row or gave it up meanwhile, for it was given the same id."""
    at = clock.now()
    changes: dict[str, Any] = {
        "metakeep_transaction_id": submitted.metakeep_transaction_id,
        "tx_hash": submitted.tx_hash,
        "explorer_url": submitted.explorer_url,
        "submitted_at": at,
        "is_in_flight": False,
        "attempts": row["attempts"] + 1,
        "due_at": at + FIRST_POLL,
    }
    try:
        return _keep(row, "submitted", changes, ("queued", "unknown"))
    except DuplicateKeyError:
        return _repeated(row, submitted.metakeep_transaction_id)


def _repeated(row: TransactionRow, metakeep_transaction_id: str) -> TransactionRow:
    """MetaKeep repeated its answer to an ended claim of the same badge, which was counted too late (docs/adr/0099).

    Nothing came of that one, so nothing does of this: it ends as that did, and the next claim has another key. Raises
    Internal where the id is that of a row which it cannot be.
    """
    other = transactions.find_by_metakeep_id(metakeep_transaction_id)
    key = row["request"]["idempotency_key"]
    if other is None or other["request"]["idempotency_key"] != key or other["status"] not in ("failed", "cancelled"):
        raise Internal(f"{row['_id']}: MetaKeep gave it the id of another transaction")
    return end_without_effect(row, other["status"], other.get("failure")) or _current(row)


def _asked(row: TransactionRow, consent: protocol.ConsentNeeded) -> TransactionRow:
    """Keep the token while it lives: ten minutes at most from now, as it was made before this answer.

    A row that was given up meanwhile stays unknown: nobody was ever given this token.
    """
    if not needs_consent(row):
        surprise = protocol.ProviderOutage("MetaKeep asked for a consent that is nobody's to give", is_ambiguous=True)
        return _put_off(row, surprise, is_ambiguous=True)
    expires_at = clock.now() + CONSENT_LIFE
    changes: dict[str, Any] = {
        "consent_token": consent.token,
        "consent_expires_at": expires_at,
        "is_in_flight": False,
        "attempts": row["attempts"] + 1,
        "due_at": expires_at,
    }
    return _keep(row, "awaiting_consent", changes, ("queued",))


def _keep(row: TransactionRow, status: Status, changes: dict[str, Any], movable: tuple[Status, ...]) -> TransactionRow:
    """Move the row; where a twin was at it meanwhile, what it left: MetaKeep told both the same."""
    moved = transactions.move(row, status, changes)
    if moved is not None:
        return moved
    current = _current(row)
    if current["status"] in movable and "metakeep_transaction_id" not in current:
        return transactions.move(current, status, changes) or _current(row)
    return current


def _refused(row: TransactionRow, refusal: ProviderRefusal) -> TransactionRow:
    log.failure("transaction.refused", refusal, transaction_id=row["_id"])
    if refusal.is_ambiguous or row["is_ambiguous"]:
        return _give_up(row, "refused after a try that may have taken effect")
    failure = {"code": refusal.code, "message": refusal.safe_message}
    return end_without_effect(row, "failed", failure) or _current(row)


def _put_off(row: TransactionRow, error: Exception, *, is_ambiguous: bool) -> TransactionRow:
    log.failure("transaction.put_off", error, transaction_id=row["_id"], attempt=row["attempts"] + 1)
    asked = error.wait_seconds if isinstance(error, ProviderOutage) else 0.0
    backoff = max(2.0 ** row["attempts"], asked)
    pause = min(backoff, _LONGEST_PAUSE_SECONDS) * random.uniform(1.0, 1.25)  # noqa: S311 (jitter)
    changes = {
        "attempts": row["attempts"] + 1,
        "is_in_flight": False,
        "is_backed": True,
        "is_ambiguous": row["is_ambiguous"] or is_ambiguous,
        "due_at": clock.now() + timedelta(seconds=pause),
        "lease_until": clock.now(),
    }
    return transactions.note(row, changes, is_conclusion=True) or _current(row)


def _give_up(row: TransactionRow, why: str) -> TransactionRow:
    """No more sending: failed where no try can have had an effect, else unknown until evidence is found."""
    log.event("transaction.gave_up", level="error", transaction_id=row["_id"], why=why)
    if not row["is_ambiguous"] and not row["is_in_flight"]:
        failure = {"code": "provider_unavailable", "message": "The wallet provider could not be reached in time."}
        return end_without_effect(row, "failed", failure) or _current(row)
    changes: dict[str, Any] = {"is_in_flight": False, "is_ambiguous": True, "hold": row["hold"]}
    if clock.now() - row.get("send_started_at", row["created_at"]) <= HORIZON:
        changes["due_at"] = clock.now() + _AGAIN
    return transactions.move(row, "unknown", changes) or _current(row)


def _current(row: TransactionRow) -> TransactionRow:
    return transactions.find(row["_id"], None) or row
