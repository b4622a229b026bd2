"""Transfers that a person has to approve: what their browser says, what the chain shows, or the time runs out.

MetaKeep has no call that tells what became of a token. An id from a browser is therefore a candidate: it counts once
MetaKeep's status shows this very transfer under it, and a wrong one blocks nothing. Whatever nobody told us stands on
the chain: a row ends without effect only when the token is dead and the chain, read that far, has no Transfer that
could be its own. docs/adr/0006 has the reasons, also for what a denial is worth.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from pymongo.errors import DuplicateKeyError

from getsmart import chain, clock, config, log
from getsmart.chain import FoundTransfer
from getsmart.errors import InvalidState, ProviderUnavailable
from getsmart.machine import settle
from getsmart.machine.conclude import confirm, end_without_effect
from getsmart.machine.recovery import hold_back, lost_before, refuse_while_recovering
from getsmart.machine.wanted import expected
from getsmart.metakeep import client, protocol
from getsmart.metakeep.protocol import ProviderRefusal, ProviderStatus
from getsmart.models import AuditLine, TransactionRow, changed_by
from getsmart.stores import controls, transactions

MINING = timedelta(minutes=2)  # an approval at the last second has to be mined before the chain can show it
DENIED_MINING = timedelta(seconds=15)  # the same for one that another device gave just before the denial
_PATIENCE = timedelta(minutes=15)  # for a candidate that stays queued
_CALL_SECONDS = 8.0
_LOOK_AGAIN = timedelta(seconds=5)
_LOOK_SELDOM = timedelta(seconds=60)
_FIRST_LOOK = timedelta(seconds=2)
_MOST_CANDIDATES = 10

Verdict = Literal["shown", "open", "refuted"]


def offer(row: TransactionRow, metakeep_transaction_id: str, line: AuditLine | None = None) -> TransactionRow:
    """Take the id that a browser got: settled where MetaKeep shows this transfer, kept while it is still queued.

    `line` tells who offered it, where that was a caller.
    Raises InvalidState for an id that is not this transfer's, ProviderUnavailable when MetaKeep or the node is silent,
    Recovering.
    """
    if row.get("metakeep_transaction_id") == metakeep_transaction_id:
        return row
    if row["status"] != "awaiting_consent":
        raise InvalidState(f"{row['_id']} is {row['status']}")
    refuse_while_recovering()
    verdict, status = _examine(row, metakeep_transaction_id)
    if verdict == "shown" and status is not None:
        return _adopt(row, metakeep_transaction_id, status, line)
    if verdict == "refuted":
        raise InvalidState(f"{row['_id']}: the id offered is not this transfer's")
    return _remember(row, metakeep_transaction_id, line)


def deny(row: TransactionRow) -> TransactionRow:
    """Keep that the person refused; the row is cancelled once the chain shows that nobody approved it before."""
    if row["status"] != "awaiting_consent" or "consent_denied_at" in row:
        return row
    at = clock.now()
    return transactions.note(row, {"consent_denied_at": at, "due_at": at + DENIED_MINING}) or _current(row)


def look(row: TransactionRow) -> TransactionRow:
    """What the tick does with a row that is due: candidates first, then the chain, then the end of the time.

    Raises ProviderUnavailable when MetaKeep or the node is silent; the row is then unchanged.
    """
    still_open = []
    for candidate in row.get("consent_candidates", []):
        verdict, status = _examine(row, candidate)
        if verdict == "shown" and status is not None:
            return _adopt(row, candidate, status)
        if verdict == "open":
            still_open.append(candidate)
    if clock.now() < _searched_from(row):
        return _wait(row, _LOOK_AGAIN if still_open else _searched_from(row) - clock.now(), still_open)
    return _search(row, still_open)


def wait(row: TransactionRow) -> TransactionRow:
    """Look again in a while: somebody who has to be asked was silent."""
    return _wait(row, _LOOK_SELDOM, row.get("consent_candidates", []))


def _wait(row: TransactionRow, pause: timedelta, candidates: Sequence[str]) -> TransactionRow:
    changes: dict[str, Any] = {"due_at": clock.now() + pause}
    if list(candidates) != row.get("consent_candidates", []):
        changes["consent_candidates"] = list(candidates)
    return transactions.note(row, changes) or _current(row)


def _examine(row: TransactionRow, metakeep_transaction_id: str) -> tuple[Verdict, ProviderStatus | None]:
    """Whether MetaKeep shows this transfer under the id, may still come to show it, or never will."""
    if transactions.find_by_metakeep_id(metakeep_transaction_id) is not None:
        return "refuted", None
    try:
        request = protocol.get_status(metakeep_transaction_id)
        status = protocol.read_status(client.call(request, seconds=_CALL_SECONDS))
    except ProviderRefusal:
        return "refuted", None
    if status.state in ("queued", None):
        return "open", None
    is_shown = status.state == "completed" and expected(row) in status.transfers
    if not is_shown or status.tx_hash is None or transactions.is_claimed(status.tx_hash):
        return "refuted", None
    return _dated(row, status.tx_hash), status


def _dated(row: TransactionRow, tx_hash: str) -> Verdict:
    """An equal transfer from before this one was asked for is not this one; only the chain knows the order.

    Unless it was asked for before a restore, and is only asked for again: then it may stand before.
    """
    if not chain.is_configured() or "consent_from_block" not in row:
        return "shown"
    receipt = chain.receipt(tx_hash)
    if receipt is None:
        return "open"
    if receipt.block_number > row["consent_from_block"]:
        return "shown"
    lost = lost_before(controls.read_recovery(), row)
    return "shown" if any(one["tx_hash"] == tx_hash for one in lost) else "refuted"


def _adopt(
    row: TransactionRow, metakeep_transaction_id: str, status: ProviderStatus, line: AuditLine | None = None
) -> TransactionRow:
    """The id is this row's: submitted, and settled like any other. Raises InvalidState when another row was faster."""
    changes = {
        "metakeep_transaction_id": metakeep_transaction_id,
        "tx_hash": status.tx_hash,
        "explorer_url": status.explorer_url,
        "submitted_at": clock.now(),
        "due_at": clock.now(),
        **changed_by(row, line),
    }
    try:
        moved = transactions.move(row, "submitted", changes)
    except DuplicateKeyError:
        raise InvalidState("this id has just become another transaction's") from None
    if moved is None:
        return _current(row)
    try:
        return settle.refresh(moved)
    except ProviderUnavailable as error:
        log.failure("consent.settle_later", error, transaction_id=row["_id"])
        return moved


