"""GET /ops/health - is the service well, check by check; no key needed, nothing secret in it."""

from getsmart.fields import Query
from getsmart.front import Request
from getsmart.replies import Reply, success
from getsmart.services import health
from getsmart.web import endpoint


@endpoint("GET", takes=Query)
def main(request: Request[Query]) -> Reply:
    """200 when every check passes or warns, 503 when one fails; within 3 s."""
    report = health.report()
    return success(503 if report["status"] == "fail" else 200, report, "health")
