"""Whether the database's user may do what a restore does, asked before anything is lost.

`collMod` and the action `bypassDocumentValidation` come with dbAdmin, not with readWrite:
https://www.mongodb.com/docs/manual/reference/built-in-roles/#mongodb-authrole-dbAdmin
"""

from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

from ops.backup.errors import BackupFailed

_UNAUTHORIZED = {13, 8000}  # MongoDB's code, and Atlas's
_NOBODYS = "restore_asks_what_it_may"


def refuse_unless_allowed(database: Database[Any]) -> None:
    """Raise BackupFailed where rights are missing. Asks about a collection that is not there: nothing changes."""
    nothing: dict[str, Any] = {"$set": {"asked": True}}
    for ask in (
        lambda: database.command({"collMod": _NOBODYS, "validator": {}}),
        lambda: database[_NOBODYS].update_one({"_id": 0}, nothing, bypass_document_validation=True),
    ):
        try:
            ask()
        except OperationFailure as error:
            if error.code in _UNAUTHORIZED:
                what = "its user needs readWrite and dbAdmin on it; nothing was changed"
                raise BackupFailed(f"{database.name} cannot be restored: {what} ({error.code})") from None
