"""Submitted transactions find their end, and only on evidence: what MetaKeep's status and the chain both say."""

from collections.abc import Callable
from typing import Any

import pytest

from getsmart.chain import ChainUnavailable
from getsmart.machine import settle
from getsmart.metakeep import client
from getsmart.mongo import to_decimal
from getsmart.services import tick
from getsmart.stores import transactions
from tests.money import MINT_PATH, STATUS_PATH, Bench, units
from tests.node import Node, receipt, transfer_log
from tests.support import Answer
from tests.wire import free_url

ZERO = "0x" + "0" * 40
FIFTEEN_MINUTES = 15 * 60


def submitted(bench: Bench, amount: str = "10") -> Answer:
    """A mint that the chain has mined and nobody has looked at yet."""
    minted = bench.mint(amount)
    assert minted.data["status"] == "submitted"
    bench.time.advance(5)
    return minted


def never_booked(bench: Bench, minted: Answer) -> None:
    """Look for a long time: the row waits as unknown, nothing is booked, nothing given back."""
    tick.run()
    bench.settle(1)
    bench.time.advance(FIFTEEN_MINUTES)
    bench.settle(2)
    assert bench.status(minted) == "unknown"
    assert bench.raw.entries.count_documents({"transaction_id": bench.row(minted)["_id"]}) == 0
    assert bench.row(minted)["hold"]["state"] == "held"


def test_confirmation_keeps_the_evidence(bench: Bench) -> None:
    """Hash, block, explorer link, and which log of the chain it was."""
    minted = submitted(bench)
    tick.run()
    row = bench.row(minted)
    assert (row["status"], row["tx_hash"]) == ("confirmed", minted.data["tx_hash"])
    assert row["settlement"] == {"tx_hash": row["tx_hash"], "log_index": 0}
    assert row["block_number"] == int(bench.provider.rpc("eth_blockNumber"), 16)
    assert row["explorer_url"] == f"https://amoy.polygonscan.com/tx/{row['tx_hash']}"
    bench.audit()


def test_without_a_node_the_provider_alone_is_believed(bench: Bench, setting: Callable[..., None]) -> None:
    """Then the Transfer in the status reply is the evidence; the block stays unknown."""
    setting(CHAIN_RPC_URL=None)
    minted = submitted(bench)
    tick.run()
    row = bench.row(minted)
    assert (row["status"], "block_number" in row) == ("confirmed", False)
    assert row["settlement"] == {"tx_hash": row["tx_hash"], "log_index": None}
    bench.audit()


@pytest.mark.parametrize("kind", ["500", "429", "reply_lost"])
def test_a_status_that_does_not_answer_is_asked_again(bench: Bench, pauses: list[float], kind: str) -> None:
    """The row stays submitted, is looked at later, and is booked once."""
    minted = submitted(bench)
    bench.provider.fault(STATUS_PATH, kind, times=3)
    tick.run()
    row = bench.row(minted)
    assert row["status"] == "submitted"
    assert row["due_at"] > bench.now()
    bench.settle()
    assert (bench.status(minted), bench.logs()) == ("confirmed", 1)
    bench.audit()


