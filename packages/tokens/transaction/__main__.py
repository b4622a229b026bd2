"""GET /tokens/transaction - one transaction and how it came to its state."""

from getsmart.fields import Query, TransactionId
from getsmart.replies import Reply, success
from getsmart.services import views
from getsmart.web import Request, endpoint


class TransactionQuery(Query):
    """Which transaction."""

    transaction_id: TransactionId


@endpoint("GET", scope="tokens:read", takes=TransactionQuery)
def main(request: Request[TransactionQuery]) -> Reply:
    """200 with the transaction; 404 unknown, or another client's."""
    return success(200, views.transaction(request.caller, request.input.transaction_id), "transaction")
