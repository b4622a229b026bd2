"""What may be backed up: a whole database of ours, and nothing on its way to become one."""

from typing import Any

from pymongo.database import Database

from getsmart.models import RECOVERY, SUPPLY
from getsmart.stores.controls import COLOUR
from getsmart.stores.ledger import BOOKS
from ops.backup.errors import BackupFailed

_NEEDED = (SUPPLY, BOOKS, COLOUR)


def refuse_unless_whole(database: Database[Any]) -> None:
    """Raise BackupFailed where it is being restored, is empty, or lacks what the first migration makes.

    Its backup would be the newest, and old ones would go for it. Nothing is written.
    """
    rows = {row["_id"]: row for row in database["controls"].find({"_id": {"$in": [RECOVERY, *_NEEDED]}})}
    if rows.get(RECOVERY, {}).get("is_being_restored"):
        raise BackupFailed(f"{database.name} is being restored: none is made before all of it is there")
    missing = [name for name in _NEEDED if name not in rows]
    if missing:
        raise BackupFailed(f"{database.name} has no {', '.join(missing)}: it is empty, or half of a database")
