"""Cancelling: only what was not sent, and never what the chain then shows."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from getsmart.machine import airdrop, conclude, send
from getsmart.services import tick
from getsmart.stores import batches, transactions
from tests.crashes import Crashes
from tests.money import QUIET, Bench, units
from tests.support import Answer, Client, unique


def cancel(bench: Bench, transaction_id: str, by: Client | None = None) -> Answer:
    """POST tokens/transaction."""
    return (by or bench.app).post("tokens/transaction", {"transaction_id": transaction_id, "action": "cancel"})


def waiting(bench: Bench, count: int = 1) -> list[str]:
    """Transactions of which nothing was sent: rows of an airdrop that the tick has only unfolded."""
    rows = [{"wallet_id": bench.wallet["wallet_id"], "amount": "1"}] * count
    body = {"reference": unique("r"), "rows": rows}
    accepted = bench.app.post("tokens/airdrop", body, key=unique("k"))
    assert accepted.status == 202, accepted.text
    while any(airdrop.work(batch) for batch in batches.find_open()):
        pass
    made = bench.raw.transactions.find({"batch_id": accepted.data["batch_id"]}).sort("batch_row", 1)
    return [str(row["_id"]) for row in made]


def test_cancelled_before_it_was_sent(bench: Bench) -> None:
    """Its amount is free again, it is never sent, and cancelling it again changes nothing."""
    before = bench.available("supply")
    (transaction_id,) = waiting(bench)
    answer = cancel(bench, transaction_id)
    assert (answer.status, answer.data["status"]) == (200, "cancelled")
    assert answer.data["failure"]["code"] == "cancelled_by_client"
    assert cancel(bench, transaction_id).data == answer.data
    assert bench.available("supply") == before
    bench.settle()
    assert bench.logs() == 0
    bench.audit()


def test_what_was_sent_or_is_final_is_not_cancelled(bench: Bench) -> None:
    """409, before and after its end; the row goes on."""
    minted = bench.mint()
    transaction_id = minted.data["transaction_id"]
    assert cancel(bench, transaction_id).code == "invalid_state"
    bench.settle()
    assert cancel(bench, transaction_id).code == "invalid_state"
    assert bench.status(minted) == "confirmed"


def test_a_put_off_row_may_have_left(bench: Bench, pauses: list[float]) -> None:
    """Queued, but a try was made: nobody knows what came of it."""
    bench.provider.fault("/v2/app/coin/mint", "500", times=3)
    minted = bench.mint()
    assert minted.data["status"] == "queued"
    assert cancel(bench, minted.data["transaction_id"]).code == "invalid_state"


def test_it_takes_the_scope_it_was_made_with(bench: Bench, make_client: Any) -> None:
    """A key that cannot mint cannot cancel a mint; another client does not even see it."""
    (transaction_id,) = waiting(bench)
    lesser = make_client(scopes=["tokens:transfer", "treasury:transfer", "tokens:burn"])
    assert cancel(bench, transaction_id, lesser).code == "forbidden_scope"
    assert cancel(bench, transaction_id, make_client("other")).code == "not_found"
    bench.funded("5")
    target = bench.new_wallet()["wallet_id"]
    for body, scope in (
        ({"to_wallet_id": target, "amount": "1"}, "treasury:transfer"),
        ({"from_wallet_id": bench.wallet["wallet_id"], "to_wallet_id": target, "amount": "1"}, "tokens:transfer"),
    ):
        paid = bench.app.post("tokens/transfer", body, key=unique("k")).data["transaction_id"]
        assert cancel(bench, paid, make_client(scopes=["tokens:mint", "tokens:burn"])).code == "forbidden_scope"
        assert cancel(bench, paid, make_client(scopes=[scope])).code == "invalid_state"
    burned = bench.burn("1").data["transaction_id"]
    assert cancel(bench, burned, make_client(scopes=["tokens:mint"])).code == "forbidden_scope"
    (another,) = waiting(bench)
    assert cancel(bench, another, make_client("boss", scopes=["admin"])).status == 200


@pytest.mark.parametrize("races", [40, pytest.param(200, marks=pytest.mark.long)])
def test_cancel_raced_against_sending(bench: Bench, races: int) -> None:
    """Each row of every race is either cancelled and never on the chain, or sent and then confirmed."""
    ids = waiting(bench, races)
    start = threading.Barrier(2)

    def sent(transaction_id: str) -> Any:
        row = transactions.find(transaction_id, None)
        assert row is not None
        start.wait()
        return send.resend(row)

    def cancelled(transaction_id: str) -> Answer:
        start.wait()
        return cancel(bench, transaction_id)

    answers: dict[str, Answer] = {}
    with ThreadPoolExecutor(2) as pool:
        for transaction_id in ids:
            sending, cancelling = pool.submit(sent, transaction_id), pool.submit(cancelled, transaction_id)
            sending.result()
            answers[transaction_id] = cancelling.result()
    bench.settle()
    while bench.raw.transactions.find_one({"status": "submitted"}):
        bench.settle(1)
    stopped = {name for name, answer in answers.items() if answer.status == 200}
    assert {answer.code for answer in answers.values() if answer.status != 200} <= {"invalid_state"}
    rows = {row["_id"]: row["status"] for row in bench.raw.transactions.find()}
    assert rows == {name: "cancelled" if name in stopped else "confirmed" for name in ids}
    assert bench.logs() == races - len(stopped)
    assert bench.on_chain() == units("1") * (races - len(stopped))
    bench.audit()


def test_killed_anywhere_while_cancelling(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not cancelled, and sent; or cancelled, and the reserve is back, by the repair if need be."""
    crashes = Crashes(monkeypatch)
    boundaries = crashes.boundaries(partial(cancel, bench, waiting(bench)[0]))
    assert len(boundaries) == 4
    for boundary in boundaries:
        (transaction_id,) = waiting(bench)
        crashes.die(boundary, partial(cancel, bench, transaction_id))
        bench.settle()
        ended = "confirmed" if boundary == "before getsmart.stores.transactions.move" else "cancelled"
        assert bench.status(transaction_id) == ended
    bench.time.advance(QUIET)
    tick.run()
    bench.audit()
    assert bench.logs() == 1


def test_a_row_that_keeps_changing_is_left(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try loses to somebody else's note: the row is told as it stands."""
    (transaction_id,) = waiting(bench)
    row = transactions.find(transaction_id, None)
    assert row is not None
    monkeypatch.setattr(conclude, "end_without_effect", lambda *_: None)
    assert conclude.cancel_unsent(row)["status"] == "queued"
