"""GET, POST, DELETE /ops/keys - API keys: list them, make one (its secret is shown once), revoke one."""

import ipaddress
from datetime import timedelta
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, Field, StringConstraints

from getsmart import objects
from getsmart.fields import BaseUnits, Body, KeyId, Moment, Query, described, problem
from getsmart.front import Request
from getsmart.models import KeyLimits, Scope
from getsmart.paging import PageQuery, page_of
from getsmart.replies import Reply, success
from getsmart.services import keys
from getsmart.web import endpoint, resource


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise problem("network", "must be an address or a network such as 203.0.113.0/24") from None


_DAY = 86_400
ClientId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$"), described("academy")]
Network = Annotated[str, AfterValidator(_network), described("203.0.113.0/24", maxLength=50)]
Calls = Annotated[int, Field(ge=1, le=1_000_000), described(10)]
Overlap = Annotated[int, Field(ge=0, le=90 * _DAY), described(_DAY)]


class KeysQuery(PageQuery):
    """Whose keys, and where to read on."""

    client_id: ClientId | None = None


class Limits(Body):
    """What differs from the defaults; null means no limit."""

    per_second: Calls | None = 10
    per_hour: Calls | None = 1_000
    mint_per_day: BaseUnits | None = None
    treasury_per_day: BaseUnits | None = None


class KeyBody(Body):
    """Whose key, what it may do, from where and until when; `replaces` lets an older one end after an overlap."""

    client_id: ClientId
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=20)]
    mode: Literal["live", "test"] = "test"
    allowed_ips: Annotated[list[Network], Field(max_length=100)] = []
    expires_at: Moment | None = None
    limits: Limits | None = None
    replaces: KeyId | None = None
    overlap_seconds: Overlap = _DAY


class KeyQuery(Query):
    """Which key."""

    key_id: KeyId


@endpoint("GET", scope="admin", takes=KeysQuery)
def read(request: Request[KeysQuery]) -> Reply:
    """200 with a page of keys, newest first; no secrets."""
    asked = page_of(request.route, request.caller.client_id, request.input)
    return success(200, keys.page(asked, request.input.client_id), "keys")


@endpoint("POST", scope="admin", takes=KeyBody)
def create(request: Request[KeyBody]) -> Reply:
    """201 with the key and its secret, shown this once; 404 the key that it replaces."""
    body = request.input
    order = keys.Order(body.client_id, body.scopes, body.mode, _stored(body.limits), body.expires_at, body.allowed_ips)
    row, secret = keys.make(request.caller, order, body.replaces, timedelta(seconds=body.overlap_seconds))
    return success(201, {**objects.key(row), "secret": secret}, "key created; its secret is shown this once")


@endpoint("DELETE", scope="admin", takes=KeyQuery)
def revoke(request: Request[KeyQuery]) -> Reply:
    """200 with the key, which ends within 30 s everywhere; 404 unknown."""
    return success(200, keys.revoke(request.caller, request.input.key_id), "key revoked")


def _stored(limits: Limits | None) -> KeyLimits:
    """Only what was given, so that defaults may change later; ceilings as the books keep amounts."""
    given = limits.model_dump(exclude_unset=True) if limits else {}
    daily = {name: str(given[name]) for name in ("mint_per_day", "treasury_per_day") if given.get(name) is not None}
    return cast(KeyLimits, {**given, **daily})


main = resource(read, create, revoke)
