"""POST /wallets/create - the wallet of a person, made on first use and linked to the calling client."""

from getsmart.fields import Body, Email, Label, Metadata
from getsmart.front import Request
from getsmart.replies import Reply, success
from getsmart.services import wallets
from getsmart.web import endpoint


class Owner(Body):
    """The person a wallet belongs to."""

    email: Email


class CreateBody(Body):
    """Whose wallet, and what the client wants to remember of it."""

    owner: Owner
    label: Label | None = None
    metadata: Metadata | None = None


@endpoint("POST", scope="wallets:write", takes=CreateBody)
def main(request: Request[CreateBody]) -> Reply:
    """201 with the wallet the first time ever, 200 afterwards; 502, 503 when MetaKeep gives no address."""
    order = request.input
    wallet, is_new = wallets.create(request.caller, email=order.owner.email, label=order.label, metadata=order.metadata)
    return success(201, wallet, "wallet created") if is_new else success(200, wallet, "wallet exists")
