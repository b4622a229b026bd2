"""The id that a front end got when its user approved a transfer: untrusted, and checked before it counts."""

from typing import Any

from getsmart import clock, objects
from getsmart.errors import InvalidState, NotFound
from getsmart.machine import told
from getsmart.machine.consent import offer
from getsmart.models import Caller, needs_consent
from getsmart.stores import transactions


def report(caller: Caller, transaction_id: str, metakeep_transaction_id: str) -> dict[str, Any]:
    """The transaction as it stands then: confirmed, submitted, or still awaiting while MetaKeep has the id queued.

    Raises NotFound, InvalidState for an id that is not this transfer's, ProviderUnavailable.
    """
    row = transactions.find(transaction_id, None if caller.is_admin else caller.client_id)
    if row is None:
        raise NotFound(f"transaction {transaction_id}")
    if not needs_consent(row):
        raise InvalidState(f"{transaction_id} needs nobody's consent")
    line = caller.audit("consent", clock.now())
    row = offer(row, metakeep_transaction_id, line)
    told.first_attempts(row["client_id"])
    return objects.own_transaction(row, caller.client_id)
