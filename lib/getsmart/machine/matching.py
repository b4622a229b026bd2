"""Which Transfer of the chain is whose: the rules of reconciliation, without database or node.

A transaction of the chain whose hash a row knows is that row's. Without a hash a Transfer is given to a row only when
one row alone could have caused it and one Transfer alone could be its own; everything else is for a person to decide.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from getsmart.breaks import Leg
from getsmart.chain import ChainTransfer
from getsmart.metakeep.protocol import Transfer
from getsmart.models import BURNED, EXTERNAL, ISSUANCE, TransactionRow

HORIZON = timedelta(minutes=15)  # nothing is sent again later: machine/send.py
PATIENCE = timedelta(hours=1)  # a Transfer waits no longer for a row that may still name it
_CLOCKS = timedelta(minutes=2)  # how far the clocks of chain and database may differ
_MINED_WITHIN = timedelta(hours=1)  # of a send, for a row without a hash


class Known(NamedTuple):
    """A row, and the Transfer that it has to cause."""

    row: TransactionRow
    wanted: Transfer


class Clash(NamedTuple):
    """A row's transaction of the chain did something else than the row says; without a log, nothing at all."""

    row: TransactionRow
    log: ChainTransfer
    type: Literal["amount_mismatch", "party_mismatch"]


class ByHash(NamedTuple):
    """What hashes tell: whose logs are whose, which contradict their rows, which cannot be told apart, and the rest."""

    pairs: list[tuple[TransactionRow, ChainTransfer]]
    clashes: list[Clash]
    twins: list[tuple[TransactionRow, list[ChainTransfer]]]
    rest: list[ChainTransfer]


def by_hash(logs: Sequence[ChainTransfer], known: Sequence[Known]) -> ByHash:
    """Match logs with the rows that know their transaction's hash; all of one transaction have to be among `logs`."""
    found = ByHash([], [], [], [])
    rows: dict[str, list[Known]] = {}
    for one in known:
        rows.setdefault(one.row["tx_hash"], []).append(one)
    of_transaction: dict[str, list[ChainTransfer]] = {}
    for log in logs:
        of_transaction.setdefault(log.tx_hash, []).append(log)
    for tx_hash, its_logs in of_transaction.items():
        found.rest.extend(_share(its_logs, rows.get(tx_hash, []), found))
    return found


def _share(logs: list[ChainTransfer], known: Sequence[Known], found: ByHash) -> list[ChainTransfer]:
    """Give the logs of one transaction to its rows; what nobody wants is returned."""
    left = list(logs)
    unserved: list[Known] = []
    for one in sorted(known, key=lambda each: _pinned(each.row) is None):
        exact = [log for log in left if fits(log, one.wanted)]
        own = [log for log in exact if log.log_index == _pinned(one.row)] or exact
        if len(own) == 1:
            left.remove(own[0])
            found.pairs.append((one.row, own[0]))
        elif own:
            left = [log for log in left if log not in own]
            found.twins.append((one.row, own))
        else:
            unserved.append(one)
    for one in unserved:
        if left:
            log = _nearest(left, one.wanted)
            left.remove(log)
            is_same_pair = (log.sender, log.recipient) == (one.wanted.sender, one.wanted.recipient)
            found.clashes.append(Clash(one.row, log, "amount_mismatch" if is_same_pair else "party_mismatch"))
    return left


def _pinned(row: TransactionRow) -> int | None:
    """The log index that has settled the row, where it is known."""
    index: int | None = row.get("settlement", {}).get("log_index")
    return index


def _nearest(logs: Sequence[ChainTransfer], wanted: Transfer) -> ChainTransfer:
    def distance(log: ChainTransfer) -> int:
        return (log.sender != wanted.sender) + (log.recipient != wanted.recipient)

    return min(logs, key=distance)


def fits(log: ChainTransfer, wanted: Transfer) -> bool:
    """Whether the log is the Transfer that is wanted; the contract is the same for all."""
    return (log.sender, log.recipient, log.amount) == (wanted.sender, wanted.recipient, wanted.amount)


class Moments(NamedTuple):
    """When a Transfer was mined and first seen, what time it is, and when the database was last restored, if ever.

    `is_all_read` says whether the chain has been read up to the depth: else another such Transfer may stand further on.
    `lost_since` is the moment that the restored backup shows, where that is known.
    """

    mined_at: datetime
    seen_at: datetime
    now: datetime
    restored_at: datetime | None = None
    is_all_read: bool = True
    lost_since: datetime | None = None


class Verdict(NamedTuple):
    """What is to be done with a Transfer in no row's name; `rows` are those it could be of."""

    action: Literal["missing", "wait", "settle", "ambiguous"]
    rows: tuple[TransactionRow, ...] = ()


def without_hash(at: Moments, equal_logs: int, rivals: Sequence[TransactionRow]) -> Verdict:
    """Judge a Transfer that no row knows by its hash.

    `rivals` are the open rows between the same parties with the same amount; `equal_logs` counts the Transfers of that
    kind that nobody claims, this one included.
    """
    possible = tuple(row for row in rivals if could_be(row, at))
    if not possible:
        return Verdict("missing")
    if any(may_speak(row, at) for row in possible):
        return Verdict("wait" if at.now - at.seen_at < PATIENCE else "ambiguous", possible)
    if len(possible) > 1 or equal_logs > 1:
        return Verdict("ambiguous", possible)
    return Verdict("settle" if at.is_all_read else "wait", possible)


def could_be(row: TransactionRow, at: Moments) -> bool:
    """Whether the Transfer was mined when this row's may have been: after it was made, within an hour of a send.

    A row that was never sent caused nothing, unless its sending was lost in a restore: before that moment, then.
    """
    if is_newer(row, at.mined_at):
        return False
    started = row.get("send_started_at")
    if started is not None:
        return at.mined_at <= started + _MINED_WITHIN
    restored_at = at.restored_at
    return restored_at is not None and row["created_at"] <= restored_at and at.mined_at <= restored_at + _MINED_WITHIN


def is_newer(row: TransactionRow, mined_at: datetime) -> bool:
    """Whether the row was made after that: it is not the cause of what was mined then."""
    return mined_at < row["created_at"] - _CLOCKS


def may_speak(row: TransactionRow, at: Moments) -> bool:
    """Whether the row may still come to name its own transaction of the chain.

    One that MetaKeep knows is polled, one that a person is asked about has its own rules (docs/adr/0006), one that was
    sent a short while ago is sent again. So is one whose sending was lost in a restore, as long as MetaKeep is sure to
    repeat its answer: for the horizon from the backup's moment, as it was sent after that.
    """
    if "metakeep_transaction_id" in row or row["status"] == "awaiting_consent":
        return True
    started = row.get("send_started_at", at.lost_since)
    return started is not None and at.now - started <= HORIZON


def legs(origin: str, target: str, units: int) -> list[Leg]:
    """How a Transfer in nobody's name is booked: through `external`, so that it is seen there.

    Nothing moves in our books between outside addresses, from an account to itself, or for an amount of 0.
    """
    if units == 0 or origin == target:
        return []
    if EXTERNAL in (origin, target):
        return [Leg(origin, target)]
    return [Leg(origin, EXTERNAL), Leg(EXTERNAL, target)]


def account_of(address: str, *, treasury: str, is_recipient: bool, wallets: dict[str, str]) -> str:
    """The ledger account that an address of the chain stands for; `wallets` has our wallets by address."""
    if address == "0x" + "0" * 40:
        return BURNED if is_recipient else ISSUANCE
    return "treasury" if address == treasury else wallets.get(address, EXTERNAL)