@pytest.mark.parametrize("kind", ["slow", "hold"])
def test_a_status_that_is_late_is_asked_again(
    bench: Bench, pauses: list[float], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Within the call where there is time."""
    minted = submitted(bench)
    monkeypatch.setattr(client, "READ_SECONDS", 1.0)
    bench.provider.fault(STATUS_PATH, kind, **({"delay_ms": 5_000} if kind == "slow" else {}))
    tick.run()
    bench.provider.clear()
    assert (bench.status(minted), len(pauses)) == ("confirmed", 1)


def test_a_queued_status_is_asked_again_and_again(bench: Bench) -> None:
    """The pauses grow from 2 s to 8 s; each look costs one call."""
    bench.time.stand()
    bench.provider.fault(MINT_PATH, "stuck")
    minted = bench.mint()
    pauses = []
    for _ in range(6):
        bench.time.advance(11)
        mark = bench.mark()
        tick.run()
        assert len(bench.calls(STATUS_PATH, mark)) == 1
        pauses.append((bench.row(minted)["due_at"] - bench.now()).total_seconds())
    assert bench.status(minted) == "submitted"
    assert all(5 <= pause <= 6.25 for pause in pauses[:5])
    assert 8 <= pauses[5] <= 10


@pytest.mark.parametrize(
    ("age", "status", "base"), [(0, "submitted", 2), (30, "submitted", 5), (90, "submitted", 8), (0, "unknown", 60)]
)
def test_pauses_between_two_looks(age: float, status: str, base: float) -> None:
    """Soon at first, then like MetaKeep's own poller, once a minute for what is unknown; always with jitter."""
    seen = {settle._pause_seconds(age, status) for _ in range(20)}
    assert all(base <= pause <= base * 1.25 for pause in seen)
    assert len(seen) > 1


def test_stuck_for_fifteen_minutes_is_unknown_and_settles_when_it_is_mined(bench: Bench) -> None:
    """Unknown is no end: the provider's status decides later, and the reserve is held until then."""
    bench.provider.fault(MINT_PATH, "stuck")
    minted = bench.mint()
    held = bench.available("supply")
    bench.time.advance(FIFTEEN_MINUTES - 5)
    tick.run()
    assert bench.status(minted) == "submitted"
    bench.time.advance(60)
    tick.run()
    assert (bench.status(minted), bench.available("supply")) == ("unknown", held)
    bench.audit()
    bench.provider.clear()  # releases what is stuck
    bench.settle(3)
    assert (bench.status(minted), bench.logs()) == ("confirmed", 1)
    assert [step["status"] for step in bench.row(minted)["timeline"]] == ["queued", "submitted", "unknown", "confirmed"]
    bench.audit()


def test_an_amount_that_differs_is_never_booked(bench: Bench) -> None:
    """COMPLETED with another amount than ordered."""
    minted = submitted(bench)
    bench.raw.transactions.update_one({"_id": bench.row(minted)["_id"]}, {"$set": {"amount": to_decimal(units("11"))}})
    never_booked(bench, minted)


@pytest.mark.parametrize("side", ["origin", "target"])
def test_a_party_that_differs_is_never_booked(bench: Bench, side: str) -> None:
    """COMPLETED from or to somebody else than ordered."""
    minted = submitted(bench)
    other = {"account": "external", "address": "0x" + "e" * 40}
    bench.raw.transactions.update_one({"_id": bench.row(minted)["_id"]}, {"$set": {side: other}})
    never_booked(bench, minted)


def test_a_contract_that_differs_is_never_booked(bench: Bench, setting: Callable[..., None]) -> None:
    """COMPLETED on another contract than ours."""
    minted = submitted(bench)
    setting(TOKEN_CONTRACT_ADDRESS="0x" + "c" * 40)
    never_booked(bench, minted)


def _logs(bench: Bench, **changes: Any) -> dict[str, Any]:
    content = {
        "token": bench.sandbox.token_address,
        "sender": ZERO,
        "recipient": bench.wallet["address"],
        "units": units("10"),
        **changes,
    }
    return transfer_log(**content)


def test_a_chain_that_says_reverted_is_never_booked(bench: Bench, setting: Callable[..., None]) -> None:
    """MetaKeep says completed, the chain says reverted: a person has to look."""
    minted = submitted(bench)
    with Node({"eth_getTransactionReceipt": receipt(_logs(bench), status=0)}) as node:
        setting(CHAIN_RPC_URL=node.url)
        never_booked(bench, minted)
    assert node.questions


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [{"token": "0x" + "c" * 40}],
        [{"sender": "0x" + "a" * 40}],
        [{"recipient": "0x" + "b" * 40}],
        [{"units": units("10") - 1}],
        [{"index": 0}, {"index": 1}],
    ],
)
def test_a_chain_that_shows_another_transfer_is_never_booked(
    bench: Bench, setting: Callable[..., None], changes: list[dict[str, Any]]
) -> None:
    """None, a foreign one, or two where one was ordered."""
    minted = submitted(bench)
    logs = [_logs(bench, **change) for change in changes]
    with Node({"eth_getTransactionReceipt": receipt(*logs)}) as node:
        setting(CHAIN_RPC_URL=node.url)
        never_booked(bench, minted)


