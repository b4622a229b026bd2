"""What makes `./doit status` fail: who serves is not well, or is not who it should be."""

from typing import Any

import pytest

from getsmart.stores import controls
from ops.gateway.environment import Namespace, Server
from ops.release import status
from tests.edge import Raw

BLUE = Server("blue-1", "blue", Namespace(label="blue", url="https://faas.example.com/api/v1/web/fn-1"))
FAILING = {"books": {"status": "fail", "message": "balances differ"}, "tick": {"status": "warn", "message": "late"}}


@pytest.mark.parametrize(
    ("report", "serves", "said"),
    [
        (None, False, []),
        (None, True, ["blue-1 serves and does not answer"]),
        ({"colour": "blue", "status": "pass"}, True, []),
        ({"colour": "blue", "status": "warn"}, True, []),
        ({"colour": "blue", "status": "fail", "checks": FAILING}, False, []),
        (
            {"colour": "blue", "status": "fail", "checks": FAILING},
            True,
            ["blue-1 serves and is not well: books (balances differ)"],
        ),
        (
            {"colour": "green", "status": "pass"},
            False,
            ["blue-1 says that it is green: COLOUR in its functions' environment is wrong"],
        ),
    ],
)
def test_what_is_wrong_with_a_namespace(report: Any, serves: bool, said: list[str]) -> None:
    """Silent or failing counts where it has calls or the tick; another colour's name counts anywhere."""
    assert status._problems(BLUE, report, serves=serves) == said


def test_it_says_whether_money_moves(system: Raw) -> None:
    """And who stopped it why; that somebody did is no failure of who serves."""
    assert status._money() == ["not recovering: money moves"]
    controls.stop("ada", "the cap is broken")
    (line,) = status._money()
    assert line.startswith("stopped by ada since ")
    assert ": the cap is broken. " in line
