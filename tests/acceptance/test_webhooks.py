"""Webhooks of the running system: one receiver that hangs, and fifty that do not notice."""

import sys
import time
from contextlib import ExitStack
from datetime import datetime

import pytest
import requests

from tests.acceptance.conftest import System
from tests.receiver import Receiver, receiving
from tests.support import unique

SCOPES = ["wallets:read", "wallets:write", "webhooks:read", "webhooks:write"]
HEALTHY_OF_A_CLIENT = (17, 17, 16)
HANGS_FOR = 11.0  # longer than a receiver has
SECONDS = 3.0
UNDELAYED = 8.0  # less than a receiver has: who waits for the one that hangs takes ten
PAUSE = 1.0  # between two events: 17 deliveries


class Subscriber:
    """A client with a key of its own."""

    def __init__(self, system: System) -> None:
        """A key is made for it."""
        made = system.post(
            "ops/keys", {"client_id": unique("subscriber"), "scopes": SCOPES, "limits": {"per_second": 1_000}}
        )
        assert made.status_code == requests.codes.created, made.text
        self._gateway = system.facts["gateway"]
        self._http = requests.Session()
        self._http.headers["Authorization"] = f"Bearer {made.json()['data']['secret']}"

    def post(self, path: str, body: dict[str, object]) -> requests.Response:
        """A call that succeeds."""
        reply = self._http.post(f"{self._gateway}/v1/{path}", json=body, timeout=30)
        assert reply.status_code == requests.codes.created, reply.text
        return reply

    def happen(self) -> None:
        """A new wallet, which tells of itself."""
        self.post("wallets/create", {"owner": {"email": f"{unique('owner')}@example.com"}})


def delays(receiver: Receiver, offset: float) -> list[float]:
    """Seconds from each event's commit to its first receipt; `offset` leads from monotonic time to the clock's."""
    seen: dict[str, float] = {}
    for one in receiver.got:
        committed = datetime.fromisoformat(one.event["created_at"]).timestamp()
        seen.setdefault(one.event["event_id"], one.at + offset - committed)
    return list(seen.values())


@pytest.mark.parametrize(
    ("rounds", "share", "seconds"),
    [(2, 90, UNDELAYED), pytest.param(20, 99, SECONDS, marks=pytest.mark.long)],
    ids=["2", "20"],
)
@pytest.mark.timeout(300)
def test_fifty_healthy_receivers_beside_one_that_hangs(
    running: System, rounds: int, share: int, seconds: float
) -> None:
    """From commit to receipt, 99 of 100 take under three seconds; the hanging one's first call is still open then.

    Beside other tests the three seconds would be about the machine, and one endpoint that was slow once waits among the
    doubtful ones: there only that they do not wait for the one that hangs, which would make many late.
    """
    with ExitStack() as stack:
        hanging = stack.enter_context(receiving(wait=HANGS_FOR))
        clients = [Subscriber(running) for _ in HEALTHY_OF_A_CLIENT]
        healthy = []
        for client, count in zip(clients, HEALTHY_OF_A_CLIENT, strict=True):
            for _ in range(count):
                healthy.append(stack.enter_context(receiving()))
                client.post("webhooks/endpoints", {"url": healthy[-1].url})
        clients[0].post("webhooks/endpoints", {"url": hanging.url})
        for _ in range(rounds):
            began = time.monotonic()
            for place, client in enumerate(clients, 1):
                client.happen()
                time.sleep(max(0.0, began + place * PAUSE - time.monotonic()))
        running.wait_for(lambda: all(len(set(one.sequences)) == rounds for one in healthy), 60)
        offset = time.time() - time.monotonic()
        took = sorted(delay for one in healthy for delay in delays(one, offset))
        assert len(took) == 50 * rounds
        late = took[len(took) * share // 100]
        figures = (
            f"{len(took)} deliveries, seconds: median {took[len(took) // 2]:.2f}, p{share} {late:.2f},"
            f" last {took[-1]:.2f}"
        )
        sys.stdout.write(f"\n{figures}\n")
        assert late < seconds, figures
        assert all(one.firsts == list(range(1, rounds + 1)) for one in healthy)
        assert hanging.got
