"""GET /ops/metrics - what an operator watches, in Prometheus's text format."""

from getsmart.fields import Query
from getsmart.replies import Reply
from getsmart.web import Request, endpoint


@endpoint("GET", scope="ops:read", takes=Query)
def main(request: Request[Query]) -> Reply:
    """200 with queues and their ages, supply, treasury and books, the tick's last pass, refused calls."""
    from getsmart.services import metrics

    return Reply(200, metrics.text(), {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
