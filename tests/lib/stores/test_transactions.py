"""Rows of transactions: one claim a key, one path through the states, one copy that may change them."""

from datetime import timedelta
from itertools import product
from typing import Any, get_args

import pytest
from pymongo.errors import AutoReconnect, WriteError

from getsmart import clock, mongo
from getsmart.errors import Internal
from getsmart.models import FINAL, MOVES, Status
from getsmart.mongo import to_decimal, to_units
from getsmart.stores import controls, transactions
from tests.money import Raw
from tests.rows import WALLET, kept, make_row
from tests.support import unique

STATUSES: tuple[Status, ...] = get_args(Status)
PAIRS = list(product(STATUSES, STATUSES))
BADGE = {"badge_id": "b", "claimant": "c"}

pytestmark = pytest.mark.usefixtures("system")


@pytest.mark.parametrize(("old", "new"), [pair for pair in PAIRS if pair[1] not in MOVES[pair[0]]])
def test_a_move_that_is_not_drawn_is_refused(system: Raw, old: Status, new: Status) -> None:
    """I4: nothing but the drawing, and final is final."""
    row = kept(status=old)
    before = system.transactions.find_one({"_id": row["_id"]})
    with pytest.raises(Internal, match=f"{old} -> {new}"):
        transactions.move(row, new, {})
    assert system.transactions.find_one({"_id": row["_id"]}) == before


@pytest.mark.parametrize(("old", "new"), [pair for pair in PAIRS if pair[1] in MOVES[pair[0]]])
def test_a_drawn_move_carries_timeline_event_and_reply(system: Raw, old: Status, new: Status) -> None:
    """One update; what it returns is what is stored, less the outbox."""
    row = kept(status=old, metakeep_transaction_id=f"m-{old}-{new}", badge_claim=BADGE, badge_lock=BADGE)
    row["inserted_at"] = system.transactions.find_one({"_id": row["_id"]})["inserted_at"]  # type: ignore[index]
    moved = transactions.move(row, new, {"attempts": 3})
    stored: Any = system.transactions.find_one({"_id": row["_id"]})
    assert moved is not None
    assert (stored["status"], stored["version"], stored["attempts"]) == (new, 2, 3)
    assert [step["status"] for step in stored["timeline"]] == ["queued", new]
    assert [event["type"] for event in stored["outbox"]] == [f"transaction.{old}", f"transaction.{new}"]
    assert f'"status":"{new}"' in stored["reply"]["body"]
    assert {**moved, "outbox": None} == {**stored, "outbox": None}
    is_final = new in FINAL
    assert (stored["request"]["body"] is None) == is_final
    assert ("due_at" in stored, "incoming_wallet_id" in stored) == (not is_final, not is_final)
    assert ("badge_lock" in stored) == (not is_final or new == "confirmed")
    assert stored["badge_claim"] == BADGE


def test_final_states_are_the_four_drawn() -> None:
    """No more, no less."""
    assert sorted(FINAL) == ["cancelled", "confirmed", "expired", "failed"]


def test_only_the_present_copy_moves(system: Raw) -> None:
    """Whoever comes with an older version, or another status, moves nothing."""
    row = kept()
    assert transactions.note(row, {"attempts": 1}) is not None
    assert transactions.move(row, "submitted", {}) is None
    assert transactions.note(row, {"attempts": 2}) is None
    stored: Any = system.transactions.find_one({"_id": row["_id"]})
    assert (stored["status"], stored["attempts"], len(stored["outbox"])) == ("queued", 1, 1)


def test_the_first_reply_stays(system: Raw) -> None:
    """Whatever the row becomes, its caller hears what was stored first."""
    row = kept()
    noted = transactions.note(row, {}, is_conclusion=True)
    assert noted is not None
    assert '"status":"queued"' in noted["reply"]["body"]
    moved = transactions.move(noted, "submitted", {})
    assert moved is not None
    assert moved["reply"] == noted["reply"]
    again = transactions.note(moved, {}, is_conclusion=True)
    assert again is not None
    assert again["reply"] == noted["reply"]
    assert system.transactions.find_one({"_id": row["_id"]})["reply"] == noted["reply"]  # type: ignore[index]


