"""Queries on API keys; the limiter itself is tested with limits.py."""

from datetime import timedelta
from typing import Any

from getsmart import clock
from getsmart.models import AuditLine, KeyRow
from getsmart.stores import keys
from ops import keys as makes
from tests.edge import Raw


def make(**options: Any) -> KeyRow:
    """A new key's row."""
    created = makes.create(**{"client_id": "app", "scopes": ["tokens:read"], **options})
    row = keys.find(created.key_id)
    assert row is not None
    return row


def test_a_key_is_found_without_its_counts(system: Raw) -> None:
    """The limiter's state stays out of what is read and cached."""
    row = make()
    keys.take(row["_id"], 10, 1000)
    assert keys.find(row["_id"]) == {**row, "last_used_at": system.api_keys.find_one({})["last_used_at"]}  # type: ignore[index]
    assert all("usage" not in one for one in keys.find_all())
    assert keys.find("key_none") is None


def test_keys_are_listed_oldest_first(system: Raw) -> None:
    """By when they were made."""
    made = [make(client_id=name)["_id"] for name in "abc"]
    for number, key_id in enumerate(made):
        moment = clock.now() - timedelta(days=365 * (number + 1))
        system.api_keys.update_one({"_id": key_id}, {"$set": {"created_at": moment}})
    assert [row["_id"] for row in keys.find_all()] == made[::-1]


def test_a_key_is_revoked_once(system: Raw) -> None:
    """The first moment stands; unknown keys cannot be revoked."""
    row, at = make(), clock.now()
    line: AuditLine = {"key_id": "key_1", "source": "", "request_id": "req_1", "at": at}
    assert keys.revoke(row["_id"], at, line)
    assert not keys.revoke(row["_id"], at + timedelta(days=1_000), line)
    assert not keys.revoke("key_none", at, line)
    kept = keys.find(row["_id"])
    assert kept is not None
    assert kept["revoked_at"] == at


def test_a_touch_is_by_the_databases_clock(system: Raw) -> None:
    """Last use is set, on known keys only."""
    row = make()
    keys.touch(row["_id"])
    keys.touch("key_none")
    (kept,) = system.api_keys.find({})
    assert abs((kept["last_used_at"] - clock.now()).total_seconds()) < 60


def test_late_commands_are_counted_where_they_happened(system: Raw) -> None:
    """A command that was overtaken is stamped with the moment it was overtaken at; one second still has its ten."""
    row = make()
    for _ in range(10):
        assert keys.take(row["_id"], 10, None).is_allowed
    (kept,) = system.api_keys.find({})
    ahead = kept["usage"]["at_ms"] + 30_000
    system.api_keys.update_one({"_id": row["_id"]}, {"$set": {"usage.at_ms": ahead, "usage.recent_ms": [ahead] * 10}})
    assert not keys.take(row["_id"], 10, None).is_allowed
    (kept,) = system.api_keys.find({})
    assert (kept["usage"]["at_ms"], kept["usage"]["recent_ms"]) == (ahead, [ahead] * 10)


def test_a_database_clock_that_was_set_back_locks_nobody_out(system: Raw) -> None:
    """Moments far ahead are forgotten, those of the second and those of the hour."""
    row = make()
    keys.take(row["_id"], 10, 3)
    (kept,) = system.api_keys.find({})
    ahead = kept["usage"]["at_ms"] + 86_400_000
    jumped = {"at_ms": ahead, "recent_ms": [ahead] * 10, "hour_started_ms": ahead, "hour_count": 3, "is_allowed": True}
    system.api_keys.update_one({"_id": row["_id"]}, {"$set": {"usage": jumped}})
    usage = keys.take(row["_id"], 10, 3)
    assert (usage.is_allowed, usage.remaining) == (True, 2)
