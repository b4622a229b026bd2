"""What failed is kept for two weeks, bounded whatever happens, and at nobody's cost but the failed call's."""

import random
import time
from datetime import timedelta
from typing import Any

import pytest

from getsmart import calls, clock, config, log, mongo, trace
from getsmart.stores import failures
from tests.edge import Raw, listen


@pytest.fixture(autouse=True)
def _a_busy_machine_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write may take long here; what a quarter of a second is for has a test of its own."""
    monkeypatch.setattr(failures, "SECONDS", 30.0)


def line(**fields: Any) -> dict[str, Any]:
    """A log line as a failing call writes it."""
    return {"at": clock.to_wire(clock.now()), "level": "error", "event": "request", "code": "internal", **fields}


def kept(raw: Raw) -> list[dict[str, Any]]:
    """Whatever is kept."""
    return list(raw.failures.find())


def test_a_line_is_kept_and_found(system: Raw) -> None:
    """With its moment as one, by any of its values; a line without a code has its event's name."""
    failures.keep([line(request_id="req_1", function="tokens/mint"), line(request_id="req_2", function="ops/tick")])
    step = line(event="tick.summed_failed")
    del step["code"]
    failures.keep([step])
    since = clock.now() - timedelta(minutes=1)
    assert [row["request_id"] for row in failures.find({"request_id": "req_1"}, since, 10)] == ["req_1"]
    assert [row["code"] for row in failures.find({}, since, 10)][-1] == "tick.summed_failed"
    assert len(failures.find({}, since, 2)) == 2
    assert failures.find({}, clock.now() + timedelta(seconds=1), 10) == []
    assert failures.count_by_code(since) == {"internal": 2, "tick.summed_failed": 1}


def test_the_database_forgets_after_two_weeks(system: Raw) -> None:
    """The index on the moment says so."""
    assert system.failures.index_information()["ttl"]["expireAfterSeconds"] == 14 * 24 * 3600


def test_a_storm_in_one_process_costs_a_few_lines(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty a minute; all else costs no round trip, and the next line that is kept says how many were left out."""
    mongo.forget()
    heard = listen(monkeypatch)
    stands = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: stands)
    monkeypatch.setattr(random, "sample", lambda places, most: list(places)[:most])  # chance at its worst
    for number in range(1_000):
        failures.keep([line(request_id=f"req_{number}")])
    assert len(kept(system)) == failures.PROCESS_PLACES
    assert len([one for one in heard.sent if one.startswith("insert")]) == failures.PROCESS_PLACES
    monkeypatch.setattr(clock, "monotonic", lambda: stands + 4)
    failures.keep([line(request_id="later")])
    (later,) = system.failures.find({"request_id": "later"})
    assert later["left_out"] == 1_000 - failures.PROCESS_PLACES
    mongo.forget()


def test_a_storm_in_every_process_leaves_a_hundred_lines_a_minute(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many containers fail at once: a line needs a place, and a minute has so many."""
    moment = clock.now()
    monkeypatch.setattr(clock, "now", lambda: moment)
    for _ in range(60):  # as many processes
        failures.forget()
        failures.keep([line() for _ in range(20)])
    assert failures.PLACES * 0.9 <= len(kept(system)) <= failures.PLACES


def test_a_process_that_finds_no_place_rests(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks three times, at a place it has not asked for before, and then not at all for ten seconds."""
    moment = clock.now()
    monkeypatch.setattr(clock, "now", lambda: moment)
    monkeypatch.setattr(failures, "PLACES", 4)
    failures.forget()
    failures.keep([line() for _ in range(4)])
    failures.forget()  # another process
    heard = listen(monkeypatch)
    mongo.forget()
    for _ in range(3):
        failures.keep([line()])
    assert [one for one in heard.sent if one.startswith("insert")] == ["insert failures"] * 3
    assert len(kept(system)) == 4
    mongo.forget()


def test_a_process_finds_the_last_place_of_a_minute(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tries, four places, three of them taken by another: at the latest the second line has it."""
    moment = clock.now()
    monkeypatch.setattr(clock, "now", lambda: moment)
    monkeypatch.setattr(failures, "PLACES", 4)
    failures.forget()
    failures.keep([line() for _ in range(3)])
    failures.forget()  # another process
    failures.keep([line(request_id="req_1")])
    monkeypatch.setattr(clock, "monotonic", lambda real=clock.monotonic: real() + 11)
    failures.keep([line(request_id="req_2")])
    assert len(kept(system)) == 4


def test_a_database_that_is_not_there_costs_a_quarter_second_once(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is raised; then the process rests for ten seconds, in which a failure costs nothing."""
    monkeypatch.setattr(failures, "SECONDS", 0.25)
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:9")
    config.forget()
    mongo.forget()
    monkeypatch.setattr(mongo, "_SERVER_SELECTION_MS", 60_000)
    tries, place = list[int](), failures._place
    monkeypatch.setattr(failures, "_place", lambda *what: tries.append(1) or place(*what))
    started = time.perf_counter()
    for _ in range(100):
        failures.keep([line()])
    assert time.perf_counter() - started < 20  # the first of them may wait for a minute otherwise
    assert len(tries) == 1
    mongo.forget()


def test_a_missing_variable_is_no_second_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database is not even named there is nothing to keep it in."""
    monkeypatch.delenv("MONGODB_URI", raising=False)
    config.forget()
    mongo.forget()
    failures.forget()
    failures.keep([line()])
    config.forget()


def test_a_call_keeps_its_first_failures(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines at level error, twenty of them; all of them are logged."""
    call = calls.Call("req_1", "tokens/mint", trace.follow(""))
    calls.enter(call)
    for number in range(30):
        log.failure("x.failed", RuntimeError(str(number)))
        log.event("x.went_well")
    calls.enter(None)
    log.failure("x.failed", RuntimeError("of nobody"))
    assert [one["error"] for one in call.take_failures()] == [str(number) for number in range(20)]
    assert call.take_failures() == []
    assert capsys.readouterr().out.count('"x.failed"') == 31
