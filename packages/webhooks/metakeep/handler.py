"""POST /webhooks/metakeep - a signed hint that a transaction moved; state follows only what MetaKeep then tells us."""

from getsmart.fields import Body
from getsmart.front import Request
from getsmart.replies import Reply, success
from getsmart.services import inbound
from getsmart.web import endpoint


@endpoint("POST")
def main(request: Request[Body]) -> Reply:
    """200 applied, duplicate, pending or unrelated; 401 not genuine; 5xx ours to mend: the sender tries again."""
    return success(200, inbound.receive(request.headers, request.body), "received")