def test_a_note_without_an_end_stores_no_reply(system: Raw) -> None:
    """Marking a row is no conclusion."""
    noted = transactions.note(kept(), {"is_in_flight": True})
    assert noted is not None
    assert "reply" not in noted


def test_unknown_without_an_id_is_never_due(system: Raw) -> None:
    """Nobody could be asked; it must not stand in the way of those that can."""
    moved = transactions.move(kept(), "unknown", {})
    assert moved is not None
    assert "due_at" not in moved
    assert transactions.find_due(("unknown",), clock.now() + timedelta(days=1), 10) == []


def test_one_row_an_idempotency_key(system: Raw) -> None:
    """Of one client and path; another client, path or key is another claim."""
    row = kept()
    key = row["idempotency_key"]
    with pytest.raises(transactions.Taken) as caught:
        kept(idempotency_key=key)
    assert not caught.value.is_badge
    kept(idempotency_key=key, client_id="other")
    kept(idempotency_key=key, route="/v1/tokens/burn")
    found, recovery, _ = transactions.find_claim("app", "/v1/tokens/mint", key)
    assert found is not None
    assert recovery == {}
    assert found["_id"] == row["_id"]
    controls.set_recovering(is_recovering=True)
    nothing, recovery, _ = transactions.find_claim("app", "/v1/tokens/mint", key + "x")
    assert (nothing, recovery["is_recovering"]) == (None, True)


def test_a_claim_of_a_badge_counts_those_that_came_to_nothing(system: Raw) -> None:
    """Of this client, badge and claimant alone; those that are open or had their effect are none."""
    controls.set_recovering(is_recovering=True)
    for status in ("failed", "cancelled", "failed", "confirmed"):
        kept(badge_claim=BADGE, status=status, idempotency_key=unique("key"))
    kept(badge_claim={**BADGE, "claimant": "other"}, status="failed", idempotency_key=unique("key"))
    kept(badge_claim=BADGE, status="failed", client_id="other", idempotency_key=unique("key"))
    key = unique("key")
    known = transactions.find_claim("app", "/v1/tokens/mint", key, BADGE)
    assert (known.row, known.recovery["is_recovering"], known.ended) == (None, True, 3)
    row = kept(badge_claim=BADGE, status="failed", idempotency_key=key)
    found = transactions.find_claim("app", "/v1/tokens/mint", key, BADGE)
    assert found.row is not None
    assert found.row["_id"] == row["_id"]


def test_one_open_row_a_badge(system: Raw) -> None:
    """Compared exactly; free again when nothing came of it."""
    first = kept(badge_lock=BADGE)
    with pytest.raises(transactions.Taken) as caught:
        kept(badge_lock=BADGE)
    assert caught.value.is_badge
    kept(badge_lock={**BADGE, "claimant": "C"})
    kept(badge_lock=BADGE, client_id="other")
    transactions.move(first, "failed", {})
    kept(badge_lock=BADGE)


