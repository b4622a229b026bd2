"""What tests of a restore share: a backup of everything, and putting it back."""

from datetime import datetime
from typing import NamedTuple

from getsmart import clock
from getsmart.stores import controls
from tests.conftest import forget_all
from tests.money import Raw, Row


class Backup(NamedTuple):
    """Every document there is, by collection, and the moment that it shows."""

    rows: dict[str, list[Row]]
    at: datetime


def taken(raw: Raw) -> Backup:
    """A backup."""
    names = [name for name in raw.list_collection_names() if not name.startswith("migrations")]
    return Backup({name: list(raw[name].find()) for name in names}, clock.now())


def put_back(raw: Raw, backup: Backup) -> None:
    """A restore: what the backup has and nothing else; no money moves until it is reconciled."""
    for name in raw.list_collection_names():
        if not name.startswith("migrations"):
            raw[name].delete_many({})
            if backup.rows.get(name):
                raw[name].insert_many(backup.rows[name])
    controls.set_recovering(is_recovering=True, lost_since=backup.at)
    forget_all()