def test_a_receipt_that_is_missing_is_waited_for(bench: Bench, setting: Callable[..., None], sandbox: Any) -> None:
    """A node that lags behind MetaKeep: nothing is booked until it has the block too."""
    minted = submitted(bench)
    with Node({"eth_getTransactionReceipt": None}) as node:
        setting(CHAIN_RPC_URL=node.url)
        tick.run()
        assert bench.status(minted) == "submitted"
    setting(CHAIN_RPC_URL=sandbox.rpc_url)
    bench.settle()
    assert bench.status(minted) == "confirmed"
    bench.audit()


def test_what_the_chain_took_back_is_never_booked(bench: Bench) -> None:
    """COMPLETED, and reorganised away before anybody looked: no receipt, so unknown in the end."""
    bench.catch_up()
    bench.provider.fault(MINT_PATH, "reorg", delay_ms=0)
    minted = bench.mint()
    bench.time.advance(10)
    never_booked(bench, minted)
    assert (bench.logs(), bench.on_chain()) == (0, 0)


def test_a_block_counts_at_its_depth(bench: Bench, setting: Callable[..., None]) -> None:
    """With a confirmation depth of 2 the second block after it makes it certain, not the first."""
    setting(CONFIRMATION_DEPTH="2")
    minted = submitted(bench)
    seen = []
    for _ in range(3):
        bench.settle(1)
        seen.append(bench.status(minted))
        bench.app.post("wallets/create", {"owner": {"email": "x@example.com"}})
        bench.provider.fault(MINT_PATH, "failed")
        bench.mint("1")  # one more block
        bench.time.advance(5)
    assert seen == ["submitted", "submitted", "confirmed"]


def test_a_node_that_is_down_changes_nothing(bench: Bench, setting: Callable[..., None], sandbox: Any) -> None:
    """The second witness is asked until it answers; MetaKeep alone is not enough where it is configured."""
    minted = submitted(bench)
    setting(CHAIN_RPC_URL=free_url())
    row: Any = bench.row(minted)
    with pytest.raises(ChainUnavailable):
        settle.refresh(row)
    tick.run()
    assert bench.status(minted) == "submitted"
    bench.time.advance(FIFTEEN_MINUTES)
    tick.run()
    assert bench.status(minted) == "unknown"
    setting(CHAIN_RPC_URL=sandbox.rpc_url)
    bench.time.advance(80)
    tick.run()
    assert bench.status(minted) == "confirmed"
    bench.audit()


def test_one_transfer_settles_one_transaction(bench: Bench) -> None:
    """A log of the chain that has settled a transaction never settles another one."""
    first = submitted(bench)
    tick.run()
    assert bench.status(first) == "confirmed"
    second = submitted(bench)
    taken = {"tx_hash": bench.row(second)["tx_hash"], "log_index": 0}
    bench.raw.transactions.update_one({"_id": bench.row(first)["_id"]}, {"$set": {"settlement": taken}})
    never_booked(bench, second)


def test_who_comes_second_changes_nothing(bench: Bench) -> None:
    """Old copies of a row that has ended lead to the row as it stands."""
    minted = submitted(bench)
    stale: Any = bench.row(minted)
    tick.run()
    assert settle.refresh(stale)["status"] == "confirmed"
    assert settle.wait(stale)["status"] == "confirmed"
    assert settle._doubt(stale, "test")["status"] == "confirmed"
    bench.time.advance(FIFTEEN_MINUTES + 1)
    assert settle.wait(stale)["status"] == "confirmed"
    bench.audit()


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_who_comes_second_gives_nothing_back(bench: Bench, end: str) -> None:
    """Two that saw the failure at once return the reserve once."""
    before = bench.available("supply")
    bench.provider.fault(MINT_PATH, end)
    minted = submitted(bench)
    stale: Any = bench.row(minted)
    assert settle.refresh(stale)["status"] == end
    assert settle.refresh(stale)["status"] == end
    assert bench.available("supply") == before
    bench.audit()


