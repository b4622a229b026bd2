"""An airdrop is paid once, whoever dies, comes late or comes second."""

from functools import partial
from typing import Any

import pytest

from getsmart import clock
from getsmart.errors import DatabaseUnavailable
from getsmart.machine import airdrop
from getsmart.services import tick
from getsmart.stores import batches, reserves, transactions
from tests.airdrops import Rows, drop, paid_once, read, work_off
from tests.airdrops import rows as rows  # noqa: PLC0414 - the fixture
from tests.airdrops import small as small  # noqa: PLC0414 - the fixture
from tests.crashes import Crashes
from tests.money import QUIET, Bench, Killed, in_parallel, units
from tests.support import unique


def test_twins_make_one_batch(bench: Bench, rows: Rows) -> None:
    """16 calls at once with one key, and 16 with keys of their own: one batch, each answered it or told to wait."""
    key = unique("key")
    calls = [partial(drop, bench, rows, key=key)] * 8 + [partial(drop, bench, rows) for _ in range(8)]
    answers = in_parallel(calls)
    assert {answer.status for answer in answers} <= {202, 409}
    assert len({answer.data["batch_id"] for answer in answers if answer.status == 202}) == 1
    assert {answer.code for answer in answers if answer.status == 409} <= {"idempotency_in_progress"}
    assert bench.raw.batches.count_documents({}) == 1
    bench.audit()