def test_an_insert_that_had_landed_is_no_twin(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection broke after the first try: the second one meets its own row."""
    row = make_row()
    transactions.insert(row)
    transactions.insert(row)
    assert system.transactions.count_documents({"_id": row["_id"]}) == 1


def test_a_broken_connection_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: a database that stays away is an outage."""
    troubles: list[Exception] = [AutoReconnect("cut")]

    def work() -> str:
        if troubles:
            raise troubles.pop()
        return "done"

    assert mongo.again(work) == "done"
    troubles += [AutoReconnect("cut"), AutoReconnect("cut")]
    with pytest.raises(AutoReconnect):
        mongo.again(work)


def test_rows_belong_to_their_client(system: Raw) -> None:
    """None sees all."""
    row = kept()
    for client_id, is_visible in (("app", True), (None, True), ("other", False)):
        assert (transactions.find(row["_id"], client_id) is not None) == is_visible
    assert transactions.find("txn_x", None) is None


def test_rows_are_found_by_the_providers_id(system: Raw) -> None:
    """And one id belongs to one row."""
    row = kept(metakeep_transaction_id="m-1")
    found = transactions.find_by_metakeep_id("m-1")
    assert found is not None
    assert found["_id"] == row["_id"]
    assert transactions.find_by_metakeep_id("m-2") is None
    with pytest.raises(transactions.Taken):
        kept(metakeep_transaction_id="m-1")


def test_due_rows_come_longest_overdue_first(system: Raw) -> None:
    """Of the states asked for, up to the moment asked for, as many as asked for."""
    at = clock.now()
    ages = {"queued": [5, 1], "submitted": [3], "unknown": [4, -9], "confirmed": [7]}
    for status, seconds in ages.items():
        for second in seconds:
            due_at = at - timedelta(seconds=second)
            kept(status=status, due_at=due_at, metakeep_transaction_id=f"m-{second}", attempts=second)
    found = transactions.find_due(("queued", "submitted", "unknown"), at, 10)
    assert [row["attempts"] for row in found] == [5, 4, 3, 1]
    assert [row["attempts"] for row in transactions.find_due(("queued", "submitted"), at, 2)] == [5, 3]


def test_the_oldest_of_a_state_is_found(system: Raw) -> None:
    """For health."""
    assert transactions.find_oldest("queued") is None
    at = clock.now()
    kept(created_at=at)
    kept(created_at=at - timedelta(hours=1))
    assert transactions.find_oldest("queued") == at - timedelta(hours=1)


def test_holds_are_summed_by_reserve(system: Raw) -> None:
    """Only what is still held."""
    kept()
    kept(amount=to_decimal(5))
    kept(hold={"name": "supply", "state": "returned"})
    kept(hold={"name": "supply", "state": "settled"})
    kept(hold={"name": WALLET, "state": "held"})
    assert mongo.transact(lambda session: transactions.sum_held("supply", session=session)) == 15
    assert mongo.transact(lambda session: transactions.sum_held("treasury", session=session)) == 0


def test_a_recent_return_is_seen(system: Raw) -> None:
    """Of this reserve, and since that moment."""
    at = clock.now()
    kept(hold={"name": "supply", "state": "returned"}, updated_at=at)
    assert transactions.was_returned_since("supply", at - timedelta(seconds=1))
    assert not transactions.was_returned_since("supply", at)
    assert not transactions.was_returned_since("treasury", at - timedelta(seconds=1))


def test_a_lease_is_taken_over_once(system: Raw) -> None:
    """Not while it runs, and by one only."""
    row = kept()
    assert transactions.take_lease(row) is None
    row = kept(lease_until=clock.now())
    leased = transactions.take_lease(row)
    assert leased is not None
    assert leased["lease_until"] > clock.now()
    assert transactions.take_lease(row) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", to_decimal(0)),
        ("amount", to_decimal(-1)),
        ("amount", 10),
        ("amount", 1.5),
        ("amount", "10"),
        ("status", "done"),
        ("kind", "gift"),
        ("client_id", None),
        ("idempotency_key", 7),
        ("version", "1"),
    ],
)
def test_the_database_refuses_a_row_that_cannot_be(system: Raw, name: str, value: Any) -> None:
    """The validators of the first migration, on insert and on update."""
    with pytest.raises(WriteError):
        transactions.insert(make_row() | {name: value})  # type: ignore[operator]
    row = kept()
    with pytest.raises(WriteError):
        system.transactions.update_one({"_id": row["_id"]}, {"$set": {name: value}})


@pytest.mark.parametrize("units", [1, 10**18, 10**30, 10**34 - 1])
def test_amounts_survive_the_database(system: Raw, units: int) -> None:
    """Up to 34 digits, exactly."""
    row = kept(amount=to_decimal(units))
    assert to_units(system.transactions.find_one({"_id": row["_id"]})["amount"]) == units  # type: ignore[index]
