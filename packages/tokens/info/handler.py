"""GET /tokens/info - the token: contract, supply, what was minted, reserved and burned, the treasury."""

from getsmart.fields import Query
from getsmart.front import Request
from getsmart.replies import Reply, success
from getsmart.services import views
from getsmart.web import endpoint


@endpoint("GET", scope="tokens:read", takes=Query)
def main(request: Request[Query]) -> Reply:
    """200 with the token."""
    return success(200, views.token(), "token")
