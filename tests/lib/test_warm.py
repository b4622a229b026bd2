"""Garbage is collected in a warm function, whatever its start did."""

import gc

from getsmart import warm


def test_the_collector_works_again_from_the_first_call_on() -> None:
    """The start turned it off; what the start made is frozen, and a second call changes nothing."""
    gc.disable()
    try:
        warm.ready()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        gc.unfreeze()
        warm.ready()
        assert gc.get_freeze_count() == 0
    finally:
        gc.enable()
        gc.unfreeze()
