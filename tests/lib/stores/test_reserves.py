"""What may still be given out: guarded, exact under concurrency, mended only when nothing changed."""

from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from getsmart import clock, mongo
from getsmart.mongo import to_decimal, to_units
from getsmart.stores import reserves
from tests.money import Raw, in_parallel
from tests.rows import WALLET


@pytest.fixture
def raw_with_wallet(system: Raw) -> Raw:
    """A wallet with 100 base units."""
    account = {"posted": to_decimal(100), "available": to_decimal(100), "sequence": 1, "version": 0}
    system.accounts.insert_one({"_id": WALLET, **account})
    return system


def row(raw: Raw, name: str) -> dict[str, Any]:
    """The document behind a reserve."""
    found = (raw.accounts if name == WALLET else raw.controls).find_one({"_id": name})
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["supply", "treasury", WALLET])
def test_taking_lowers_what_is_available_and_nothing_else(raw_with_wallet: Raw, name: str) -> None:
    """To the last unit, and not one more; giving back restores it."""
    before = row(raw_with_wallet, name)
    everything = to_units(before["available"])
    assert not reserves.take(name, everything + 1)
    assert "taken_at" not in row(raw_with_wallet, name)
    assert reserves.take(name, everything)
    assert not reserves.take(name, 1)
    after = row(raw_with_wallet, name)
    assert (to_units(after["available"]), after["version"]) == (0, before["version"] + 1)
    reserves.give_back(name, everything, reserves.begin())
    again = row(raw_with_wallet, name)
    again.pop("taken_at")
    assert again == {**before, "version": before["version"] + 2}


def test_a_wallet_without_an_account_has_nothing(system: Raw) -> None:
    """No account appears by asking."""
    assert not reserves.take("wlt_none", 1)
    reserves.give_back("wlt_none", 1, reserves.begin())
    assert system.accounts.find_one() is None


def test_many_takers_get_exactly_what_is_there(raw_with_wallet: Raw) -> None:
    """16 at once for 7 each of 100: 14 succeed."""
    outcomes = in_parallel([lambda: reserves.take(WALLET, 7)] * 16)
    assert outcomes.count(True) == 14
    assert to_units(row(raw_with_wallet, WALLET)["available"]) == 2


def test_taking_survives_one_broken_connection(raw_with_wallet: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried once more; where the first try had landed that is a leak, never a double spend."""
    real = mongo.database
    cuts = [AutoReconnect("cut")]

    class Accounts:
        """Applies the update, and loses the answer the first time."""

        def update_one(self, *arguments: Any) -> Any:
            done = real().accounts.update_one(*arguments)
            if cuts:
                raise cuts.pop()
            return done

    monkeypatch.setattr(reserves, "_place", lambda _: Accounts())
    assert reserves.take(WALLET, 10)
    assert to_units(row(raw_with_wallet, WALLET)["available"]) == 80
    cuts.append(AutoReconnect("cut"))
    with pytest.raises(AutoReconnect):
        reserves.give_back(WALLET, 10, reserves.begin())  # not tried again: it had landed
    assert to_units(row(raw_with_wallet, WALLET)["available"]) == 90


def test_quiet_reserves_are_those_taken_from_before(raw_with_wallet: Raw) -> None:
    """Never taken from is not watched; just taken from is not quiet."""
    ahead = clock.now() + timedelta(seconds=30)
    assert reserves.find_quiet(ahead, 10) == []
    reserves.take("supply", 1)
    reserves.take(WALLET, 40)
    assert reserves.find_quiet(clock.now() - timedelta(seconds=30), 10) == []
    found = {reserve.name: reserve for reserve in reserves.find_quiet(ahead, 10)}
    assert set(found) == {"supply", WALLET}
    assert (found[WALLET].available, found[WALLET].version) == (60, 1)


def test_a_correction_needs_the_version_it_was_read_at(raw_with_wallet: Raw) -> None:
    """Any change since then breaks it."""
    reserves.take(WALLET, 40)
    (read,) = [one for one in reserves.find_quiet(clock.now() + timedelta(seconds=30), 10) if one.name == WALLET]
    reserves.take(WALLET, 1)
    assert not reserves.correct(read, 100, is_done=True)
    assert to_units(row(raw_with_wallet, WALLET)["available"]) == 59


@pytest.mark.parametrize("is_done", [True, False])
def test_a_correction_sets_what_is_available(raw_with_wallet: Raw, is_done: bool) -> None:
    """And ends the watch where nothing is held any more."""
    reserves.take(WALLET, 40)
    ahead = clock.now() + timedelta(seconds=30)
    (read,) = reserves.find_quiet(ahead, 10)
    assert reserves.correct(read, 100, is_done=is_done)
    assert to_units(row(raw_with_wallet, WALLET)["available"]) == 100
    assert (reserves.find_quiet(ahead, 10) == []) == is_done
    assert not reserves.correct(read, 1, is_done=is_done)
