"""From each schema there ever was to the newest and back: what people own is afterwards what it was before."""

from typing import Any

import pytest

from ops import verification
from tests import past
from tests.local import programs
from tests.migrating import NEWEST, REAL, Raw, advance, documents, picture, runner

UP_TO = range(1, NEWEST + 1)


def left_out(shown: dict[str, Any], *names: str) -> dict[str, Any]:
    """The rest."""
    return {name: value for name, value in shown.items() if name not in names}


def test_every_version_has_its_past() -> None:
    """A migration that is added brings a builder: what the code that comes with it leaves behind."""
    assert sorted(past.BUILDERS) == [int(name) for name in REAL]


@pytest.mark.parametrize("version", UP_TO)
def test_to_the_newest_and_back(scratch_database: Raw, database_uri: str, version: int) -> None:
    """Every document survives both ways; the books verify at the end of the way up (I2, I3, I4)."""
    advance(scratch_database, database_uri, version)
    past.fill(scratch_database, version)
    before, shape = documents(scratch_database), picture(scratch_database)
    assert len(before) >= 9
    with runner(scratch_database, database_uri) as here:
        assert len(here.up("contract")) == NEWEST - version
        assert documents(scratch_database) == before
        assert [str(one) for one in verification.verify(lambda *_: None)] == []
        assert len(here.down(REAL[version - 1], is_forced=True)) == NEWEST - version
    # Until 0007 the first write made `sequences`: going back takes it away, and the next event is counted anew.
    lost = ["sequences"] if version < 7 else []
    assert documents(scratch_database) == left_out(before, *lost)
    assert picture(scratch_database) == left_out(shape, *lost)
    with runner(scratch_database, database_uri) as here:
        here.up("contract")
    assert documents(scratch_database) == left_out(before, *lost)


def test_a_loss_would_be_seen(scratch_database: Raw, database_uri: str) -> None:
    """The comparison bites: one amount that is another, one entry that is gone."""
    advance(scratch_database, database_uri, NEWEST)
    past.fill(scratch_database, NEWEST)
    assert [str(one) for one in verification.verify(lambda *_: None)] == []
    before = documents(scratch_database)
    scratch_database.accounts.update_one({"_id": past.WALLETS[0]}, {"$set": {"posted": past.units(1)}})
    assert documents(scratch_database) != before
    scratch_database.entries.delete_one({"_id": f"{past.TXN.format(2)}:credit"})
    found = {one.kind for one in verification.verify(lambda *_: None)}
    assert {"account_balance", "entry_missing"} <= found


def test_two_at_once_on_data(scratch_database: Raw, database_uri: str) -> None:
    """Each step once, both end well, and nothing is lost."""
    advance(scratch_database, database_uri, 1)
    past.fill(scratch_database, 1)
    before = documents(scratch_database)
    where = {"MONGODB_URI": database_uri, "MONGODB_DATABASE": scratch_database.name}
    runners = [programs.start("ops.migrations", "up", **where) for _ in range(2)]
    said = [one.communicate(timeout=60) for one in runners]
    assert [one.returncode for one in runners] == [0, 0], said
    counts = sorted(out.splitlines()[-1] for out, _ in said)
    assert counts == ["0 applied", f"{NEWEST - 1} applied"]
    rows = list(scratch_database.migrations_history.find({}, {"revision": 1, "outcome": 1}))
    ups = [(row["revision"], row["outcome"]) for row in rows if row["revision"] != "0001"]
    assert sorted(ups) == [(name, "done") for name in REAL[1:]]
    assert documents(scratch_database) == before
