"""Events reach their endpoints: in sequence, at least once, under a lease an endpoint, and none waits for another.

A failing endpoint is left alone but for one probe at the times of the schedule; once it answers, what has waited
follows in sequence. After five days without an answer, or at a 410, it is disabled and what waits is dead.
"""

import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import pymongo

from getsmart import calls, clock, config, log, trace
from getsmart.hooks import PATIENCE, Attempt, DeliveryRow, EndpointRow, pause_seconds
from getsmart.ids import new_id
from getsmart.machine import number
from getsmart.models import Event
from getsmart.objects import event_payload
from getsmart.outbound import signing
from getsmart.outbound.post import Line, Outcome
from getsmart.replies import dump_json
from getsmart.stores import deliveries, endpoints, events
from getsmart.stores.events import NumberedEvent

CALL_SECONDS = 10.0
BOX_SECONDS = 0.5
_SHORTEST_SECONDS = 0.15
SLICE_SECONDS = 5.0
_SLOW_MS = 2_000
_CHUNK = 200
_GONE = 410
_ROWS_IN_BOX = 20
_THREADS, _DOUBTFUL_THREADS = 24, 16
_MOST_DUE = 100


class Time(NamedTuple):
    """How long one goes on with an endpoint (`end`), and with its last call (`hard_end`), in monotonic seconds."""

    end: float
    hard_end: float

    def left_for_a_call(self) -> float:
        """Seconds that a call which begins now may take."""
        return min(CALL_SECONDS, self.hard_end - clock.monotonic())


def drain(endpoint_id: str, time: Time) -> int:
    """Tell an endpoint what waits for it, in sequence, until it fails or the time is up; how often it was told.

    0 when somebody else is at it. Killed anywhere: the lease ends, and what was not noted is told again.
    """
    row = endpoints.take(endpoint_id, new_id("req"), clock.now())
    if row is None:
        return 0
    settings = config.read(config.OutboundSettings)
    line = Line(row["url"], may_be_private=row["mode"] == "test" and settings.private_targets == "test")
    round_ = _Round(row, line, time)
    try:
        while round_.goes_on:
            _tell_chunk(round_)
    finally:
        line.close()
    if not round_.is_at_rest:
        endpoints.let_go(row, clock.now())
    return round_.told


@dataclass
class _Round:
    """One courier at one endpoint, from the lease to its end; at rest is an endpoint for which nothing waits."""

    row: EndpointRow
    line: Line
    time: Time
    told: int = 0
    goes_on: bool = True
    is_at_rest: bool = False

    def leave(self) -> None:
        """The end of it, with the lease still to be given up."""
        self.goes_on = False

    def rest(self) -> None:
        """The end of it, and of the lease: it was given up with the last change."""
        self.goes_on, self.is_at_rest = False, True


def _tell_chunk(round_: _Round) -> None:
    """The next that waits, as much as is read at once; the round goes on unless it failed, is over, or all is told."""
    row, time = round_.row, round_.time
    chunk = deliveries.find_pending(row["_id"], _CHUNK)
    if not chunk:
        _rest_unless_woken(round_)
        return
    told = events.find_many([delivery["event_id"] for delivery in chunk])
    for delivery in chunk:
        if clock.monotonic() >= time.end:
            round_.leave()
        if not round_.goes_on:
            break
        event = told.get(delivery["event_id"])
        if event is None:
            _end_of_nothing(delivery)
            continue
        seconds = max(_SHORTEST_SECONDS, time.left_for_a_call())
        outcome = _call(row, round_.line, event, seconds)
        is_whole = seconds >= CALL_SECONDS or not outcome.is_timeout
        is_last = delivery is chunk[-1] and len(chunk) < _CHUNK
        _keep(round_, delivery, outcome, is_whole=is_whole, is_last=is_last)


