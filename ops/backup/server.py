"""Where the embedded database wants another way than MongoDB, for its speed alone; the result is the same."""

from typing import Any

from pymongo.database import Database


def is_embedded(database: Database[Any]) -> bool:
    """Whether this is the embedded server, which commits each entry of an index or of a drop on its own."""
    return "secantusVersion" in database.client.server_info()


def drop(database: Database[Any], names: list[str]) -> None:
    """Drop collections and views. The embedded server is 40 times faster at deleting all documents first."""
    empties_first = is_embedded(database)
    views = {one["name"] for one in database.list_collections() if one["type"] == "view"}
    for name in sorted(names, key=lambda one: one not in views):
        if empties_first and name not in views:
            database[name].delete_many({})
        database.drop_collection(name)
