"""After a restore the books may lag behind the chain, and an order that is new to them may have been carried out.

Until reconciliation has reached the head no money moves, nor while a person has the brake on (docs/adr/0093).
Afterwards a repeated call makes its transaction again, and MetaKeep repeats what it answered the first time: but nobody
knows for how long. docs/adr/0047 has the argument.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from getsmart import clock
from getsmart.errors import Recovering
from getsmart.models import TransactionRow
from getsmart.mongo import to_units
from getsmart.stores import controls

if TYPE_CHECKING:
    from getsmart.breaks import BreakRow, SightingRow

SHADOW = timedelta(hours=1)  # what was sent before a restore is mined within this time of it
_CLOCKS = timedelta(minutes=15)  # how far the chain's may be behind ours


def refuse_while_recovering() -> dict[str, Any]:
    """Raise Recovering while no money may move; else what is known about the last restore, `{}` for none."""
    recovery = controls.read_recovery()
    refuse(recovery)
    return recovery


def refuse(recovery: Mapping[str, Any]) -> None:
    """Raise Recovering where what was read says that a restore is not reconciled, or that a person stopped money."""
    if controls.stands_still(recovery):
        raise Recovering("a restore has not been reconciled yet, or money was stopped by hand")


def lost_before(recovery: Mapping[str, Any], row: TransactionRow) -> "list[BreakRow]":
    """Transfers that a restore may have taken away and that no transaction has, which this row would cause once more.

    Two reads, for an hour after a restore and for as long as it has left such Transfers. What was lost may have been
    queued at MetaKeep, and is mined within that hour; one that is not judged yet counts where it was mined before the
    restore, as what came after may be another new order's.
    """
    if not recovery.get("is_overshadowed"):
        return []
    from getsmart.machine.wanted import expected  # only now: a claim in quiet times does without
    from getsmart.stores import breaks

    wanted, restored_at = expected(row), recovery["restored_at"]
    sides = (wanted.sender, wanted.recipient, str(wanted.amount))
    missing = breaks.find_equal(*sides, _first_mined(recovery))
    found = [one for one in missing if one["mined_at"] <= restored_at + SHADOW]
    seen = [one for one in breaks.find_equal_sightings(*sides) if one["mined_at"] <= restored_at]
    return [*found, *map(_as_break, seen)]


def _first_mined(recovery: Mapping[str, Any]) -> datetime:
    """What was lost was sent after the moment of the backup, and mined after that; any time, where it is not known."""
    lost_since: datetime | None = recovery.get("lost_since")
    return datetime.fromtimestamp(0, UTC) if lost_since is None else lost_since - _CLOCKS


def _as_break(seen: "SightingRow") -> "BreakRow":
    """What is asked about a Transfer of the past, of one that has no break yet."""
    sides = {"sender": seen["sender"], "recipient": seen["recipient"], "amount": seen["amount"]}
    told = {"tx_hash": seen["tx_hash"], "mined_at": seen["mined_at"], "found": sides, "standing": []}
    return cast("BreakRow", told)


def is_too_late(recovery: Mapping[str, Any], lost: "list[BreakRow]") -> bool:
    """Whether MetaKeep may have forgotten its first answer: to ask again could then have a second effect.

    Nobody knows when a lost call was sent, only that it was after the moment that the backup shows: when that is not
    known either, it may be too late.
    """
    from getsmart.machine.matching import HORIZON

    lost_since = recovery.get("lost_since")
    return bool(lost) and (lost_since is None or clock.now() - lost_since > HORIZON)


def may_have_left(recovery: Mapping[str, Any], row: TransactionRow) -> "list[BreakRow]":
    """Transfers that this row may have caused although it is not marked as sent: the mark may have been lost."""
    if "send_started_at" in row or not recovery.get("is_overshadowed") or row["created_at"] > recovery["restored_at"]:
        return []
    return lost_before(recovery, row)


def lift_shadow(recovery: Mapping[str, Any]) -> None:
    """End the time in which repeated calls are looked at, once all that was lost must have been mined and is explained.

    Never before the chain was read to the depth.
    """
    from getsmart.stores import breaks

    if recovery.get("is_recovering") or not recovery.get("is_overshadowed"):
        return
    last = recovery["restored_at"] + SHADOW
    if clock.now() > last and not breaks.is_any_missing(_first_mined(recovery), last):
        controls.end_shadow(recovery["restored_at"])


def hold_back(row: TransactionRow, lost: "list[BreakRow]") -> TransactionRow:
    """Do not send what may have been done before a restore: a person decides, by `./doit resolve`.

    The break that asks for it is raised first, so that none is missing where the process dies in between.
    """
    from getsmart.machine.discrepancies import open_break
    from getsmart.stores import transactions

    facts: dict[str, Any] = {"transaction_id": row["_id"], "candidates": [row["_id"]]}
    if lost:
        facts |= {"tx_hash": lost[0]["tx_hash"], "found": lost[0]["found"]}
    open_break("ambiguous", f"ambiguous:{row['_id']}", str(to_units(row["amount"])), facts, due=None)
    if row["status"] != "queued":
        return row
    moved = transactions.move(row, "unknown", {"is_in_flight": False, "is_ambiguous": True, "hold": row["hold"]})
    return moved or transactions.find(row["_id"], None) or row
