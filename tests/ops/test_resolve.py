"""An unknown transaction ends on evidence that is checked, along the drawing, with its books and an audit line."""

from datetime import timedelta
from typing import Any

import pytest

from getsmart import clock, config
from getsmart.amounts import UNIT
from getsmart.models import SUPPLY, TransactionRow
from getsmart.services import tick
from ops import resolve
from tests.chainbook import ZERO, found, on_chain, reconciled, unknown_row
from tests.money import MINT_PATH, Bench


@pytest.fixture(autouse=True)
def _present(bench: Bench) -> None:
    """What is mined now is dated now, also where an earlier test of this chain was ahead."""
    bench.catch_up()


@pytest.fixture
def lost(bench: Bench) -> TransactionRow:
    """A mint of 1 GETS that nobody knows the end of, sent 16 minutes ago."""
    row = unknown_row(bench)
    bench.time.advance(16 * 60)
    return row


def asked(row: Any, to: str, evidence: str, *more: str) -> int:
    """Run the command; its exit code."""
    return resolve.main([row["_id"], "--to", to, "--evidence", evidence, "--who", "ada", *more])


def audit_line(bench: Bench, row: Any) -> dict[str, Any]:
    """The one line that was written."""
    (line,) = bench.row(row["_id"])["changed_by"]
    assert (line["key_id"], line["what"], line["who"]) == ("operator", "resolve", "ada")
    line_: dict[str, Any] = line
    return line_


def queued_at_metakeep(bench: Bench, outcome: str) -> tuple[Any, str]:
    """A row that MetaKeep was given, and whose id got lost on the way back; (row, MetaKeep's id)."""
    if outcome != "completed":
        bench.provider.fault(MINT_PATH, outcome)
    bench.provider.fault(MINT_PATH, "reply_lost", times=20)
    minted = bench.mint("1")
    bench.provider.clear()
    bench.time.advance(15 * 60 + 1)
    tick.run()
    assert bench.status(minted) == "unknown"
    return bench.row(minted), bench.sandbox.newest_transaction()


def test_confirmed_by_the_chain(bench: Bench, lost: TransactionRow, capsys: pytest.CaptureFixture[str]) -> None:
    """The receipt is read here, and has to show this very Transfer."""
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    assert asked(lost, "confirmed", f"tx_hash={mined['tx_hash'].upper().replace('0X', '0x')}") == 0
    assert capsys.readouterr().out.endswith(f"{lost['_id']} is confirmed\n")
    assert bench.row(lost["_id"])["block_number"] == mined["block_number"]
    assert audit_line(bench, lost)["evidence"].lower() == f"tx_hash={mined['tx_hash']}"
    assert bench.balance()["posted"] == "1"
    reconciled()
    assert found(bench) == {}
    bench.audit_of_books()


def test_a_break_is_closed_by_whose_it_was(bench: Bench) -> None:
    """Of two look-alikes a person names one: its break closes with it, nothing is booked twice."""
    rows = [unknown_row(bench), unknown_row(bench)]
    bench.time.advance(16 * 60)
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    reconciled()
    assert list(found(bench)) == ["ambiguous"]
    assert asked(rows[1], "failed", "statement=x") == 1
    assert asked(rows[0], "confirmed", f"tx_hash={mined['tx_hash']}") == 0
    bench.time.advance(61)
    reconciled()
    assert found(bench) == {}
    assert asked(rows[1], "failed", "statement=MetaKeep's console shows one call only") == 0
    assert bench.balance()["posted"] == "1"
    bench.audit_of_books()


def test_a_booked_transfer_gives_way(bench: Bench, lost: TransactionRow) -> None:
    """What was booked through `external` is reversed where a person says whose it is."""
    bench.time.advance(2 * 3600)
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    reconciled()
    assert list(found(bench)) == ["missing_in_ledger"]
    free = bench.available(SUPPLY)
    assert asked(lost, "confirmed", f"tx_hash={mined['tx_hash']}") == 0
    assert found(bench) == {}
    assert bench.balance()["posted"] == bench.balance()["available"] == "1"
    assert bench.available(SUPPLY) == free + UNIT
    bench.audit_of_books()


