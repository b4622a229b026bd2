"""The database's user, who should be able to do no more than it has to, and API keys that nobody looks after."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from ops.audit.findings import Finding, NotChecked

_READS = {"wallets:read", "tokens:read", "webhooks:read", "ops:read"}
UNUSED_DAYS = 90
# Roles that reach beyond one database, or beyond its data.
_TOO_MUCH = frozenset(
    {
        *("root", "__system", "dbOwner", "userAdmin", "userAdminAnyDatabase", "dbAdminAnyDatabase", "atlasAdmin"),
        *("readWriteAnyDatabase", "readAnyDatabase", "clusterAdmin", "clusterManager", "hostManager", "restore"),
    }
)
# What the functions need; dbAdmin on top of it is what a migration needs (indexes, validators), for a user of its own.
_ENOUGH = frozenset({"readWrite", "read", "getsmartFunctions"})


@contextmanager
def _connected(uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    if not uri:
        raise NotChecked("MONGODB_URI is not set")
    try:
        with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=5_000, tz_aware=True) as client:
            yield client
    except PyMongoError as error:
        raise NotChecked(f"the database does not answer: {type(error).__name__}") from None


def user(uri: str, database: str) -> Iterator[Finding]:
    """Roles of the user of that URI which it does not need. Raises NotChecked."""
    with _connected(uri) as client:
        status = client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
    if not status["authenticatedUsers"]:
        yield Finding("database:nobody", "the database asks nobody who they are")
    for role in status["authenticatedUserRoles"]:
        name = f"{role['role']}@{role['db']}"
        if role["role"] in _TOO_MUCH or role["db"] != database:
            yield Finding(f"database:{name}", f"the functions' user has {name}: it needs readWrite on {database}")
        elif role["role"] not in _ENOUGH:
            yield Finding(
                f"database:{name}", f"the functions' user has {name}: that is for migrations, by another user"
            )


def keys(uri: str, database: str, now: datetime | None = None) -> Iterator[Finding]:
    """Keys without an end that are `live` or may move something, and any that was not used for 90 days.

    Raises NotChecked.
    """
    at = now or datetime.now(UTC)
    with _connected(uri) as client:
        rows = list(client[database].api_keys.find({"revoked_at": None}, {"usage": 0}))
    for row in rows:
        if row["expires_at"] is not None and row["expires_at"] <= at:
            continue
        if row["expires_at"] is None and (row["mode"] == "live" or not set(row["scopes"]) <= _READS):
            yield Finding(f"key:{row['_id']}:endless", f"{row['_id']} of {row['client_id']} has no expiry")
        if at - _last_seen(row) > timedelta(days=UNUSED_DAYS):
            yield Finding(
                f"key:{row['_id']}:unused", f"{row['_id']} of {row['client_id']}: unused for {UNUSED_DAYS} days"
            )


def _last_seen(row: Mapping[str, Any]) -> datetime:
    seen: datetime = row.get("last_used_at") or row["created_at"]
    return seen
