"""When a recovery may end, what may be sent then, and for how long repeated calls are looked at (docs/adr/0100)."""

from collections.abc import Callable
from typing import Any

import pytest

from getsmart.amounts import UNIT
from getsmart.machine import airdrop, correct, reconcile, revisit, send
from getsmart.services import tick
from getsmart.stores import batches, controls, transactions
from tests.chainbook import OUTSIDE, ZERO, found, on_chain, reconciled
from tests.money import BURN_PATH, MINT_PATH, Bench, Row
from tests.restoring import put_back, taken
from tests.support import Answer, unique

Setting = Callable[..., None]


def foreign(bench: Bench, count: int) -> list[Row]:
    """So many mints into the wallet that nobody ordered, each of another amount."""
    return on_chain(bench, *((ZERO, bench.wallet["address"], UNIT + number) for number in range(count)))


def unsent(bench: Bench) -> str:
    """An airdrop's row that the tick has unfolded and not sent."""
    rows = [{"wallet_id": bench.wallet["wallet_id"], "amount": "8"}]
    assert bench.app.post("tokens/airdrop", {"reference": unique("r"), "rows": rows}, key=unique("k")).status == 202
    while any(airdrop.work(batch) for batch in batches.find_open()):
        pass
    return str(bench.only_row()["_id"])


def sent_since(bench: Bench) -> str:
    """A row that the backup knows unsent, whose sending and Transfer the restore takes away."""
    bench.catch_up()
    bench.time.advance(1)
    its_id = unsent(bench)
    backup = taken(bench.raw)
    bench.settle()
    assert bench.status(its_id) == "confirmed"
    foreign(bench, 1)
    bench.time.advance(1)
    put_back(bench.raw, backup)
    assert bench.status(its_id) == "queued"
    return its_id


def cancel(bench: Bench, its_id: str) -> Answer:
    """POST tokens/transaction."""
    return bench.app.post("tokens/transaction", {"transaction_id": its_id, "action": "cancel"})


def test_each_transfer_is_judged_before_it_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: none is left to be found once money moves."""
    monkeypatch.setattr(revisit, "_BATCH", 2)
    controls.set_recovering(is_recovering=True)
    foreign(bench, 5)
    reconcile.run(60.0)
    assert not controls.is_recovering()
    assert len(found(bench)["missing_in_ledger"]) == 5
    bench.audit_of_books()


def test_what_is_not_judged_in_time_is_judged_by_the_next_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has its time; what it has judged stays judged, and the recovery ends with the last one."""
    monkeypatch.setattr(revisit, "_BATCH", 2)
    controls.set_recovering(is_recovering=True)
    foreign(bench, 5)
    for left in (1, 0):
        assert controls.is_recovering()
        reconcile.run(0.0)
        assert bench.raw.sightings.count_documents({}) == left
    assert not controls.is_recovering()


def test_what_waited_for_the_rest_of_the_chain_is_judged_before_it_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put off while some was unread, and not due again when all is: its row is not sent once more."""
    its_id = sent_since(bench)
    bench.time.advance(20 * 60)
    controls.set_recovering(is_recovering=True, lost_since=bench.row(its_id)["created_at"])
    sent = bench.mark()
    monkeypatch.setattr(reconcile, "WINDOW", 1)
    for _ in range(20):
        if controls.is_recovering():
            reconcile.run(0.0)
    assert not controls.is_recovering()
    assert bench.status(its_id) == "confirmed"
    bench.settle()
    assert bench.calls(MINT_PATH, sent) == []
    assert list(found(bench)) == ["missing_in_ledger"]
    bench.audit_of_books()


def test_what_could_be_booked_is_booked_before_it_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A break whose movement failed for a reason that passes is tried again: until then too much would be offered."""
    foreign(bench, 2)
    controls.set_recovering(is_recovering=True)
    with monkeypatch.context() as patch:
        patch.setattr(correct, "stand", lambda *_arguments, **_more: None)
        reconciled()
    assert controls.is_recovering()
    reconcile.run(60.0)
    assert not controls.is_recovering()
    assert bench.raw.breaks.count_documents({"due": {"$exists": True}}) == 0
    bench.audit_of_books()


def test_what_an_order_under_way_holds_is_not_waited_for(bench: Bench, pauses: list[float]) -> None:
    """The order ends only once money moves: to wait for what it holds would be to wait for ever."""
    bench.funded("10")
    bench.provider.fault(BURN_PATH, "429", times=20)
    bench.burn("10")
    on_chain(bench, (bench.wallet["address"], OUTSIDE, 4 * UNIT))
    controls.set_recovering(is_recovering=True)
    reconciled()
    assert not controls.is_recovering()
    (raised,) = found(bench)["missing_in_ledger"]
    assert raised["due"] == "stand"


