"""GET /ops/metrics - what an operator watches, in Prometheus's text format."""

from getsmart.fields import Query
from getsmart.front import Request
from getsmart.replies import Reply
from getsmart.services import metrics
from getsmart.web import endpoint


@endpoint("GET", scope="ops:read", takes=Query)
def main(request: Request[Query]) -> Reply:
    """200 with queues and their ages, supply, treasury and books, the tick's last pass, refused calls."""
    return Reply(200, metrics.text(), {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
