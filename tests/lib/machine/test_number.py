"""The sequencer: every committed event gets the next number of its client, once, without a gap."""

import json
import threading
from typing import Any, Self

import pytest
from bson import Int64
from pymongo.errors import AutoReconnect, NetworkTimeout

from getsmart import clock
from getsmart.errors import DatabaseUnavailable
from getsmart.ids import new_id
from getsmart.machine import number
from getsmart.stores import events, transactions
from ops.verification import verify
from tests.crashes import Crashes
from tests.edge import MakeClient
from tests.hooks import LEASES, happen, subscribe
from tests.money import Bench, Raw, in_parallel
from tests.receiver import Receiver
from tests.restoring import put_back, taken
from tests.rows import kept
from tests.support import Client, Time

CLIENTS = ("app", "other")


def numbered(raw: Raw, client_id: str = "app") -> list[tuple[int, str]]:
    """(number, type) of a client's events."""
    found = raw.events.find({"client_id": client_id}).sort("sequence", 1)
    return [(event["sequence"], event["type"]) for event in found]


def moved(count: int, client_id: str = "app") -> None:
    """Rows with two events each."""
    for _ in range(count):
        assert transactions.move(kept(client_id=client_id), "submitted", {}) is not None


def test_events_are_numbered_from_one(system: Raw) -> None:
    """Each client has its own numbers; a row's events keep their order; outboxes are emptied."""
    moved(2)
    moved(1, "other")
    assert number.number_events(100) == 6
    kinds = ["transaction.queued", "transaction.submitted"]
    assert numbered(system) == list(enumerate(kinds * 2, 1))
    assert numbered(system, "other") == list(enumerate(kinds, 1))
    assert number.number_events(100) == 0
    moved(1)
    assert number.number_events(100) == 2
    assert [sequence for sequence, _ in numbered(system)] == [1, 2, 3, 4, 5, 6]


def test_after_a_restore_numbers_begin_beyond_any_that_were_given(system: Raw, time: Time) -> None:
    """Also of a client that the backup does not know, and when it is restored again; verified as no gap."""
    moved(1)
    number.number_events(100)
    given: list[int] = [sequence for sequence, _ in numbered(system)]
    backup = taken(system)
    for _ in range(2):
        moved(2)
        number.number_events(100)
        given = [max(given), *(sequence for sequence, _ in numbered(system))]
        time.advance(1)
        put_back(system, backup)
        events.skip_what_was_given(system.sequences, clock.now())
    moved(1)
    moved(1, "other")
    number.number_events(100)
    first, second, *after = [sequence for sequence, _ in numbered(system)]
    assert ((first, second), after) == ((1, 2), [events.restored()[-1] + 1, events.restored()[-1] + 2])
    assert after[0] > max(given)
    assert [sequence for sequence, _ in numbered(system, "other")] == after
    assert not [found for found in verify(lambda _name, _number: None) if found.invariant == "I5"]
    system.events.update_one({"sequence": after[1], "client_id": "app"}, {"$inc": {"sequence": 1}})
    assert [found.kind for found in verify(lambda _name, _number: None) if found.invariant == "I5"] == ["event_gap"]


def test_a_limited_round_leaves_the_rest_for_the_next(system: Raw) -> None:
    """Rows wait their turn, oldest first."""
    moved(3)
    assert [number.number_events(2), number.number_events(2), number.number_events(2)] == [4, 2, 0]


def test_wallets_events_are_numbered_among_the_transactions(bench: Bench) -> None:
    """One sequence a client, whatever collection the change was in."""
    bench.mint()
    number.number_events(100)
    assert numbered(bench.raw) == [
        (1, "wallet.created"),
        (2, "transaction.queued"),
        (3, "transaction.submitted"),
    ]
    assert not any(wallet["outbox"] for wallet in bench.raw.wallets.find())