def _remember(row: TransactionRow, metakeep_transaction_id: str, line: AuditLine | None = None) -> TransactionRow:
    """Keep the id among the candidates; of too many the newest count, and the chain knows the truth of all."""
    known = row.get("consent_candidates", [])
    if metakeep_transaction_id in known:
        return row
    candidates = [*known, metakeep_transaction_id][-_MOST_CANDIDATES:]
    changes = {"consent_candidates": candidates, "due_at": clock.now() + _FIRST_LOOK, **changed_by(row, line)}
    noted = transactions.note(row, changes)
    return noted or _current(row)


def _searched_from(row: TransactionRow) -> datetime:
    """From when on the chain is asked: the token is dead, or its death was told a while ago."""
    denied_at = row.get("consent_denied_at")
    ends_at = row["consent_expires_at"]
    return ends_at if denied_at is None else min(ends_at, denied_at + DENIED_MINING)


def _over_at(row: TransactionRow, still_open: Sequence[str]) -> datetime:
    """From when on a chain without the Transfer is proof; a candidate that stays queued puts it off for a while."""
    expires_at, denied_at = row["consent_expires_at"], row.get("consent_denied_at")
    if still_open:
        return expires_at + _PATIENCE
    return expires_at + MINING if denied_at is None else min(expires_at + MINING, denied_at + DENIED_MINING)


