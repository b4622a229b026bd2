"""After a restore the books may lag behind the chain: until they have caught up, no money is moved."""

from getsmart.errors import Recovering
from getsmart.stores import controls


def refuse_while_recovering() -> None:
    """Raise Recovering while the database says so."""
    if controls.is_recovering():
        raise Recovering("a restore has not been reconciled yet")