@pytest.mark.parametrize(
    ("outcome", "to"), [("completed", "confirmed"), ("failed", "failed"), ("cancelled", "cancelled")]
)
def test_by_the_providers_status(
    bench: Bench, pauses: list[float], monkeypatch: pytest.MonkeyPatch, outcome: str, to: str
) -> None:
    """MetaKeep is asked here, under the id that is named; what it says is what happens, and nothing else.

    Without a node: with one, the tick has found the Transfer by itself.
    """
    monkeypatch.delenv("CHAIN_RPC_URL")
    config.forget()
    row, its_id = queued_at_metakeep(bench, outcome)
    for other in {"confirmed", "failed", "cancelled"} - {to}:
        assert asked(row, other, f"provider={its_id}") == 1
    assert bench.status(row["_id"]) == "unknown"
    assert asked(row, to, f"provider={its_id}") == 0
    assert bench.status(row["_id"]) == to
    assert audit_line(bench, row)["evidence"] == f"provider={its_id}"
    bench.audit_of_books()


def test_submitted_again_under_metakeeps_id(bench: Bench, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is polled from then on, and ends like any other."""
    monkeypatch.delenv("CHAIN_RPC_URL")
    config.forget()
    row, its_id = queued_at_metakeep(bench, "completed")
    assert asked(row, "submitted", f"provider={its_id}") == 0
    assert bench.status(row["_id"]) == "submitted"
    tick.run()
    assert bench.status(row["_id"]) == "confirmed"
    audit_line(bench, row)
    bench.audit_of_books()


@pytest.mark.parametrize("to", ["failed", "cancelled"])
def test_ended_by_a_statement(bench: Bench, lost: TransactionRow, to: str) -> None:
    """Absence is a person's word; the reserve comes back."""
    free = bench.available(SUPPLY)
    assert asked(lost, to, "statement=MetaKeep's support found no call, ticket 7") == 0
    row = bench.row(lost["_id"])
    assert (row["status"], row["failure"]["code"]) == (to, "resolved_by_operator")
    assert audit_line(bench, lost)["evidence"] == "statement=MetaKeep's support found no call, ticket 7"
    assert bench.available(SUPPLY) == free + UNIT
    bench.audit_of_books()


@pytest.mark.parametrize("evidence", ["provider", "tx_hash"])
def test_a_revert_counts_at_its_depth(bench: Bench, monkeypatch: pytest.MonkeyPatch, evidence: str) -> None:
    """Before, its block may be reorganised and the same transaction succeed."""
    row, its_id = queued_at_metakeep(bench, "failed")
    block = bench.provider.rpc("eth_getBlockByNumber", "latest", True)
    tx_hash = block["transactions"][0]["hash"]
    bench.raw.transactions.update_one({"_id": row["_id"]}, {"$set": {"tx_hash": tx_hash}})
    given = {"provider": f"provider={its_id}", "tx_hash": f"tx_hash={tx_hash}"}[evidence]
    monkeypatch.setenv("CONFIRMATION_DEPTH", "1")
    config.forget()
    assert asked(row, "failed", given) == 1
    monkeypatch.setenv("CONFIRMATION_DEPTH", "0")
    config.forget()
    assert asked(row, "failed", given) == 0
    bench.audit_of_books()


def test_a_reverted_transaction_fails_the_one_it_is_of(bench: Bench, pauses: list[float]) -> None:
    """Known by its hash; somebody else's reverted transaction proves nothing."""
    row, _ = queued_at_metakeep(bench, "failed")
    (block,) = [bench.provider.rpc("eth_getBlockByNumber", "latest", True)]
    tx_hash = block["transactions"][0]["hash"]
    assert asked(row, "failed", f"tx_hash={tx_hash}") == 1
    bench.raw.transactions.update_one({"_id": row["_id"]}, {"$set": {"tx_hash": tx_hash}})
    assert asked(row, "confirmed", f"tx_hash={tx_hash}") == 1
    assert asked(row, "failed", f"tx_hash={tx_hash}") == 0
    assert bench.status(row["_id"]) == "failed"
    bench.audit_of_books()


@pytest.mark.parametrize(
    ("to", "evidence", "why"),
    [
        ("confirmed", "", "evidence is"),
        ("confirmed", "because=i say so", "evidence is"),
        ("confirmed", "tx_hash=", "no transaction's hash"),
        ("confirmed", "tx_hash=0x" + "ab" * 32, "no such transaction"),
        ("failed", "tx_hash=0x" + "ab" * 32, "does not"),
        ("submitted", "tx_hash=0x" + "ab" * 32, "does not"),
        ("confirmed", "provider", "not known"),
        ("confirmed", "provider=nobody", "does not know"),
        ("submitted", "provider=nobody", "does not know"),
        ("confirmed", "statement=I am sure", "never confirms"),
        ("submitted", "statement=I am sure", "never confirms"),
        ("failed", "statement=", "has to say"),
        ("failed", "statement= ", "has to say"),
    ],
)
def test_what_is_no_evidence_is_refused(
    bench: Bench, lost: TransactionRow, to: str, evidence: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing moves, and the reason is said."""
    before = bench.row(lost["_id"])
    capsys.readouterr()
    assert asked(lost, to, evidence) == 1
    assert why in capsys.readouterr().err
    assert bench.row(lost["_id"]) == before


def test_evidence_of_something_else_is_refused(
    bench: Bench, lost: TransactionRow, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another amount, another recipient, a Transfer that has settled another row, another row's id at MetaKeep."""
    other = bench.mint("1")
    bench.settle()
    wrong = on_chain(bench, (ZERO, bench.wallet["address"], 2 * UNIT), (ZERO, bench.sandbox.treasury_address, UNIT))
    hashes = [*(one["tx_hash"] for one in wrong), bench.row(other)["tx_hash"]]
    for tx_hash, why in zip(hashes, ("0 such", "0 such", "another transaction"), strict=True):
        assert asked(lost, "confirmed", f"tx_hash={tx_hash}") == 1
        assert why in capsys.readouterr().err
    assert asked(lost, "confirmed", f"provider={bench.row(other)['metakeep_transaction_id']}") == 1
    assert bench.status(lost["_id"]) == "unknown"


def test_a_statement_against_the_chain_is_refused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A Transfer like it that is nobody's has to be named first. As long as it may be sent again: not at all."""
    row = unknown_row(bench)
    assert asked(row, "failed", "statement=too early") == 1
    assert "15 minutes" in capsys.readouterr().err
    bench.time.advance(2 * 3600)
    on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    reconciled()
    assert asked(row, "failed", "statement=nothing happened") == 1
    assert "a Transfer like it" in capsys.readouterr().err


def test_a_statement_against_a_receipt_is_refused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """What is known by its hash is asked for on the chain, however near to its head it lies."""
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    row = unknown_row(bench, tx_hash=mined["tx_hash"])
    bench.time.advance(16 * 60)
    assert asked(row, "failed", "statement=nothing happened") == 1
    assert "the chain has it" in capsys.readouterr().err
    assert bench.status(row["_id"]) == "unknown"


def test_only_what_is_unknown_is_resolved(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What moves by itself is left alone, what is final stays so, and without a node the chain is no evidence."""
    minted = bench.mint("1")
    assert asked(bench.row(minted), "failed", "statement=x") == 1
    bench.settle()
    assert asked(bench.row(minted), "failed", "statement=x") == 1
    assert bench.status(minted) == "confirmed"
    assert asked({"_id": "txn_01ARZ3NDEKTSV4RRFFQ69G5FAV"}, "failed", "statement=x") == 1
    row = unknown_row(bench, created_at=clock.now() - timedelta(hours=1))
    monkeypatch.delenv("CHAIN_RPC_URL")
    config.forget()
    assert asked(row, "confirmed", "tx_hash=0x" + "ab" * 32) == 1
