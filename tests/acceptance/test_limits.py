"""A limited key against the running system: what callers are told, and that obeying it works."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.acceptance.conftest import System
from tests.support import unique

pytestmark = pytest.mark.timeout(120)

CALLS, PER_SECOND = 200, 10


@pytest.fixture
def token(running: System) -> str:
    """The secret of a key that may call ten times a second."""
    body = {"client_id": unique("limited"), "scopes": ["tokens:read"], "limits": {"per_second": PER_SECOND}}
    made = running.post("ops/keys", body)
    assert made.status_code == requests.codes.created, made.text
    return str(made.json()["data"]["secret"])


def test_200_concurrent_calls_of_a_key_with_ten_a_second(running: System, token: str) -> None:
    """Ten pass at once and ten more each second; every reply says where the key stands; 429 can be obeyed."""

    def call(_: int = 0) -> requests.Response:
        return running.get_as(token, "tokens/info")

    started = time.monotonic()
    with ThreadPoolExecutor(CALLS) as pool:
        replies = list(pool.map(call, range(CALLS)))
    seconds = time.monotonic() - started
    passed = [reply for reply in replies if reply.status_code == requests.codes.ok]
    refused = [reply for reply in replies if reply.status_code == requests.codes.too_many_requests]
    assert len(passed) + len(refused) == CALLS
    assert PER_SECOND <= len(passed) <= PER_SECOND * (int(seconds) + 1)
    assert {reply.headers["RateLimit-Limit"] for reply in replies} == {"10"}
    assert all(0 <= int(reply.headers["RateLimit-Remaining"]) < PER_SECOND for reply in passed)
    assert {reply.headers["RateLimit-Remaining"] for reply in refused} == {"0"}
    assert all(reply.json()["error"]["code"] == "rate_limited" for reply in refused)
    waits = {reply.headers["Retry-After"] for reply in refused}
    assert waits == {reply.headers["RateLimit-Reset"] for reply in refused} == {"1"}
    time.sleep(int(waits.pop()))
    assert [call().status_code for _ in range(PER_SECOND)] == [requests.codes.ok] * PER_SECOND