def _search(row: TransactionRow, still_open: Sequence[str]) -> TransactionRow:
    """Settle by the chain, or end without effect, or go on waiting."""
    at, over_at = clock.now(), _over_at(row, still_open)
    if not chain.is_configured() or "consent_from_block" not in row:
        return _without_node(row, still_open)
    head = chain.head()
    unclaimed = _unclaimed(row, head)
    if unclaimed:
        return _settle(row, unclaimed, head, still_open)
    if at < over_at or not _was_read(head, over_at):
        return _wait(row, _LOOK_AGAIN, still_open)
    lost = lost_before(controls.read_recovery(), row)
    if lost:
        hold_back(row, lost)  # what a restore took away may be this very transfer: a person has to say
        return _wait(row, _LOOK_SELDOM, still_open)
    return _end(row)


def _without_node(row: TransactionRow, still_open: Sequence[str]) -> TransactionRow:
    """Nobody can show that nothing happened: only a denial ends the row, once its token is dead anyway."""
    if "consent_denied_at" in row and clock.now() >= row["consent_expires_at"] + _PATIENCE:
        return _end(row)
    log.event("consent.undecided", level="warning", transaction_id=row["_id"])
    return _wait(row, _LOOK_SELDOM, still_open)


def _was_read(head: int, moment: datetime) -> bool:
    """Whether the chain has passed this moment at the depth that counts; at depth 0 blocks come on demand only."""
    depth = config.read(config.ChainSettings).confirmation_depth
    return depth == 0 or chain.block_time(max(head - depth, 0)) >= moment


def _unclaimed(row: TransactionRow, head: int) -> list[FoundTransfer]:
    """Transfers since this row was made that could be its own and are no other row's, the oldest first."""
    wanted = expected(row)
    found = chain.find_transfers(wanted.contract, wanted.sender, wanted.recipient, row["consent_from_block"] + 1, head)
    return [one for one in found if one.amount == wanted.amount and not transactions.is_claimed(one.tx_hash)]


def _settle(
    row: TransactionRow, unclaimed: Sequence[FoundTransfer], head: int, still_open: Sequence[str]
) -> TransactionRow:
    """Give the row its Transfer: equal rows are served in their order, once none of them can speak for itself."""
    rivals = _rivals(row, unclaimed[0].block_number)
    place = sum(other["created_at"] < row["created_at"] for other in rivals)
    may_speak = any(clock.now() < _speaks_until(other) for other in rivals)
    if may_speak or place >= len(unclaimed):
        # What there is may belong to others; once they have it, this row ends like one without.
        return _wait(row, _LOOK_AGAIN, still_open)
    found = unclaimed[place]
    if head - found.block_number < config.read(config.ChainSettings).confirmation_depth:
        return _wait(row, _LOOK_AGAIN, still_open)
    evidence = {
        "tx_hash": found.tx_hash,
        "block_number": found.block_number,
        "settlement": {"tx_hash": found.tx_hash, "log_index": found.log_index},
    }
    try:
        return confirm(row, evidence, None) or _current(row)
    except DuplicateKeyError:
        return _wait(row, _LOOK_AGAIN, still_open)  # claimed by another row since it was looked up


def _speaks_until(row: TransactionRow) -> datetime:
    """Until when a row may still come to its own Transfer by an id: longer where one was reported that is queued."""
    return row["consent_expires_at"] + (_PATIENCE if row.get("consent_candidates") else MINING)


def _rivals(row: TransactionRow, block_number: int) -> list[TransactionRow]:
    """The other waiting rows that a Transfer in this block could be of: same parties, same amount."""
    wanted = expected(row)
    return [
        other
        for other in transactions.find_awaiting(row["origin"]["account"])
        if other["_id"] != row["_id"]
        and expected(other) == wanted
        and other.get("consent_from_block", -1) < block_number
    ]


def _end(row: TransactionRow) -> TransactionRow:
    if "consent_denied_at" in row:
        failure = {"code": "consent_denied", "message": "The wallet's owner refused this transfer."}
        return end_without_effect(row, "cancelled", failure) or _current(row)
    failure = {"code": "consent_expired", "message": "The wallet's owner did not approve this transfer in time."}
    return end_without_effect(row, "expired", failure) or _current(row)


def _current(row: TransactionRow) -> TransactionRow:
    return transactions.find(row["_id"], None) or row
