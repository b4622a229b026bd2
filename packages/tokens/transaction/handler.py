"""GET, POST /tokens/transaction - one transaction and how it came to its state; or cancel it before it is sent."""

from typing import Literal

from getsmart.fields import Body, Query, TransactionId
from getsmart.front import Request
from getsmart.replies import Reply, success
from getsmart.services import cancelling, views
from getsmart.web import endpoint, resource


class TransactionQuery(Query):
    """Which transaction."""

    transaction_id: TransactionId


class TransactionAction(Body):
    """Which transaction, and what is to be done with it."""

    transaction_id: TransactionId
    action: Literal["cancel"]


@endpoint("GET", scope="tokens:read", takes=TransactionQuery)
def read(request: Request[TransactionQuery]) -> Reply:
    """200 with the transaction; 404 unknown, or another client's."""
    return success(200, views.transaction(request.caller, request.input.transaction_id), "transaction")


@endpoint(
    "POST",
    scope="tokens:mint",
    also=("tokens:transfer", "treasury:transfer", "tokens:burn"),
    takes=TransactionAction,
)
def cancel(request: Request[TransactionAction]) -> Reply:
    """200 cancelled; 403 the scope it was made with; 404 unknown; 409 it was sent or is final."""
    return success(200, cancelling.cancel(request.caller, request.input.transaction_id), "cancelled")


main = resource(read, cancel)