def test_an_unknown_row_may_fail_late(bench: Bench) -> None:
    """What the provider says of an unknown row ends it too."""
    bench.provider.fault(MINT_PATH, "cancelled")
    minted = bench.mint()
    row: Any = bench.row(minted)
    transactions.move(row, "unknown", {})
    bench.settle(1)
    assert bench.status(minted) == "cancelled"
    bench.audit()


def _look(bench: Bench, minted: Answer) -> str:
    """What becomes of it at the next look."""
    bench.time.advance(90)
    tick.run()
    return bench.status(minted)


def test_a_failure_needs_a_reverted_receipt_at_the_depth(bench: Bench, setting: Callable[..., None]) -> None:
    """A block that is reorganised may be mined anew with another end: until it is deep nothing is given back."""
    bench.provider.fault(MINT_PATH, "failed")
    minted = submitted(bench)
    setting(CONFIRMATION_DEPTH="2")
    with Node({"eth_blockNumber": "0x6", "eth_getTransactionReceipt": None}) as node:
        setting(CHAIN_RPC_URL=node.url)
        seen = [_look(bench, minted)]
        for status, head in ((0, 6), (1, 9), (0, 6), (0, 7)):
            told = {"eth_blockNumber": hex(head), "eth_getTransactionReceipt": receipt(status=status, block=5)}
            node.results.update(told)
            seen.append(_look(bench, minted))
    assert seen == ["submitted", "submitted", "unknown", "unknown", "failed"]
    bench.audit_of_books()


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_an_end_without_effect_that_the_chain_denies(bench: Bench, setting: Callable[..., None], end: str) -> None:
    """The chain is the judge: where it has this very Transfer, the row is confirmed, whatever MetaKeep says."""
    bench.provider.fault(MINT_PATH, end)
    minted = submitted(bench)
    with Node({"eth_getTransactionReceipt": receipt(_logs(bench))}) as node:
        setting(CHAIN_RPC_URL=node.url)
        seen = [_look(bench, minted) for _ in range(2)]
    assert seen == ["unknown", "confirmed"]
    bench.audit_of_books()


def test_cancelled_is_believed_where_the_chain_has_nothing(bench: Bench) -> None:
    """Never mined: there is no receipt that could say so."""
    bench.provider.fault(MINT_PATH, "cancelled")
    minted = submitted(bench)
    assert _look(bench, minted) == "cancelled"
    bench.audit()


def test_cancelled_is_believed_where_the_chain_has_it_reverted(bench: Bench, setting: Callable[..., None]) -> None:
    """Without effect, as deep as what is booked; before that its block may still be reorganised."""
    bench.provider.fault(MINT_PATH, "cancelled")
    minted = submitted(bench)
    setting(CONFIRMATION_DEPTH="2")
    with Node({"eth_blockNumber": "0x6", "eth_getTransactionReceipt": receipt(status=0, block=5)}) as node:
        setting(CHAIN_RPC_URL=node.url)
        seen = [_look(bench, minted)]
        node.results["eth_blockNumber"] = "0x7"
        seen.append(_look(bench, minted))
    assert seen == ["submitted", "cancelled"]
    bench.audit_of_books()


def test_the_head_is_asked_for_before_the_receipt(
    bench: Bench, setting: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that is reorganised between both questions would seem deeper than it ever was."""
    setting(CONFIRMATION_DEPTH="2")
    minted, real, asked = submitted(bench), settle.chain._ask, list[str]()

    def noted(method: str, parameters: Any) -> Any:
        asked.append(method)
        return real(method, parameters)

    monkeypatch.setattr(settle.chain, "_ask", noted)
    settle.refresh(bench.row(minted))  # type: ignore[arg-type]
    assert asked == ["eth_blockNumber", "eth_getTransactionReceipt"]


def test_a_revert_reason_is_logged_without_persons(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """I6: the provider's text may name somebody; our log and the caller's failure do not."""
    bench.provider.fault(MINT_PATH, "failed", reason="no room for someone@example.com")
    minted = submitted(bench)
    capsys.readouterr()
    tick.run()
    logged = capsys.readouterr().out
    assert "transaction.reverted" in logged
    assert "no room for" in logged
    assert "someone@example.com" not in logged
    assert bench.row(minted)["failure"] == {
        "code": "execution_reverted",
        "message": "The transaction was mined and reverted.",
    }
