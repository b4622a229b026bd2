"""When a new colour is not good enough, and when there is too little to say so."""

import pytest

from ops.gateway.environment import Promotion
from ops.gateway.generate import BOUNDS_MS
from ops.gateway.runtime import Reading
from ops.release import watch

RULES = Promotion()


def reading(calls: int, *, failed: int = 0, refused: int = 0, retried: int = 0, ms: int = 50, up: int = 1) -> Reading:
    """So many answers, all of them within `ms` and none much sooner."""
    within = tuple(calls if bound >= ms else 0 for bound in BOUNDS_MS)
    return Reading(calls, failed, refused, within, retried, up, 1)


WELL = reading(1_000)


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        (reading(100, up=0), WELL, "1 of 1 namespaces do not answer"),
        (reading(100, failed=3), WELL, "3 of 100 calls failed (3.0%), with the other colour 0.0%"),
        (reading(7, retried=3), WELL, "3 of 10 calls failed (30.0%), with the other colour 0.0%"),
        (reading(3, failed=3), Reading(), "3 of 3 calls failed (100.0%), with the other colour 0.0%"),
        (reading(100, failed=10), reading(100, failed=4), "10 of 100 calls failed (10.0%), with the other colour 4.0%"),
        (
            reading(40, refused=20),
            reading(40, refused=4),
            "50% of the answers were refusals, with the other colour 10%",
        ),
        (
            reading(40, ms=1_000),
            reading(40, ms=250),
            "90% of the answers took up to 1000 ms, with the other colour up to 250 ms",
        ),
        (
            reading(40, ms=500),
            reading(40, ms=25),
            "90% of the answers took up to 500 ms, with the other colour up to 25 ms",
        ),
    ],
)
def test_it_is_taken_back(new: Reading, old: Reading, said: str) -> None:
    """With the reason in figures."""
    assert watch.problem(new, old, RULES) == said


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (reading(0), Reading()),
        (reading(100, failed=2), WELL),
        (reading(1_000, failed=10), WELL),
        (reading(100, failed=5), reading(100, failed=4)),
        (reading(19, refused=19), WELL),
        (reading(40, refused=20), Reading()),
        (reading(40, refused=20), reading(40, refused=12)),
        (reading(19, ms=30_000), WELL),
        (reading(40, ms=250), reading(40, ms=25)),
        (reading(40, ms=500), reading(40, ms=250)),
    ],
)
def test_it_may_go_on(new: Reading, old: Reading) -> None:
    """Two failures prove nothing; a bad day of both colours is no fault of the new one; few calls are not compared."""
    assert watch.problem(new, old, RULES) is None