@pytest.mark.timeout(300)  # dozens of boundaries, each with its own retry
def test_killed_anywhere_while_accepting(
    bench: Bench, rows: Rows, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is paid of what was not accepted; the same call finishes it, once, and other rows are refused."""
    crashes = Crashes(monkeypatch)
    boundaries = crashes.boundaries(partial(drop, bench, rows, reference="undisturbed"))
    expected = {"batches.insert", "batches.insert_rows", "batches.change", "reserves.take"}
    assert {boundary.partition("getsmart.stores.")[2] for boundary in boundaries} == expected
    work_off(bench)
    killed = {unique("killed"): boundary for boundary in boundaries}
    for key, boundary in killed.items():
        crashes.die(boundary, partial(drop, bench, rows, reference=key, key=key))
    accepted = [key for key in killed if bench.raw.batches.find_one({"reference": key, "status": {"$ne": "accepting"}})]
    assert [killed[key] for key in accepted] == []  # every change but the last only renews
    bench.time.advance(QUIET)
    work_off(bench)
    assert bench.raw.transactions.count_documents({}) == len(rows)
    bench.audit()
    for key, boundary in killed.items():
        other = drop(bench, rows[:2], reference=key)
        claimed = bench.raw.batches.find_one({"reference": key}) is not None
        if boundary == "before getsmart.stores.batches.insert":
            assert other.status == 202
            continue
        assert (claimed, other.code) == (True, "invalid_state"), boundary
        answer = drop(bench, rows, reference=key, key=key)
        assert (answer.status, answer.data["status"]) == (202, "queued"), boundary
        assert drop(bench, rows, reference=key).text == answer.text
    work_off(bench, 40)
    made = bench.raw.transactions.count_documents({"status": "confirmed"})
    assert made == len(rows) * len(killed) + 2
    bench.audit()


def test_killed_right_after_it_was_accepted(bench: Bench, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last write is the claim: whoever dies behind it is answered the next time."""
    real, key = batches.change, unique("key")

    def last(*arguments: Any, **options: Any) -> Any:
        changed = real(*arguments, **options)
        if "reply" in arguments[1]:
            raise Killed
        return changed

    monkeypatch.setattr(batches, "change", last)
    with pytest.raises(Killed):
        drop(bench, rows, key=key)
    monkeypatch.setattr(batches, "change", real)
    assert drop(bench, rows, key=key).headers["Idempotent-Replayed"] == "true"
    work_off(bench)
    paid_once(bench, rows)


def test_a_call_that_seems_dead_is_taken_over(
    bench: Bench, rows: Rows, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the lease: wait. After it the next call finishes; the slow one finds out and changes nothing."""
    key, inner = unique("key"), []
    real = batches.insert_rows

    def slow(chunk: Any) -> None:
        real(chunk)
        if not inner:
            inner.append(drop(bench, rows, key=key).code)
            bench.time.advance(16)
            inner.append(drop(bench, rows, key=key).data["status"])

    monkeypatch.setattr(batches, "insert_rows", slow)
    assert drop(bench, rows, key=key).code == "idempotency_in_progress"
    assert inner == ["idempotency_in_progress", "queued"]
    work_off(bench)
    paid_once(bench, rows)


def test_the_last_write_lost_to_a_twin(bench: Bench, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum is given back by who comes second."""
    key, real = unique("key"), reserves.take

    def overtaken(name: str, amount: int) -> bool:
        taken = real(name, amount)
        monkeypatch.setattr(reserves, "take", real)
        bench.raw.batches.update_one({}, {"$set": {"lease_until": bench.now()}})
        assert drop(bench, rows, key=key).status == 202
        return taken

    monkeypatch.setattr(reserves, "take", overtaken)
    assert drop(bench, rows, key=key).code == "idempotency_in_progress"
    bench.audit()


def test_a_sum_that_took_too_long_is_not_claimed(bench: Bench, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been repaired meanwhile: 503, a leak, and the retry does it anew."""
    key, real, late = unique("key"), clock.monotonic, [0.0]
    take = reserves.take

    def slow(*arguments: Any) -> bool:
        late[0] = reserves.ACT_SECONDS + 1
        return take(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(clock, "monotonic", lambda: real() + late[0])
        patch.setattr(reserves, "take", slow)
        assert drop(bench, rows, key=key).code == "database_unavailable"
    bench.audit(leaked={"supply": units("15")})
    bench.time.advance(QUIET)
    tick.run()
    bench.audit()
    assert drop(bench, rows, key=key).status == 202
    bench.audit()


def step() -> int:
    """What the tick does for airdrops in a pass."""
    return sum(airdrop.work(batch) for batch in batches.find_open())


def test_killed_anywhere_while_unfolding(
    bench: Bench, rows: Rows, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tick dies at each boundary of making rows into transactions: each row is made once, and paid once."""
    crashes = Crashes(monkeypatch)
    drop(bench, rows)
    boundaries = crashes.boundaries(step)
    assert {boundary.rpartition(".")[2] for boundary in boundaries} == {"transact", "change", "insert_many"}
    for boundary in boundaries:
        drop(bench, rows, reference=boundary)
        crashes.die(boundary, step)
        bench.audit()
    work_off(bench, 5 * len(boundaries))
    assert bench.raw.transactions.count_documents({"status": "confirmed"}) == 5 * (1 + len(boundaries))
    assert bench.raw.batches.count_documents({"status": "completed"}) == 1 + len(boundaries)
    bench.audit()


@pytest.mark.parametrize("boundary", ["before", "after"])
def test_killed_while_closing(bench: Bench, rows: Rows, monkeypatch: pytest.MonkeyPatch, boundary: str) -> None:
    """The batch is closed once, with one event."""
    crashes = Crashes(monkeypatch)
    accepted = drop(bench, rows)
    with monkeypatch.context() as patch:
        patch.setattr(airdrop, "_complete", lambda _: None)
        work_off(bench)
    assert read(bench, accepted)["status"] == "running"
    crashes.die(f"{boundary} getsmart.stores.batches.change", step)
    work_off(bench, 2)
    assert read(bench, accepted)["status"] == "completed"
    assert bench.raw.events.count_documents({"type": "batch.completed"}) == 1


def test_a_row_that_moves_while_it_is_looked_for_keeps_its_batch_open(
    bench: Bench, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open rows are looked for state by state, and one may go from a later to an earlier one meanwhile."""
    drop(bench, rows)
    tick.run()
    batch: Any = bench.raw.batches.find_one({})
    assert batch["unfolded"] == len(rows)
    monkeypatch.setattr(transactions, "has_open_of_batch", lambda _: False)
    airdrop.work(batch)
    batch = bench.raw.batches.find_one({})
    assert (batch["status"], "outbox" in batch) == ("running", False)


def test_two_ticks_unfold_once(bench: Bench, rows: Rows, small: None) -> None:
    """Both read the batch, one makes its rows."""
    drop(bench, rows)
    (batch,) = batches.find_open()
    assert (airdrop.work(batch), airdrop.work(batch)) == (2, 0)
    work_off(bench)
    paid_once(bench, rows)


def test_an_insert_that_meets_no_twin_is_a_bug(bench: Bench, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not happen; if it does, nothing pretends otherwise."""
    monkeypatch.setattr(batches, "insert", lambda _: False)
    assert drop(bench, rows).code == "internal"
    bench.audit()


def test_rows_that_cannot_be_kept_are_an_error(bench: Bench) -> None:
    """Only rows that are there already may be met."""
    with pytest.raises(batches.BulkWriteError):
        batches.insert_rows([{"_id": "x"}])  # type: ignore[typeddict-item]


def test_a_batch_that_is_being_accepted_is_seen_as_such(
    bench: Bench, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it counts yet, and taking back what has been moved on by somebody else does nothing."""

    def lost(_: object) -> None:
        raise DatabaseUnavailable("before the last write")

    monkeypatch.setattr(airdrop, "_make_real", lost)
    assert drop(bench, rows).code == "database_unavailable"
    stored = bench.raw.batches.find_one()
    assert stored is not None
    seen = bench.app.get("tokens/batch", f"batch_id={stored['_id']}").data
    assert (seen["status"], seen["counts"]["queued"], seen["total"]) == ("accepting", 0, 5)
    batches.remove({**stored, "version": 0})  # type: ignore[typeddict-item]
    assert bench.raw.batch_rows.count_documents({}) == 5


def test_a_last_write_lost_too_late_gives_nothing_back(
    bench: Bench, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may have been repaired meanwhile is not given back a second time."""
    real, late = clock.monotonic, [0.0]

    def lost(*arguments: Any, **options: Any) -> Any:
        if "reply" not in arguments[1]:
            return change(*arguments, **options)
        late[0] = reserves.ACT_SECONDS + 1
        return None

    change = batches.change
    monkeypatch.setattr(batches, "change", lost)
    monkeypatch.setattr(clock, "monotonic", lambda: real() + late[0])
    assert drop(bench, rows).code == "idempotency_in_progress"
    bench.audit(leaked={"supply": units("15")})