def _end_of_nothing(delivery: DeliveryRow) -> None:
    """Its event was forgotten just when it was put in line again (machine/retain.py): what follows must not wait."""
    log.event("webhook.event_gone", level="warning", delivery_id=delivery["_id"])
    deliveries.end(delivery["_id"])


def _rest_unless_woken(round_: _Round) -> None:
    """Nothing was found: that is the end of it, unless something was added since the endpoint was read."""
    row = round_.row
    if endpoints.rest(row):
        round_.rest()
        return
    current = endpoints.find(row["_id"], None)
    if current is None or not _is_ours(current, row):
        round_.leave()
    else:
        row["wakes"] = current["wakes"]


def _is_ours(current: EndpointRow, row: EndpointRow) -> bool:
    return all(current.get(name) == row.get(name) for name in ("lease_holder", "revision", "status"))


def _call(row: EndpointRow, line: Line, event: NumberedEvent, seconds: float) -> Outcome:
    """Deliver one event, in the trace of the call that caused it."""
    at, body = clock.now(), dump_json(event_payload(event)).encode()
    masters = config.read(config.OutboundSettings).secret_keys
    secrets = signing.derive_current(masters, row["_id"], row["secrets"], at)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GetSmart-Webhooks/1",
        **trace.follow(event.get("traceparent", "")).headers,
        **signing.headers(secrets, event["event_id"], at, body),
    }
    return line.post(headers, body, seconds=seconds)


def _keep(round_: _Round, delivery: DeliveryRow, outcome: Outcome, *, is_whole: bool, is_last: bool) -> None:
    """Note how a call ended; after a failure the round is over. `is_last`: nothing else was found to wait.

    One that was not given all its time and did not end within it says nothing of the endpoint.
    """
    row = round_.row
    attempt: Attempt = {
        "at": clock.now(),
        "http_status": outcome.http_status,
        "duration_ms": outcome.duration_ms,
        "excerpt": outcome.excerpt,
    }
    deliveries.note(delivery["_id"], attempt, is_success=outcome.is_success)
    is_slow = outcome.duration_ms > _SLOW_MS
    if outcome.is_success:
        round_.told += 1
        _keep_success(round_, attempt, is_slow=is_slow, is_last=is_last)
        return
    _log_failure(row, delivery, outcome)
    if is_whole:
        _back_off(row, outcome, attempt)
    else:
        endpoints.note(row, {"is_doubtful": row["is_doubtful"] or is_slow}, attempt, is_success=False)
    round_.leave()


def _keep_success(round_: _Round, attempt: Attempt, *, is_slow: bool, is_last: bool) -> None:
    row = round_.row
    row["failures"] = 0
    changes = {"failures": 0, "is_doubtful": is_slow}
    if is_last and endpoints.note_and_rest(row, changes, attempt):
        round_.rest()
        return
    lease = clock.now() + timedelta(seconds=endpoints.LEASE_SECONDS)
    if not endpoints.note(row, {**changes, "lease_until": lease}, attempt, is_success=True):
        round_.leave()


def _log_failure(row: EndpointRow, delivery: DeliveryRow, outcome: Outcome) -> None:
    log.event(
        "webhook.attempt_failed",
        endpoint_id=row["_id"],
        delivery_id=delivery["_id"],
        http_status=outcome.http_status,
        duration_ms=outcome.duration_ms,
    )


def _back_off(row: EndpointRow, outcome: Outcome, attempt: Attempt) -> None:
    at = attempt["at"]
    since = row.get("failing_since", at) if row["failures"] else at
    is_gone = outcome.http_status == _GONE
    if is_gone or at - since >= PATIENCE:
        _disable(row, "gone" if is_gone else "failing", since, attempt)
        return
    failures = row["failures"] + 1
    pause = pause_seconds(failures) * random.uniform(1.0, 1.1)  # noqa: S311 (jitter)
    due_at = min(at + timedelta(seconds=max(pause, outcome.wait_seconds)), since + PATIENCE)
    changes = {"failures": failures, "failing_since": since, "is_doubtful": True, "due_at": due_at}
    endpoints.note(row, changes, attempt, is_success=False)


