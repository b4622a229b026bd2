"""How long a smoke waits where a limit tells it to."""

import time
from collections.abc import Sequence

import pytest
import requests

from ops.release import expectations, smoke
from tests.wire import Wire, reply

CALL = expectations.calls("blue", "1")[0]


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([reply(429, Retry_After="1"), reply(200)], 200),
        ([reply(429, Retry_After="3600"), reply(200)], 429),
        ([reply(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"), reply(200)], 429),
    ],
)
def test_a_limit_by_the_hour_is_not_waited_for(script: Sequence[bytes], status: int) -> None:
    """The key's limit by the second is over in one; what takes an hour is told as it is, at once."""
    started = time.monotonic()
    with Wire(list(script)) as wire, requests.Session() as http:
        assert smoke._patiently(http, CALL, wire.url, {}, {}).status_code == status
    assert time.monotonic() - started < 60