def test_the_depth_has_to_come_past_the_restore(bench: Bench, setting: Setting) -> None:
    """What was mined shortly before the restore lies above the depth: it is read before money moves."""
    bench.catch_up()
    bench.time.advance(1)
    backup = taken(bench.raw)
    key = unique("lost")
    bench.mint("3", key=key)
    bench.time.advance(5)
    setting(CONFIRMATION_DEPTH="2")
    foreign(bench, 2)
    bench.time.advance(5)
    put_back(bench.raw, backup)
    tick.run()
    assert controls.is_recovering()
    bench.time.advance(5)
    foreign(bench, 2)
    tick.run()
    assert controls.is_recovering()
    foreign(bench, 1)
    bench.time.advance(5)
    tick.run()
    assert not controls.is_recovering()
    assert len(found(bench)["missing_in_ledger"]) == 4


def test_what_metakeep_had_queued_is_not_asked_for_again_later(bench: Bench) -> None:
    """Mined after the restore, and booked as nobody's: its call, repeated long after it was sent, is held back."""
    bench.catch_up()
    bench.time.advance(1)
    backup = taken(bench.raw)
    bench.provider.fault(MINT_PATH, "stuck")
    key = unique("stuck")
    assert bench.mint("3", key=key).status == 202
    bench.time.advance(60)
    put_back(bench.raw, backup)
    bench.time.advance(60)
    tick.run()
    assert (controls.is_recovering(), found(bench)) == (False, {})
    bench.time.advance(26 * 60)
    bench.provider.clear()
    bench.time.advance(10)
    tick.run()
    assert list(found(bench)) == ["missing_in_ledger"]
    bench.time.advance(60)
    sent = bench.mark()
    answer = bench.mint("3", key=key)
    assert (answer.status, answer.data["status"]) == (202, "unknown")
    bench.settle()
    assert (bench.calls(MINT_PATH, sent), bench.logs()) == ([], 1)
    bench.audit_of_books()


def test_of_a_backup_whose_moment_nobody_knows_nothing_is_asked_for_again(bench: Bench) -> None:
    """It may be older than what MetaKeep remembers: a look-alike waits for a person at once."""
    bench.catch_up()
    bench.time.advance(1)
    backup = taken(bench.raw)
    key = unique("lost")
    bench.mint("3", key=key)
    bench.settle(1)
    put_back(bench.raw, backup)
    controls.set_recovering(is_recovering=True)
    bench.time.advance(1)
    tick.run()
    assert bench.mint("3", key=key).data["status"] == "unknown"
    assert bench.logs() == 1


def test_a_row_whose_mark_was_lost_is_not_sent_when_it_is_too_late(bench: Bench) -> None:
    """Its Transfer waits for it to be sent again; when that comes too late, the chain gives it what is its own."""
    its_id = sent_since(bench)
    bench.time.advance(5 * 60)
    reconciled()
    assert not controls.is_recovering()
    assert bench.status(its_id) == "queued"
    bench.time.advance(11 * 60)
    row: Any = transactions.find(its_id, None)
    sent = bench.mark()
    assert send.resend(row, controls.read_recovery())["status"] == "unknown"
    bench.settle()
    bench.time.advance(61)
    tick.run()
    assert bench.calls(MINT_PATH, sent) == []
    assert bench.status(its_id) == "confirmed"
    assert list(found(bench)) == ["missing_in_ledger"]


def test_what_may_have_left_before_a_restore_is_not_cancelled(bench: Bench) -> None:
    """503 until it is reconciled, 409 while the chain has a Transfer that may be its own."""
    its_id = sent_since(bench)
    refused = cancel(bench, its_id)
    assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "recovering", "30")
    reconciled()
    assert not controls.is_recovering()
    assert cancel(bench, its_id).code == "invalid_state"
    assert bench.status(its_id) == "queued"
    bench.settle()
    assert (bench.status(its_id), bench.logs()) == ("confirmed", 2)


def test_what_is_held_back_is_not_cancelled(bench: Bench) -> None:
    """It may be the lost one: a person says what becomes of it, however little has been done about it yet."""
    its_id = unsent(bench)
    bench.raw.transactions.update_one({"_id": its_id}, {"$set": {"is_held_back": True}})
    assert cancel(bench, its_id).code == "invalid_state"
    assert bench.status(its_id) == "queued"


def test_what_the_chain_has_nothing_like_is_cancelled_after_a_restore(bench: Bench) -> None:
    """No Transfer can be its own, so nothing of it has left."""
    its_id = unsent(bench)
    controls.set_recovering(is_recovering=True)
    reconciled()
    assert not controls.is_recovering()
    assert cancel(bench, its_id).data["status"] == "cancelled"
    bench.audit()
