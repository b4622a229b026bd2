"""POST /tokens/consent - tell which MetaKeep transaction a user's approval became; checked before it counts."""

from typing import Annotated

from pydantic import StringConstraints

from getsmart.fields import Body, TransactionId, described
from getsmart.front import Request
from getsmart.replies import Reply, success
from getsmart.services import consent
from getsmart.web import endpoint


class ConsentBody(Body):
    """Which transfer, and the id that MetaKeep's SDK gave the browser."""

    transaction_id: TransactionId
    metakeep_transaction_id: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$"), described("3f0c2a52-7a55-4d35-8b51-5a5d3bb1a9f2")
    ]


@endpoint("POST", scope="tokens:transfer", takes=ConsentBody)
def main(request: Request[ConsentBody]) -> Reply:
    """200 with the transaction; 404 unknown; 409 the id is not this transfer's; 503 MetaKeep or the node is silent."""
    report = request.input
    return success(200, consent.report(request.caller, report.transaction_id, report.metakeep_transaction_id), "taken")
