"""The double-entry ledger: entries only grow, accounts and books are their sums."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pymongo.errors import DuplicateKeyError, WriteError

from getsmart import clock, mongo
from getsmart.errors import Internal
from getsmart.models import TransactionRow
from getsmart.mongo import to_decimal, to_units
from getsmart.stores import ledger
from tests.money import Raw, in_parallel
from tests.rows import WALLET, kept

OTHER = "wlt_00000000000000000000000002"
GENESIS = 20_000_000 * 10**18

pytestmark = pytest.mark.usefixtures("system")


def post(**changes: Any) -> TransactionRow:
    """Book a row that was just confirmed."""
    row = kept(status="confirmed", is_unsummed=True, **changes)
    mongo.transact(lambda session: ledger.post(row, session=session))
    return row


def between(origin: str, target: str, units: int) -> TransactionRow:
    """Book a movement between two accounts."""
    return post(amount=to_decimal(units), origin={"account": origin}, target={"account": target})


def books(raw: Raw) -> dict[str, int]:
    """The system accounts and the control account of all wallets, without genesis."""
    row: Any = raw.controls.find_one({"_id": "books"})
    found = {name: to_units(row[name]) for name in ("issuance", "treasury", "burned", "external", "wallets")}
    assert sum(found.values()) == 0
    return {**found, "issuance": found["issuance"] + GENESIS, "treasury": found["treasury"] - GENESIS}


def test_a_posting_is_a_debit_and_a_credit(system: Raw) -> None:
    """Of the same amount; the wallet's entry carries its place and its balance."""
    row = post()
    debit, credit = (system.entries.find_one({"_id": f"{row['_id']}:{side}"}) for side in ("debit", "credit"))
    assert debit is not None
    assert credit is not None
    assert (debit["account"], credit["account"], debit["amount"], credit["amount"]) == (
        "issuance",
        WALLET,
        row["amount"],
        row["amount"],
    )
    assert "account_sequence" not in debit
    assert (credit["account_sequence"], credit["balance_after"], credit["at"]) == (1, to_decimal(10), row["updated_at"])


def test_nothing_is_posted_twice(system: Raw) -> None:
    """An entry's id is its transaction's and its side."""
    row = post()
    with pytest.raises(DuplicateKeyError):
        mongo.transact(lambda session: ledger.post(row, session=session))
    assert system.entries.count_documents({"transaction_id": row["_id"]}) == 2


def test_a_debit_moves_what_was_held_and_a_credit_what_is_available(system: Raw) -> None:
    """Posted follows the entries; available was lowered when the hold was taken."""
    between("issuance", WALLET, 30)
    system.accounts.update_one({"_id": WALLET}, {"$inc": {"available": to_decimal(-12)}})  # the hold
    between(WALLET, "burned", 12)
    account: Any = system.accounts.find_one({"_id": WALLET})
    assert (to_units(account["posted"]), to_units(account["available"]), account["sequence"]) == (18, 18, 2)


def test_wallet_to_wallet_moves_both(system: Raw) -> None:
    """Two accounts, one transaction."""
    between("issuance", WALLET, 30)
    system.accounts.update_one({"_id": WALLET}, {"$inc": {"available": to_decimal(-10)}})
    between(WALLET, OTHER, 10)
    posted = {row["_id"]: to_units(row["posted"]) for row in system.accounts.find()}
    assert posted == {WALLET: 20, OTHER: 10}
    ledger.sum_confirmed(10)
    assert books(system) == {"issuance": -30, "treasury": 0, "burned": 0, "external": 0, "wallets": 30}


def test_a_wallet_cannot_go_below_zero(system: Raw) -> None:
    """The validator refuses what no hold has covered, and nothing of the posting stays."""
    between("issuance", WALLET, 5)
    with pytest.raises(WriteError):
        between(WALLET, "burned", 6)
    account: Any = system.accounts.find_one({"_id": WALLET})
    assert (to_units(account["posted"]), system.entries.count_documents({"account": WALLET})) == (5, 1)


