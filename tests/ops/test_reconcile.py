"""`./doit reconcile` beside a working tick, and what a person may close."""

import threading
import time
from types import SimpleNamespace

import pytest
from tenacity import nap

from getsmart.amounts import UNIT
from getsmart.models import SUPPLY
from getsmart.stores import breaks, controls, progress
from ops import reconcile
from tests.chainbook import ZERO, found, on_chain, reconciled
from tests.money import Bench


@pytest.fixture(autouse=True)
def _present(bench: Bench) -> None:
    """What is mined now is dated now, also where an earlier test of this chain was ahead."""
    bench.catch_up()


@pytest.fixture
def busy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tick reads the chain until somebody waits for it."""
    assert controls.take_lease(reconcile.reconcile.LEASE, "the tick", 60)

    def pause(seconds: float) -> None:
        controls.drop_lease(reconcile.reconcile.LEASE, "the tick")
        time.sleep(seconds)

    monkeypatch.setattr(nap, "time", SimpleNamespace(sleep=pause))


def test_it_waits_for_the_tick(bench: Bench, busy: None, capsys: pytest.CaptureFixture[str]) -> None:
    """And says so, once; then it reads to the head."""
    on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    assert reconcile.main(["--quiet"]) == reconcile.OPEN
    said = capsys.readouterr()
    assert said.err.count("reconcile: the tick is reading the chain just now; waiting") == 1
    assert "1 missing_in_ledger" in said.out


def test_it_does_not_wait_for_ever(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute; then it could not be told, neither with `--from`."""
    monkeypatch.setattr(reconcile, "_WAIT_SECONDS", 0.3)
    monkeypatch.setattr(reconcile, "_PAUSE_SECONDS", 0.1)
    reconciled()
    assert controls.take_lease(reconcile.reconcile.LEASE, "the tick", 60)
    for words in (["--quiet"], ["--quiet", "--from", "1"]):
        assert reconcile.main(words) == reconcile.UNTOLD
        assert "somebody else has been reading the chain for 0.3 s" in capsys.readouterr().err


def test_from_a_block_is_read_again_beside_the_tick(bench: Bench) -> None:
    """It waits for its turn to go back: what was lost of that block is found again."""
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    reconciled()
    bench.raw.breaks.delete_many({})
    bench.raw.corrections.delete_many({})
    place = progress.read()
    assert controls.take_lease(reconcile.reconcile.LEASE, "the tick", 60)
    threading.Timer(1.0, controls.drop_lease, (reconcile.reconcile.LEASE, "the tick")).start()
    assert reconcile.main(["--quiet", "--from", str(mined["block_number"])]) == reconcile.OPEN
    assert [one["tx_hash"] for one in found(bench)["missing_in_ledger"]] == [mined["tx_hash"]]
    again = progress.read()
    assert place is not None
    assert again is not None
    assert again.version > place.version


def test_what_is_still_due_is_not_closed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Its movements would never be booked; once they are, it is closed."""
    bench.limit(SUPPLY, "0.5")
    on_chain(bench, (ZERO, bench.wallet["address"], UNIT))
    reconciled()
    (raised,) = found(bench)["missing_in_ledger"]
    close = ["--close", raised["_id"], "--who", "ada", "--why", "a mint by hand"]
    assert raised["due"] == "stand"
    assert reconcile.main(close) == reconcile.UNTOLD
    assert f"{raised['_id']} still has to be booked: closed now, the books would stay wrong" in capsys.readouterr().err
    assert breaks.find(raised["_id"]) == raised
    bench.limit(SUPPLY, "1000")
    reconciled()
    assert reconcile.main(close) == 0
    assert found(bench) == {}
    assert bench.balance()["posted"] == "1"


def test_several_are_closed_at_once(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Each that can be; what can't be is told, and the exit status says so."""
    on_chain(bench, *((ZERO, bench.wallet["address"], UNIT + number) for number in range(3)))
    reconciled()
    first, second, third = (row["_id"] for row in found(bench)["missing_in_ledger"])
    assert (
        reconcile.main(["--close", first, "brk_none", second, "--who", "ada", "--why", "by hand"]) == reconcile.UNTOLD
    )
    assert "there is no open break brk_none" in capsys.readouterr().err
    assert [row["_id"] for row in found(bench)["missing_in_ledger"]] == [third]
    assert reconcile.main(["--close", third, "--why", "by hand"]) == 0
    assert found(bench) == {}


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed by a person", "open"])
def test_what_is_mined_again_counts_again_whoever_closed_its_break(bench: Bench, is_closed: bool) -> None:
    """Also after a while in which too little could be set aside for it; nothing is left to be looked at."""
    bench.mint("1")
    bench.settle()
    minted = bench.mint("5")
    bench.settle()
    row = bench.row(minted)
    bench.provider.private("reorg", depth=1)
    bench.settle(1)
    assert bench.balance()["posted"] == "1"
    (raised,) = found(bench)["reorged"]
    if is_closed:
        assert reconcile.main(["--close", raised["_id"], "--who", "ada", "--why", "it is gone"]) == 0
    bench.limit(SUPPLY, "0.5")
    bench.provider.private("remine", tx_hash=row["tx_hash"])
    for _ in range(3):
        bench.time.advance(61)
        reconciled()
        assert bench.balance()["posted"] == "1"
    bench.limit(SUPPLY, "1000")
    bench.time.advance(61)
    reconciled()
    assert bench.balance()["posted"] == "6"
    assert "reorged_at" not in bench.row(minted)
    assert found(bench) == {}
    (closed,) = found(bench, "resolved")["reorged"]
    assert closed["resolution"]["why"].startswith("mined again in block")
    assert closed["resolution"]["why"].endswith("; ada had closed it: it is gone") == is_closed
    assert bench.raw.sightings.count_documents({}) == 0
    bench.settle(1)
    bench.audit()
