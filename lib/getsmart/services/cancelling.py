"""Cancel a transaction while nothing of it was sent."""

from typing import Any

from getsmart import clock, objects
from getsmart.errors import ForbiddenScope, InvalidState, NotFound
from getsmart.machine.conclude import cancel_unsent
from getsmart.models import Caller, TransactionRow, needs_consent
from getsmart.stores import transactions

_SCOPES = {"mint": "tokens:mint", "burn": "tokens:burn"}


def cancel(caller: Caller, transaction_id: str) -> dict[str, Any]:
    """The cancelled transaction, its hold returned; cancelling it again changes nothing.

    Raises NotFound, ForbiddenScope unless the key could have made it, InvalidState when it was sent, may have been sent
    before a restore, or is final, and Recovering until a restore is reconciled.
    """
    row = transactions.find(transaction_id, None if caller.is_admin else caller.client_id)
    if row is None:
        raise NotFound(f"transaction {transaction_id}")
    if not caller.may(_scope(row)):
        raise ForbiddenScope(f"{caller.key_id} lacks {_scope(row)}")
    if row["status"] != "cancelled":
        from getsmart.machine import told  # reading a transaction, by the same door, does without

        _refuse_what_may_have_left(row)
        row = cancel_unsent(row, caller.audit("cancel", clock.now()))
        told.first_attempts(row["client_id"])
    if row["status"] != "cancelled":
        raise InvalidState(f"{transaction_id} is {row['status']}, or on its way")
    return objects.own_transaction(row, caller.client_id)


def _refuse_what_may_have_left(row: TransactionRow) -> None:
    """A restore takes the mark of a sending away: what the chain may have is not cancelled (docs/adr/0100)."""
    from getsmart.machine import recovery

    if row["status"] == "queued":
        known = recovery.refuse_while_recovering()
        if "is_held_back" in row or recovery.may_have_left(known, row):
            raise InvalidState(f"{row['_id']} may have been sent before a restore")


def _scope(row: TransactionRow) -> str:
    """What it takes to make such a transaction."""
    return _SCOPES.get(row["kind"]) or ("tokens:transfer" if needs_consent(row) else "treasury:transfer")
