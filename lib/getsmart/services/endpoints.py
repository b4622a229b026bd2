"""Endpoints: made, listed, changed and removed by their clients. A secret is shown once, when it is made."""

from collections.abc import Sequence
from typing import Any, Literal, cast

from getsmart import calls, clock, config, objects
from getsmart.errors import InvalidRequest, InvalidState, LimitExceeded, NotFound
from getsmart.hooks import MOST_ENDPOINTS, MOST_SECRETS, OVERLAP, EndpointRow, Mode, SecretVersion, current
from getsmart.ids import new_id
from getsmart.machine import deliver, told
from getsmart.models import Caller, Event
from getsmart.outbound import signing
from getsmart.outbound.targets import TargetRefused, parse
from getsmart.paging import Page, newest_first
from getsmart.replies import dump_json
from getsmart.stores import endpoints

_TRIES = 3


def create(caller: Caller, url: str, event_types: Sequence[str] | None) -> dict[str, Any]:
    """A new endpoint with its secret. Raises InvalidRequest for a URL that is not called, LimitExceeded."""
    mode = cast(Mode, caller.mode)
    _check(url, mode)
    at = clock.now()
    row: EndpointRow = {
        "_id": new_id("whe"),
        "client_id": caller.client_id,
        "mode": mode,
        "url": url,
        "event_types": _types(event_types),
        "status": "enabled",
        "secrets": [_version(1)],
        "created_at": at,
        "revision": 1,
        "wakes": 0,
        "failures": 0,
        "is_doubtful": True,  # until it has answered well
        "outcomes": [],
        "audit": [caller.audit("create", at)],
    }
    secret = _newest_secret(row)
    if not endpoints.insert(row):
        raise LimitExceeded(message=f"A client has at most {MOST_ENDPOINTS} endpoints.")
    told.forget()
    return {**objects.endpoint(row), "secret": secret}


def page(caller: Caller, asked: Page) -> dict[str, Any]:
    """A page of endpoints, newest first."""
    rows = endpoints.find_page(caller.view, newest_first("whe", asked.after), asked.limit + 1)
    return asked.close(rows, objects.endpoint, lambda row: row["_id"])


def get(caller: Caller, endpoint_id: str) -> dict[str, Any]:
    """One endpoint. Raises NotFound."""
    return objects.endpoint(_find(caller, endpoint_id))


def update(
    caller: Caller,
    endpoint_id: str,
    given: dict[str, Any],
    action: Literal["rotate", "test"] | None,
) -> dict[str, Any]:
    """Change what is given of `url`, `event_types` and `status`, and do what is asked; the endpoint as it is then.

    With `rotate` also its new `secret`; the ones before go on signing for 24 hours. Raises NotFound, InvalidRequest,
    InvalidState for a test of one that is not enabled, or too many rotations at once.
    """
    for _ in range(_TRIES):
        row = _find(caller, endpoint_id)
        changes, gone = _changes(row, given)
        secrets = {"secrets": _rotated(row)} if action == "rotate" else {}
        changed = cast(EndpointRow, {**row, **changes, **secrets})
        for name in gone:
            changed.pop(name, None)  # type: ignore[misc]
        event = _ping(changed) if action == "test" else None
        line = caller.audit(action or "change", clock.now())
        if endpoints.change(row, {**changes, **secrets}, gone, line, event):
            if event is not None:
                told.first_attempts(row["client_id"])
            shown = objects.endpoint(changed)
            return {**shown, "secret": _newest_secret(changed)} if action == "rotate" else shown
    raise InvalidState(f"{endpoint_id} is being changed by others")


def remove(caller: Caller, endpoint_id: str) -> dict[str, Any]:
    """End an endpoint for good; what waits for it is dead. Raises NotFound."""
    for _ in range(_TRIES):
        row = _find(caller, endpoint_id)
        changes: dict[str, Any] = {"status": "removed", "secrets": [], "has_waiting": True}
        if endpoints.change(row, changes, ("slot", "due_at"), caller.audit("remove", clock.now())):
            deliver.bury()
            return objects.endpoint({**row, "status": "removed"})
    raise InvalidState(f"{endpoint_id} is being changed by others")


def _find(caller: Caller, endpoint_id: str) -> EndpointRow:
    row = endpoints.find(endpoint_id, caller.view)
    if row is None:
        raise NotFound(f"endpoint {endpoint_id}")
    return row


def _check(url: str, mode: Mode) -> None:
    may_be_private = mode == "test" and config.read(config.OutboundSettings).private_targets == "test"
    try:
        parse(url, may_be_private=may_be_private)
    except TargetRefused as error:
        raise InvalidRequest.field("url", str(error)) from None


def _types(event_types: Sequence[str] | None) -> list[str] | None:
    return None if event_types is None else sorted(set(event_types))


def _changes(row: EndpointRow, given: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What is to be set, and what is to go: another URL, or being enabled again, begins anew."""
    changes = dict(given)
    if "url" in given:
        _check(given["url"], row["mode"])
    if "event_types" in given:
        changes["event_types"] = _types(given["event_types"])
    is_revived = given.get("status") == "enabled" and row["status"] != "enabled"
    if not is_revived and "url" not in given:
        return changes, ()
    changes |= {"failures": 0, "is_doubtful": True, "due_at": clock.now(), "has_waiting": False}
    return changes, ("failing_since", "disabled_at")


def _version(number: int) -> SecretVersion:
    masters = config.read(config.OutboundSettings).secret_keys
    fingerprint = signing.fingerprint(masters[0])
    return {"number": number, "master": fingerprint, "created_at": clock.now(), "expires_at": None}


def _newest_secret(row: EndpointRow) -> str:
    masters = config.read(config.OutboundSettings).secret_keys
    return signing.derive_current(masters, row["_id"], row["secrets"], clock.now())[0]


def _rotated(row: EndpointRow) -> list[SecretVersion]:
    """The current secrets, which end with the overlap if not sooner, and a new one."""
    at = clock.now()
    alive = current(row["secrets"], at)
    if len(alive) >= MOST_SECRETS:
        raise InvalidState(f"{row['_id']} has {MOST_SECRETS} current secrets")
    ending: list[SecretVersion] = [{**one, "expires_at": one["expires_at"] or at + OVERLAP} for one in alive]
    return [*ending, _version(max(one["number"] for one in row["secrets"]) + 1)]


def _ping(row: EndpointRow) -> Event:
    if row["status"] != "enabled":
        raise InvalidState(f"{row['_id']} is {row['status']}")
    return {
        "event_id": new_id("evt"),
        "client_id": row["client_id"],
        "type": "test.ping",
        "created_at": clock.now(),
        "data": dump_json({"endpoint_id": row["_id"]}),
        "endpoint_id": row["_id"],
        "traceparent": calls.traceparent(),
    }
