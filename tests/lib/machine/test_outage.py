"""A receiver that is down for three days, and a sender that dies while it catches up: nothing is lost."""

import pytest

from getsmart.hooks import SCHEDULE
from tests.crashes import Crashes
from tests.hooks import ENDPOINTS, LEASES, happen, post, subscribe
from tests.money import Raw
from tests.receiver import Receiver
from tests.support import Client, Time

HOURS = 72


def go_down(app: Client, system: Raw, receiver: Receiver, time: Time, count: int) -> None:
    """So many events in 72 hours, while the receiver answers 503: it is called as the schedule says, with the first."""
    receiver.status = 503
    happened = 0
    for hour in range(HOURS):
        due = count * (hour + 1) // HOURS
        happen(system, due - happened)
        happened = due
        post()
        time.advance(3600)
        post()
    assert app.get(ENDPOINTS).data["items"][0]["status"] == "enabled"
    assert set(receiver.sequences) == {1}
    assert len(receiver.got) <= 14


def come_back(system: Raw, receiver: Receiver, time: Time, crashes: Crashes, count: int) -> None:
    """It answers again; the sender is killed ten times while it tells what waited."""
    receiver.status = 200
    receiver.got.clear()
    time.advance(SCHEDULE[-1] * 1.1)
    for place in ("Line.post", "getsmart.stores.deliveries.note", "getsmart.stores.endpoints.note", "Line.post"):
        for when in ("before", "after"):
            crashes.die(f"{when} {place}", post, crossing=min(100, count // 20))
            time.advance(LEASES)
    for when in ("before", "after"):
        crashes.die(f"{when} getsmart.stores.endpoints.take", post)
        time.advance(LEASES)
    while system.deliveries.count_documents({"status": "pending"}, limit=1):
        post()


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
@pytest.mark.timeout(1_800)
def test_an_outage_of_72_hours(
    app: Client, system: Raw, receiver: Receiver, time: Time, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Every event arrives at least once and in sequence; what arrives twice carries the same id."""
    subscribe(app, receiver.url)
    go_down(app, system, receiver, time, count)
    come_back(system, receiver, time, Crashes(monkeypatch), count)
    assert receiver.firsts == list(range(1, count + 1))
    assert len({(one.headers["webhook-id"], one.sequence) for one in receiver.got}) == count
    assert len(receiver.got) <= count + 10
    assert app.get(ENDPOINTS).data["items"][0]["failing_since"] is None
