"""The states a transaction moves through, against the drawing."""

import re

from getsmart import models
from getsmart.models import FINAL, MOVES, Caller, is_final


def drawn() -> tuple[dict[str, set[str]], set[str]]:
    """The moves and the final states as the module's docstring draws them."""
    text = models.__doc__ or ""
    moves = {
        name: set(re.findall(r"\w+", targets)) for name, targets in re.findall(r"^ +(\w+) -> (.+)$", text, re.MULTILINE)
    }
    (final,) = re.findall(r"final: (.+)$", text, re.MULTILINE)
    return moves, set(final.split())


def test_the_moves_are_the_drawing() -> None:
    """Whoever edits one edits the other."""
    moves, final = drawn()
    assert {name: set(targets) for name, targets in MOVES.items() if targets} == moves
    assert final == FINAL


def test_final_is_final_and_every_state_is_known() -> None:
    """No move leaves a final state, none leads nowhere, and each state but the first can be reached."""
    assert all(is_final(status) == (not targets) for status, targets in MOVES.items())
    reachable = set().union(*MOVES.values())
    assert reachable == MOVES.keys() - {"queued"}


def test_only_the_admin_scope_makes_an_admin() -> None:
    """Every other scope sees its own rows only."""
    assert Caller("c", "k", "live", frozenset({"admin"})).is_admin
    assert not Caller("c", "k", "live", frozenset({"ops:read", "tokens:mint"})).is_admin