def _disable(row: EndpointRow, reason: str, since: datetime, attempt: Attempt) -> None:
    told = {
        "endpoint_id": row["_id"],
        "status": "disabled",
        "reason": reason,
        "failing_since": clock.to_wire(since),
        "last_status": attempt["http_status"],
    }
    event: Event = {
        "event_id": new_id("evt"),
        "client_id": row["client_id"],
        "type": "endpoint.failing",
        "created_at": attempt["at"],
        "data": dump_json(told),
        "traceparent": calls.traceparent(),
    }
    if endpoints.disable(row, attempt["at"], event, attempt):
        log.event("webhook.endpoint_disabled", level="warning", endpoint_id=row["_id"], reason=reason)
        bury()


def bury() -> int:
    """Dead-letter what waits for endpoints that nobody is told at any more; how many deliveries that were."""
    buried = 0
    for row in endpoints.find_unburied(_MOST_DUE):
        buried += deliveries.bury(row["_id"])
        endpoints.mark_buried(row)
    return buried


class Courier:
    """Threads that deliver beside whatever else goes on; endpoints that may hang have threads of their own."""

    def __init__(self, life_seconds: float) -> None:
        """Work begins with `dispatch`; no call goes on after `life_seconds`."""
        self._hard_end = clock.monotonic() + life_seconds
        rooms = {False: _THREADS, True: _DOUBTFUL_THREADS}
        self._pools = {kind: ThreadPoolExecutor(size, **calls.shared()) for kind, size in rooms.items()}
        self._room = rooms
        self._busy: dict[str, bool] = {}
        self._begun: list[Future[None]] = []
        self._lock = threading.Lock()
        self.told = 0

    def dispatch(self) -> int:
        """Begin with every due endpoint for which there is a thread; how many those are."""
        begun = 0
        self._begun = [one for one in self._begun if not one.done()]
        for is_doubtful, pool in self._pools.items():
            if is_doubtful and self._hard_end - clock.monotonic() < CALL_SECONDS:
                continue
            with self._lock:
                room = self._room[is_doubtful] - sum(kind == is_doubtful for kind in self._busy.values())
            if room <= 0:
                continue
            due = endpoints.find_due(clock.now(), _MOST_DUE, is_doubtful=is_doubtful)
            for endpoint_id in [one for one in due if one not in self._busy][:room]:
                with self._lock:
                    self._busy[endpoint_id] = is_doubtful
                self._begun.append(pool.submit(self._work, endpoint_id))
                begun += 1
        return begun

    def _work(self, endpoint_id: str) -> None:
        told = 0
        try:
            end = min(clock.monotonic() + SLICE_SECONDS, self._hard_end)
            told = drain(endpoint_id, Time(end, self._hard_end))
        except Exception as error:  # noqa: BLE001 - the others go on; its lease ends, and it is tried again
            log.failure("webhook.delivery_failed", error, endpoint_id=endpoint_id)
        finally:
            with self._lock:
                self.told += told
                self._busy.pop(endpoint_id, None)

    def close(self) -> int:
        """Wait for what is under way; how often an endpoint was told."""
        for pool in self._pools.values():
            pool.shutdown(wait=True)
        for one in self._begun:
            one.result()
        return self.told


def attempt_now(client_id: str) -> None:
    """Number what was committed and tell this client's endpoints, all within half a second."""
    end = clock.monotonic() + BOX_SECONDS
    with pymongo.timeout(BOX_SECONDS):
        number.number_now(_ROWS_IN_BOX)
        due = endpoints.find_due_of(client_id, clock.now(), round(BOX_SECONDS * 1000))
    if not due:
        return
    with ThreadPoolExecutor(len(due), **calls.shared()) as pool:
        list(pool.map(lambda endpoint_id: drain(endpoint_id, Time(end - _SHORTEST_SECONDS, end)), due))
