"""After a restore the books may lag behind the chain, and an order that is new to them may have been carried out.

Until reconciliation has reached the head no money moves, nor while a person has the brake on (docs/adr/0093).
Afterwards a repeated call makes its transaction again, and MetaKeep repeats what it answered the first time: but nobody
knows for how long. docs/adr/0047 has the argument.
"""

from typing import TYPE_CHECKING, Any

from getsmart import clock
from getsmart.errors import Recovering
from getsmart.models import TransactionRow
from getsmart.mongo import to_units
from getsmart.stores import controls

if TYPE_CHECKING:
    from getsmart.breaks import BreakRow


def refuse_while_recovering() -> dict[str, Any]:
    """Raise Recovering while no money may move; else what is known about the last restore, `{}` for none."""
    recovery = controls.read_recovery()
    refuse(recovery)
    return recovery


def refuse(recovery: dict[str, Any]) -> None:
    """Raise Recovering where what was read says that a restore is not reconciled, or that a person stopped money."""
    if controls.stands_still(recovery):
        raise Recovering("a restore has not been reconciled yet, or money was stopped by hand")


def lost_before(recovery: dict[str, Any], row: TransactionRow) -> "list[BreakRow]":
    """Transfers from before the last restore that no transaction has, and that this row would cause once more.

    One read, and only while a restore has left such Transfers at all.
    """
    if not recovery.get("is_overshadowed"):
        return []
    from getsmart.machine.settle import expected  # only now: a claim in quiet times does without
    from getsmart.stores import breaks

    wanted = expected(row)
    found = breaks.find_equal(wanted.sender, wanted.recipient, str(wanted.amount))
    return [one for one in found if one["mined_at"] <= recovery["restored_at"]]


def is_too_late(lost: "list[BreakRow]") -> bool:
    """Whether MetaKeep may have forgotten its first answer: to ask again could then have a second effect."""
    from getsmart.machine.matching import HORIZON

    return any(clock.now() - one["mined_at"] > HORIZON for one in lost)


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
    moved = transactions.move(row, "unknown", {"is_in_flight": False, "is_ambiguous": True})
    return moved or transactions.find(row["_id"], None) or row
