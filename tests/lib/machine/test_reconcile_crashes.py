"""Reconciliation that dies at any boundary is finished by the next one: each Transfer is booked once."""

import contextlib
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from getsmart import clock
from getsmart.amounts import UNIT
from getsmart.errors import Internal
from getsmart.ids import new_id
from getsmart.machine import reconcile, repair
from getsmart.machine.conclude import confirm
from getsmart.models import SUPPLY
from getsmart.services import tick
from getsmart.stores import controls, transactions
from ops.verification import verify
from tests.chainbook import OUTSIDE, ZERO, confirmed_row, found, on_chain, reconciled, stranger, unknown_row
from tests.crashes import RECONCILING, Crashes
from tests.money import BEYOND_LEASES, QUIET, Bench, Row

SWEPT = 31.0  # what is rare is looked at every 30 s


@pytest.fixture
def crashes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Crashes:
    """A process that can die anywhere."""
    bench.catch_up()
    return Crashes(monkeypatch, RECONCILING)


def die_everywhere(bench: Bench, crashes: Crashes, prepare: Callable[[], object]) -> int:
    """Prepare and reconcile once undisturbed, then once for each boundary, killed there; how many there were."""
    prepare()
    bench.time.advance(SWEPT)
    boundaries = crashes.boundaries(reconciled)
    for boundary in boundaries:
        prepare()
        bench.time.advance(SWEPT)
        crashes.die(boundary, lambda: reconcile.run(60.0))
        bench.time.advance(BEYOND_LEASES + 25)
        reconciled()
        bench.time.advance(QUIET)  # what leaked is mended, and what found too little is booked then
        repair.repair_leaks()
        bench.time.advance(SWEPT)  # a repair of a moment ago is waited out
        reconciled()
    return len(boundaries) + 1


def all_is_well(bench: Bench) -> None:
    """What leaked is mended, and every promise of the books holds."""
    bench.time.advance(QUIET)
    tick.run()
    bench.time.advance(QUIET)
    tick.run()
    assert not list(verify(lambda _name, _number: None))
    bench.audit_of_books()


def posted(bench: Bench, came: Sequence[Row]) -> list[str]:
    """What each of these wallets has, in base units."""
    return [str(row["posted"]) for row in bench.raw.accounts.find({"_id": {"$in": [row["_id"] for row in came]}})]


def test_a_foreign_mint_is_booked_once(bench: Bench, crashes: Crashes) -> None:
    """Killed before or after each write: one break, its movements once, the supply less by it once."""
    free = bench.available(SUPPLY)
    times = die_everywhere(bench, crashes, lambda: on_chain(bench, (ZERO, bench.wallet["address"], UNIT)))
    all_is_well(bench)
    assert len(found(bench)["missing_in_ledger"]) == times > 15
    assert bench.balance()["posted"] == bench.balance()["available"] == str(times)
    assert bench.available(SUPPLY) == free - times * UNIT
    assert bench.on_chain() == times * UNIT


def test_what_a_repair_has_mended_is_taken_again(bench: Bench, crashes: Crashes) -> None:
    """What leaked was all the wallet had: right after its repair nothing is taken, half a minute later it is booked."""
    bench.funded("1")
    on_chain(bench, (bench.wallet["address"], OUTSIDE, UNIT))
    crashes.die("after getsmart.stores.reserves.take", lambda: reconcile.run(60.0))
    bench.time.advance(QUIET)
    assert repair.repair_leaks() == 1
    for _ in range(3):
        reconciled()
        assert bench.balance()["available"] == "1"
    bench.time.advance(SWEPT)
    reconciled()
    assert bench.balance()["posted"] == bench.balance()["available"] == "0"
    all_is_well(bench)


def test_what_left_a_wallet_is_booked_once(bench: Bench, crashes: Crashes) -> None:
    """The same for a holder's own transfer: what was set aside by a process that died comes back."""
    bench.funded("100")
    times = die_everywhere(bench, crashes, lambda: on_chain(bench, (bench.wallet["address"], OUTSIDE, UNIT)))
    all_is_well(bench)
    assert len(found(bench)["missing_in_ledger"]) == times
    assert bench.balance()["posted"] == bench.balance()["available"] == str(100 - times)


def test_what_strangers_do_ends_closed(bench: Bench, crashes: Crashes) -> None:
    """Killed between the break and its end, too: nobody is called for it."""
    on_chain(bench, (ZERO, OUTSIDE, 100 * UNIT))
    reconciled()
    times = die_everywhere(bench, crashes, lambda: on_chain(bench, (OUTSIDE, ZERO[:-1] + "9", UNIT)))
    all_is_well(bench)
    assert len(found(bench)["missing_in_ledger"]) == 1
    assert len(found(bench, "resolved")["missing_in_ledger"]) == times > 8