@pytest.mark.parametrize("step", ["number", "clear_outboxes"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_sequencer_leaves_no_gap_and_no_double(
    system: Raw, monkeypatch: pytest.MonkeyPatch, when: str, step: str
) -> None:
    """What has a number keeps it; the next one, after the lease, goes on behind it."""
    moved(2)
    Crashes(monkeypatch).die(f"{when} getsmart.stores.events.{step}", lambda: number.number_events(100))
    assert number.number_events(100) == 0  # the lease of the dead
    system.leases.delete_many({})
    number.number_events(100)
    assert [sequence for sequence, _ in numbered(system)] == [1, 2, 3, 4]
    assert not any(row["outbox"] for row in system.transactions.find())


def test_two_sequencers_at_once_number_everything_once(system: Raw) -> None:
    """The lease gives the work to one; the other does nothing."""
    moved(5)
    in_parallel([lambda: number.number_events(100)] * 4)
    number.number_events(100)
    assert [sequence for sequence, _ in numbered(system)] == list(range(1, 11))


def test_a_sequencer_that_lost_its_lease_is_stopped_by_the_index(
    system: Raw, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It believes in an old last number: the unique index refuses to give a number twice."""
    moved(1)
    number.number_events(100)
    moved(1)
    monkeypatch.setattr(events, "last_sequence", lambda _: 1)
    assert number.number_events(100) == 0
    assert '"error_type":"BulkWriteError"' in capsys.readouterr().out
    monkeypatch.undo()
    assert number.number_events(100) == 2
    assert [sequence for sequence, _ in numbered(system)] == [1, 2, 3, 4]


class Broken:
    """A client whose events cannot be numbered, or not be told to anybody, whatever is tried, until it is mended."""

    def __init__(self, raw: Raw, where: str, endpoint_id: str) -> None:
        """From now on: there is no number after its last one, or what its endpoint wants is no list."""
        self._rows = {"numbers": raw.sequences, "deliveries": raw.endpoints}[where]
        self._row, self._name = {"numbers": ("other", "last"), "deliveries": (endpoint_id, "event_types")}[where]
        self._set(Int64(2**63 - 1))

    def _set(self, value: int | None) -> None:
        self._rows.update_one({"_id": self._row}, {"$set": {self._name: value}}, upsert=True)

    def mend(self) -> None:
        """What it was."""
        self._set(Int64(0) if self._name == "last" else None)


@pytest.mark.parametrize("where", ["numbers", "deliveries"])
def test_a_client_that_fails_stops_no_other(
    make_client: MakeClient, system: Raw, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """Not with whom it shares a row either; its own events stay, and are numbered from 1 and told once it is mended."""
    made = subscribe(make_client("other"), "http://127.0.0.1:9/nobody")
    broken = Broken(system, where, made["endpoint_id"])
    for client_id in ("other", "other", "app", "more"):
        happen(system, 1, client_id)
    foreign: Any = system.wallets.find_one({"outbox.client_id": "other"})
    event = {**foreign["outbox"][0], "event_id": new_id("evt")}
    assert system.wallets.update_one({"outbox.client_id": "app"}, {"$push": {"outbox": event}}).modified_count == 1
    for _ in range(2):
        number.number_events(100)
    assert [len(numbered(system, client_id)) for client_id in ("app", "more")] == [1, 1]
    assert [event["client_id"] for row in system.wallets.find() for event in row["outbox"]] == ["other"] * 3
    lines = capsys.readouterr().out.splitlines()
    failed = [json.loads(line) for line in lines if "tick.numbered_failed" in line]
    assert [(line["client_id"], line["level"]) for line in failed] == [("other", "error")] * 2
    broken.mend()
    number.number_events(100)
    assert [sequence for sequence, _ in numbered(system, "other")] == [1, 2, 3]
    assert system.deliveries.count_documents({"client_id": "other"}) == 3
    assert not events.has_outbox()


def test_a_client_that_fails_and_has_waited_longest_starves_nobody(system: Raw, make_client: MakeClient) -> None:
    """More of its rows than are taken at once stand before those of the others."""
    made = subscribe(make_client("other"), "http://127.0.0.1:9/nobody")
    Broken(system, "numbers", made["endpoint_id"])
    happen(system, 7, "other")
    happen(system, 5)
    assert [number.number_events(2) for _ in range(4)] == [2, 2, 1, 0]
    assert [sequence for sequence, _ in numbered(system)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("error", [AutoReconnect("gone"), NetworkTimeout("late"), DatabaseUnavailable("over")])
def test_where_the_database_is_away_no_other_client_is_tried(
    system: Raw, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Each would wait for it anew; the lease is given up, so that the next round may begin."""
    moved(1)
    moved(1, "other")
    tried: list[Any] = []

    def away(event_ids: Any) -> dict[str, int]:
        tried.append(event_ids)
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(events, "find_numbers", away)
        with pytest.raises(type(error)):
            number.number_events(100)
    assert len(tried) == 1
    assert number.number_events(100) == 4


def test_an_event_tells_the_row_as_it_was(system: Raw) -> None:
    """Immutable snapshots: the first event still says queued when the row has moved on."""
    moved(1)
    number.number_events(100)
    first: Any = system.events.find_one({"sequence": 1})
    assert '"status":"queued"' in first["data"]
    assert "submitted" not in first["data"]


@pytest.mark.parametrize("seconds", [20.0, 600.0])
def test_a_new_endpoint_misses_nothing_of_who_is_late(app: Client, system: Raw, time: Time, seconds: float) -> None:
    """An event that was stamped before an endpoint was made and committed after it, by a clock behind or a slow one."""
    made = subscribe(app, "http://127.0.0.1:9/nobody")
    time.advance(-seconds)
    happen(system)
    time.advance(seconds)
    number.number_events(100)
    assert [row["endpoint_id"] for row in system.deliveries.find()] == [made["endpoint_id"]]


class Writers:
    """Sixteen threads that commit events of two clients, one at a time, until the end of the block."""

    def __init__(self, raw: Raw) -> None:
        """They begin with the block."""
        self._raw, self._stop = raw, threading.Event()
        self.written = [0] * 16
        self._threads = [threading.Thread(target=self._write, args=(place,)) for place in range(16)]

    def _write(self, place: int) -> None:
        while not self._stop.wait(0.05):
            happen(self._raw, 1, CLIENTS[place % 2])
            self.written[place] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def of(self, client_id: str) -> int:
        """How many events of a client were committed."""
        return sum(self.written[CLIENTS.index(client_id) :: 2])


def test_sixteen_writers_and_a_sequencer_that_dies_at_each_step(
    app: Client, system: Raw, monkeypatch: pytest.MonkeyPatch, receiver: Receiver, time: Time
) -> None:
    """Each client's numbers run from 1 without a gap, none is given twice, and each event has its one delivery."""
    subscribe(app, receiver.url)
    crashes = Crashes(monkeypatch)
    happen(system)
    boundaries = crashes.boundaries(lambda: number.number_events(20))
    assert {"before getsmart.stores.events.number", "after getsmart.stores.events.clear_outboxes"} <= set(boundaries)
    with Writers(system) as writers:
        for boundary in boundaries:
            happen(system)
            crashes.die(boundary, lambda: number.number_events(20))
            time.advance(LEASES)
            in_parallel([lambda: number.number_events(20)] * 3)
            time.advance(LEASES)
    while number.number_events(200):
        pass
    assert min(writers.written) > 0
    own = {"app": 1 + len(boundaries), "other": 0}
    for client_id in CLIENTS:
        sequences = [sequence for sequence, _ in numbered(system, client_id)]
        assert sequences == list(range(1, writers.of(client_id) + own[client_id] + 1))
    assert system.wallets.count_documents({"outbox.event_id": {"$exists": True}}) == 0
    assert system.deliveries.count_documents({}) == system.events.count_documents({"client_id": "app"})
