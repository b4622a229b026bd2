"""API keys: make one, with or without a predecessor that then ends, list them, revoke one. The secret is shown once."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from getsmart import clock, objects, tokens
from getsmart.errors import InvalidRequest, NotFound
from getsmart.ids import new_id
from getsmart.models import AuditLine, Caller, KeyLimits, KeyRow, Scope
from getsmart.paging import Page, newest_first
from getsmart.stores import keys

SCOPES: tuple[str, ...] = get_args(Scope)
OVERLAP = timedelta(hours=24)


@dataclass(frozen=True)
class Order:
    """What a new key shall be. `limits` holds only what differs from the defaults; daily ones are base units."""

    client_id: str
    scopes: Sequence[str]
    mode: Literal["live", "test"] = "test"
    limits: KeyLimits = field(default_factory=KeyLimits)
    expires_at: datetime | None = None
    allowed_ips: Sequence[str] = ()


def create(order: Order, line: AuditLine) -> tuple[KeyRow, str]:
    """Make a key; its row, and the token that is shown this once.

    Raises ValueError for an unknown scope, a limit under 1, or what is no address or network.
    """
    row, token = _new(order, line)
    keys.insert(row)
    return row, token


def make(caller: Caller, order: Order, replaces: str | None, overlap: timedelta) -> tuple[KeyRow, str]:
    """Make a key on behalf of a caller, in place of another one or not. Raises what `replace` does."""
    line = caller.audit("create", clock.now())
    if order.expires_at is not None and order.expires_at <= line["at"]:
        raise InvalidRequest.field("expires_at", "must be in the future")
    return create(order, line) if replaces is None else replace(order, line, replaces, overlap)


def page(asked: Page, client_id: str | None) -> dict[str, Any]:
    """A page of keys, newest first; of one client, or of all."""
    rows = keys.find_page(newest_first("key", asked.after), asked.limit + 1, client_id)
    return asked.close(rows, objects.key, lambda row: row["_id"])


def replace(order: Order, line: AuditLine, replaces: str, overlap: timedelta) -> tuple[KeyRow, str]:
    """Make a key, and let the one it replaces end after `overlap`, or when it would have ended if that is sooner.

    Raises NotFound, InvalidRequest when that key belongs to another client or has ended, and what `create` raises.
    """
    old = keys.find(replaces)
    if old is None:
        raise NotFound(f"key {replaces}")
    if old["client_id"] != order.client_id or not is_alive(old, line["at"]):
        raise InvalidRequest.field("replaces", "must be a key of the same client that has not ended")
    row, token = _new(order, line)
    keys.insert(row)
    # A crash in between leaves a key whose secret nobody has seen, and an old one that goes on working.
    keys.end(replaces, line["at"] + overlap, {**line, "what": f"replaced by {row['_id']}"})
    return row, token


def revoke(caller: Caller, key_id: str) -> dict[str, Any]:
    """End a key, within 30 s everywhere; the key as it is now, also when it had been revoked. Raises NotFound."""
    at = clock.now()
    keys.revoke(key_id, at, caller.audit("revoke", at))
    row = keys.find(key_id)
    if row is None:
        raise NotFound(f"key {key_id}")
    return objects.key(row)


def is_alive(row: KeyRow, at: datetime) -> bool:
    """Whether the key has neither been revoked nor expired."""
    return all(end is None or end > at for end in (row["expires_at"], row["revoked_at"]))


def _new(order: Order, line: AuditLine) -> tuple[KeyRow, str]:
    unknown = [scope for scope in order.scopes if scope not in SCOPES]
    if unknown or not order.scopes:
        raise ValueError(f"unknown scope: {', '.join(unknown) or 'none given'}; scopes are {' '.join(SCOPES)}")
    if any(isinstance(limit, int) and limit < 1 for limit in order.limits.values()):
        raise ValueError("a limit is at least 1; a key without limits is made with no limits at all")
    key = tokens.issue(order.mode, new_id("key"))
    row: KeyRow = {
        "_id": key.key_id,
        "client_id": order.client_id,
        "mode": order.mode,
        "secret_sha256": tokens.digest(key.secret),
        "scopes": sorted(set(order.scopes)),
        "limits": order.limits,
        "created_at": line["at"],
        "expires_at": order.expires_at,
        "revoked_at": None,
        "allowed_ips": [str(ipaddress.ip_network(network)) for network in order.allowed_ips],
        "audit": [line],
    }
    return row, tokens.render(key)