def test_what_a_newcomer_had_is_booked_once(bench: Bench, crashes: Crashes) -> None:
    """A Transfer between strangers, closed as such, and one of them has a wallet now: killed anywhere, theirs once."""
    on_chain(bench, (ZERO, OUTSIDE, 100 * UNIT))
    came: list[Row] = []

    def prepare() -> None:
        came.append(stranger(bench))
        on_chain(bench, (OUTSIDE, came[-1]["address"], UNIT))
        reconciled()
        bench.raw.wallets.insert_one(came[-1])

    times = die_everywhere(bench, crashes, prepare)
    all_is_well(bench)
    assert len(came) == times > 8
    assert posted(bench, came) == [str(UNIT)] * times
    assert len(found(bench)["missing_in_ledger"]) == times + 1


def test_what_we_paid_a_newcomer_is_passed_on_once(bench: Bench, crashes: Crashes) -> None:
    """Our own transfer to an address that is a wallet by now: killed anywhere, in the wallet once."""
    came: list[Row] = []

    def prepare() -> None:
        came.append(stranger(bench))
        sent = bench.transfer("1", to_address=came[-1]["address"])
        bench.settle()
        assert bench.status(sent) == "confirmed"
        reconciled()
        came[-1]["_id"] = new_id("wlt")
        bench.raw.wallets.insert_one(came[-1])

    times = die_everywhere(bench, crashes, prepare)
    all_is_well(bench)
    assert len(came) == times > 8
    assert posted(bench, came) == [str(UNIT)] * times
    assert bench.raw.corrections.count_documents({}) == times
    assert found(bench) == {}


def test_what_comes_to_light_late_is_passed_on_once(bench: Bench, crashes: Crashes) -> None:
    """Confirmed by MetaKeep alone and looked up when the wallet is not new any more: its mark goes last."""
    came: list[Row] = []

    def prepare() -> None:
        came.append(stranger(bench))
        sent = bench.transfer("1", to_address=came[-1]["address"])
        bench.settle()
        mine = {"_id": bench.row(sent)["_id"]}
        unseen = {"settlement.log_index": None, "is_unwitnessed": True}
        later = clock.now() + timedelta(hours=2)
        bench.raw.transactions.update_one(mine, {"$set": {**unseen, "updated_at": later}})
        reconciled()
        bench.raw.transactions.update_one(mine, {"$set": unseen})
        came[-1]["_id"] = new_id("wlt")
        bench.raw.wallets.insert_one(came[-1])
        for _ in range(3):
            bench.time.advance(20 * 60)
            reconciled()
        bench.raw.transactions.update_one(mine, {"$set": {"updated_at": clock.now() - timedelta(hours=1)}})

    times = die_everywhere(bench, crashes, prepare)
    all_is_well(bench)
    assert len(came) == times > 8
    assert posted(bench, came) == [str(UNIT)] * times
    assert bench.raw.corrections.count_documents({}) == times
    assert bench.raw.transactions.count_documents({"is_unwitnessed": True}) == 0
    assert found(bench) == {}


def test_a_reorganisation_is_booked_back_once(bench: Bench, crashes: Crashes) -> None:
    """Its row, its entries and its event are one."""

    def prepare() -> None:
        (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
        confirmed_row(bench, mined)
        reconciled()
        bench.provider.private("reorg", depth=1)

    times = die_everywhere(bench, crashes, prepare)
    all_is_well(bench)
    assert len(found(bench)["reorged"]) == times
    assert bench.raw.events.count_documents({"type": "transaction.reorged"}) == times
    assert bench.balance()["posted"] == "0"


def test_a_transaction_takes_its_breaks_place_once(bench: Bench, crashes: Crashes) -> None:
    """Killed while it is confirmed in the place of what was booked for want of it: the next try has all of it."""

    def prepared() -> Callable[[], object]:
        row = unknown_row(bench)
        bench.time.advance(2 * 3600)
        (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
        reconciled()
        evidence = {"tx_hash": mined["tx_hash"], "settlement": {"tx_hash": mined["tx_hash"], "log_index": 0}}
        return lambda: confirm(transactions.find(row["_id"], None) or row, evidence, None)

    boundaries = crashes.boundaries(prepared())
    assert "before getsmart.machine.exchange.transact" in boundaries
    for boundary in boundaries:
        work = prepared()
        crashes.die(boundary, work)
        with contextlib.suppress(Internal):  # it had been committed
            work()
    all_is_well(bench)
    assert found(bench) == {}
    assert bench.balance()["posted"] == bench.balance()["available"] == str(len(boundaries) + 1)


def test_a_recovery_ends_once_and_for_good(bench: Bench, crashes: Crashes) -> None:
    """Killed anywhere, the next run ends it."""
    times = die_everywhere(bench, crashes, lambda: controls.set_recovering(is_recovering=True))
    assert times > 3
    assert not controls.is_recovering()
