"""Subscriptions: a client's endpoints, what each is told, and when a failing one is tried again."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NotRequired, TypedDict

from getsmart.models import AuditLine, Event

EventType = Literal[
    "wallet.created",
    "transaction.queued",
    "transaction.awaiting_consent",
    "transaction.submitted",
    "transaction.confirmed",
    "transaction.failed",
    "transaction.cancelled",
    "transaction.expired",
    "transaction.unknown",
    "transaction.reorged",
    "batch.completed",
    "endpoint.failing",
    "test.ping",
]
EndpointStatus = Literal["enabled", "paused", "disabled", "removed"]
DeliveryStatus = Literal["pending", "delivered", "dead"]
ReplayStatus = Literal["queued", "completed"]
Mode = Literal["live", "test"]

MOST_ENDPOINTS = 20
MOST_REPLAYS = 3  # of many deliveries, that a client has under way
MOST_SECRETS = 5
MOST_ATTEMPTS = 50  # the newest of a delivery that are kept
OVERLAP = timedelta(hours=24)
PATIENCE = timedelta(days=5)
_HOUR = 3600.0
# Seconds until the next probe after so many failures; then every 12 hours.
SCHEDULE = (5.0, 60.0, 300.0, 1800.0, 2 * _HOUR, 5 * _HOUR, 12 * _HOUR)


class SecretVersion(TypedDict):
    """One of an endpoint's secrets: what it is derived from, never itself; `master` names the key it comes from."""

    number: int
    master: str
    created_at: datetime
    expires_at: datetime | None


class Subscription(TypedDict):
    """As much of an endpoint as says what it is told; None are all types."""

    _id: str
    status: EndpointStatus
    event_types: list[str] | None


class EndpointRow(Subscription):
    """An endpoint, and how delivering to it stands.

    `slot` keeps a client to its number of endpoints; `revision` counts its client's changes, `wakes` what was added for
    it; `due_at` is when it may be called next, absent while nothing waits. Doubtful is one that has not answered well
    lately. `has_waiting` says that something pending is left that nobody will be told.
    """

    client_id: str
    mode: Mode
    url: str
    secrets: list[SecretVersion]
    created_at: datetime
    revision: int
    wakes: int
    failures: int
    is_doubtful: bool
    outcomes: list[int]
    audit: list[AuditLine]
    slot: NotRequired[int]
    outbox: NotRequired[list[Event]]
    due_at: NotRequired[datetime]
    failing_since: NotRequired[datetime]
    lease_holder: NotRequired[str]
    lease_until: NotRequired[datetime]
    last_ms: NotRequired[int]
    attempted_at: NotRequired[datetime]
    disabled_at: NotRequired[datetime]
    has_waiting: NotRequired[bool]


class Attempt(TypedDict):
    """One call of an endpoint: its status, or None where none came, and the first of what it answered."""

    at: datetime
    http_status: int | None
    duration_ms: int
    excerpt: str


class DeliveryRow(TypedDict):
    """One event for one endpoint; unique for ever, also when it is told again."""

    _id: str
    client_id: str
    endpoint_id: str
    event_id: str
    type: str
    sequence: int
    status: DeliveryStatus
    created_at: datetime
    attempts: list[Attempt]
    replay_id: NotRequired[str]


class Selection(TypedDict, total=False):
    """What a replay is about: one delivery, one event, a span of an endpoint's events, or all that is dead."""

    delivery_id: str
    event_id: str
    endpoint_id: str
    created_after: datetime
    created_before: datetime
    all_failed: bool


class ReplayRow(TypedDict):
    """A replay, worked off in chunks; `place` is how far it is, `queued` how many deliveries it has put in line.

    `turn_at` is when it had its last turn.
    """

    _id: str
    client_id: str
    selection: Selection
    status: ReplayStatus
    created_at: datetime
    place: int | str | None
    total: int
    queued: int
    audit: list[AuditLine]
    turn_at: NotRequired[datetime]


class DeliveryFilter(TypedDict, total=False):
    """Which deliveries a list is about."""

    endpoint_id: str
    event_id: str
    status: DeliveryStatus
    replay_id: str
    created_after: datetime
    created_before: datetime


def wants(endpoint: Subscription, event: Event) -> bool:
    """Whether an endpoint is to be told of an event; one that is meant for it alone passes every filter."""
    if "endpoint_id" in event:
        return event["endpoint_id"] == endpoint["_id"]
    return endpoint["event_types"] is None or event["type"] in endpoint["event_types"]


def current(secrets: Sequence[SecretVersion], at: datetime) -> list[SecretVersion]:
    """The secrets that sign at that moment, the newest first."""
    alive = [one for one in secrets if one["expires_at"] is None or one["expires_at"] > at]
    return sorted(alive, key=lambda one: -one["number"])


def pause_seconds(failures: int) -> float:
    """How long a failing endpoint is left alone after so many failures in a row."""
    return SCHEDULE[min(failures, len(SCHEDULE)) - 1]
