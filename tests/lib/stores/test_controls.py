"""The singletons and the leases."""

from concurrent.futures import ThreadPoolExecutor

from getsmart.stores import controls
from tests.edge import Raw
from tests.support import Time


def test_every_singleton_in_one_round_trip(system: Raw) -> None:
    """By name."""
    assert controls.read_all().keys() == {"supply", "treasury", "books", "colour"}
    controls.observe({"ran_at": 1})
    controls.observe({"seen": 2})
    assert controls.read_all()["tick"] == {"_id": "tick", "ran_at": 1, "seen": 2}


def test_the_active_colour(system: Raw) -> None:
    """What the database says; nothing before the first promotion."""
    assert controls.active_colour() == "blue"
    system.controls.delete_one({"_id": "colour"})
    assert controls.active_colour() is None


def test_a_lease_has_one_holder(system: Raw, time: Time) -> None:
    """Its holder can renew and drop it; others wait for its end."""
    assert controls.take_lease("tick", "a", 10)
    assert controls.take_lease("tick", "a", 10)
    assert not controls.take_lease("tick", "b", 10)
    assert controls.take_lease("other", "b", 10)
    time.advance(10.1)
    assert controls.take_lease("tick", "b", 10)
    assert not controls.take_lease("tick", "a", 10)
    controls.drop_lease("tick", "a")  # not the holder's any more
    assert not controls.take_lease("tick", "a", 10)
    controls.drop_lease("tick", "b")
    assert controls.take_lease("tick", "a", 10)


def test_a_race_for_a_lease_has_one_winner(system: Raw, time: Time) -> None:
    """The first time, and again when it has ended."""
    for _ in range(2):
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda holder: controls.take_lease("tick", f"{holder}", 10), range(8)))
        assert won.count(True) == 1
        time.advance(11)