def refused(work: Callable[[], Any]) -> bool:
    """Whether the guard stopped this one."""
    try:
        work()
    except Internal:
        return True
    return False


def test_a_posting_on_a_stale_reading_is_not_written(system: Raw) -> None:
    """The sequence guards the running balance even without the transaction around it: a bug cannot lose a posting."""
    between("issuance", WALLET, 5)
    without_transaction: Any = None
    moved, stopped = 0, 0
    deadline = time.monotonic() + 20
    while not stopped and time.monotonic() < deadline:
        move = partial(ledger._move_wallet, WALLET, 1, clock.now(), without_transaction)
        outcomes = in_parallel([partial(refused, move)] * 8)
        moved += outcomes.count(False)
        stopped += outcomes.count(True)
    assert stopped
    account: Any = system.accounts.find_one({"_id": WALLET})
    assert (to_units(account["posted"]), account["sequence"]) == (5 + moved, 1 + moved)


def test_sums_fold_every_row_once(system: Raw) -> None:
    """In portions, by several at once, and again: the books hold each row exactly once."""
    for units in range(1, 8):
        between("issuance", WALLET, units)
    between("treasury", "external", 100)
    assert ledger.sum_confirmed(3) == 3
    in_parallel([lambda: ledger.sum_confirmed(2)] * 4)
    while ledger.sum_confirmed(2):
        pass
    assert books(system) == {"issuance": -28, "treasury": -100, "burned": 0, "external": 100, "wallets": 28}
    row: Any = system.controls.find_one({"_id": "books"})
    assert row["transactions"] == 1 + 8
    assert ledger.sum_confirmed(10) == 0


def test_rows_that_lost_their_flag_are_not_summed_again(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the transaction around it, a sum notices that another one took its rows."""
    monkeypatch.setattr(ledger, "transact", lambda work: work(None))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for _ in range(3):
            between("treasury", "external", 1)
        if True in in_parallel([lambda: refused(lambda: ledger.sum_confirmed(10))] * 8):
            return
    pytest.fail("no two sums ever met")


def test_balances_count_what_is_not_yet_summed(system: Raw) -> None:
    """Minted and treasury are exact at any moment between confirmation and sum."""
    between("issuance", WALLET, 5)
    between("treasury", "external", 7)

    def read() -> tuple[int, int, int]:
        return mongo.transact(
            lambda session: (
                ledger.minted(session=session),
                ledger.treasury(session=session),
                ledger.posted(WALLET, session=session),
            )
        )

    expected = (GENESIS + 5, GENESIS - 7, 5)
    assert read() == expected
    ledger.sum_confirmed(10)
    assert read() == expected
    assert mongo.transact(lambda session: ledger.posted("wlt_none", session=session)) == 0


def test_without_books_nothing_is_counted(system: Raw) -> None:
    """A database that was never migrated says so."""
    system.controls.delete_one({"_id": "books"})
    with pytest.raises(Internal, match="migrations are missing"):
        mongo.transact(lambda session: ledger.minted(session=session))


@pytest.mark.parametrize(
    ("collection", "change"),
    [
        ("entries", {"amount": to_decimal(0)}),
        ("entries", {"amount": to_decimal(-1)}),
        ("entries", {"direction": "sideways"}),
        ("entries", {"account": None}),
        ("accounts", {"posted": to_decimal(-1)}),
        ("accounts", {"available": to_decimal(-1)}),
        ("accounts", {"posted": 5}),
        ("controls", {"available": to_decimal(-1)}),
        ("controls", {"available": 7}),
    ],
)
def test_the_database_refuses_what_the_books_cannot_hold(system: Raw, collection: str, change: dict[str, Any]) -> None:
    """No negative amount or balance, and no float, whoever writes it."""
    post()
    query = {"_id": "supply"} if collection == "controls" else {"_id": {"$ne": None}}
    with pytest.raises(WriteError):
        system[collection].update_one(query, {"$set": change})
