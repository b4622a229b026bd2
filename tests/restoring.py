"""What tests of a restore share: a backup of everything, and putting it back."""

from getsmart.stores import controls
from tests.conftest import forget_all
from tests.money import Raw, Row


def taken(raw: Raw) -> dict[str, list[Row]]:
    """A backup: every document there is."""
    return {name: list(raw[name].find()) for name in raw.list_collection_names() if not name.startswith("migrations")}


def put_back(raw: Raw, backup: dict[str, list[Row]]) -> None:
    """A restore: what the backup has and nothing else; no money moves until it is reconciled."""
    for name in raw.list_collection_names():
        if not name.startswith("migrations"):
            raw[name].delete_many({})
            if backup.get(name):
                raw[name].insert_many(backup[name])
    controls.set_recovering(is_recovering=True)
    forget_all()
