"""Who calls, and may they: the API key against the database, its scope, its address list, its rate limit."""

import hmac
import ipaddress
from functools import cache

from getsmart import clock, limits, tokens
from getsmart.errors import ForbiddenIp, ForbiddenScope, Unauthenticated
from getsmart.models import Caller, KeyRow
from getsmart.stores import keys

# A revoked key stops within this time in every warm function; well below the promised 30 s.
CACHE_SECONDS = 10.0
_MOST_CACHED = 1_000


@cache
def _cache() -> dict[str, tuple[float, KeyRow]]:
    return {}


def forget() -> None:
    """Read every key again on next use."""
    _cache.cache_clear()


def admit(token: str, scope: str, source: str, reply_headers: dict[str, str], *, also: tuple[str, ...] = ()) -> Caller:
    """The caller behind a token, counted against its rate limit; the limit's headers go into `reply_headers`.

    The key must have `scope` or one of `also`.

    Raises Unauthenticated, ForbiddenIp, ForbiddenScope or RateLimited, in this order.
    """
    key = tokens.parse(token)
    row = _row(key.key_id)
    known = row["secret_sha256"] if row else "0" * 64
    is_genuine = hmac.compare_digest(known, tokens.digest(key.secret))
    if row is None or not is_genuine or row["mode"] != key.mode or not _is_alive(row):
        raise Unauthenticated("unknown, expired or revoked API key")
    _check_source(row, source)
    if not {scope, *also, "admin"} & set(row["scopes"]):
        raise ForbiddenScope(f"{row['_id']} lacks {scope}")
    limits.count(row, reply_headers)
    return Caller(
        row["client_id"],
        row["_id"],
        row["mode"],
        frozenset(row["scopes"]),
        mint_per_day=_units(row["limits"].get("mint_per_day")),
        treasury_per_day=_units(row["limits"].get("treasury_per_day")),
        source=source,
    )


def _units(ceiling: str | None) -> int | None:
    return None if ceiling is None else int(ceiling)


def _row(key_id: str) -> KeyRow | None:
    cached = _cache().get(key_id)
    if cached is not None and cached[0] > clock.monotonic():
        return cached[1]
    row = keys.find(key_id)
    if row is not None:
        if len(_cache()) >= _MOST_CACHED:
            _cache().clear()
        _cache()[key_id] = (clock.monotonic() + CACHE_SECONDS, row)
    return row


def _is_alive(row: KeyRow) -> bool:
    at = clock.now()
    return all(end is None or end > at for end in (row["expires_at"], row["revoked_at"]))


def _check_source(row: KeyRow, source: str) -> None:
    if not row["allowed_ips"]:
        return
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        raise ForbiddenIp("the caller's address is not known") from None
    if not any(address in ipaddress.ip_network(network) for network in row["allowed_ips"]):
        raise ForbiddenIp(f"{row['_id']} used from elsewhere")
