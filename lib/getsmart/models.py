"""The records we keep and the states they move through.

    queued -> submitted | awaiting_consent | failed | cancelled | unknown
    awaiting_consent -> submitted | cancelled | failed | expired | confirmed
    submitted -> confirmed | failed | cancelled | unknown
    unknown -> submitted | confirmed | failed | cancelled
    final: confirmed failed cancelled expired

Whoever edits MOVES edits the drawing, and the one in docs/architecture.md. Rows are TypedDicts: exactly the documents
that MongoDB keeps, with amounts as Decimal128.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict

from bson import Decimal128

Kind = Literal["mint", "transfer", "burn"]
Status = Literal["queued", "awaiting_consent", "submitted", "unknown", "confirmed", "failed", "cancelled", "expired"]

MOVES: dict[Status, frozenset[Status]] = {
    "queued": frozenset({"submitted", "awaiting_consent", "failed", "cancelled", "unknown"}),
    "awaiting_consent": frozenset({"submitted", "cancelled", "failed", "expired", "confirmed"}),
    "submitted": frozenset({"confirmed", "failed", "cancelled", "unknown"}),
    "unknown": frozenset({"submitted", "confirmed", "failed", "cancelled"}),
    "confirmed": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
    "expired": frozenset(),
}
FINAL: frozenset[Status] = frozenset(status for status, moves in MOVES.items() if not moves)

ISSUANCE, TREASURY, BURNED, EXTERNAL, SUPPLY = "issuance", "treasury", "burned", "external", "supply"
SYSTEM_ACCOUNTS = (ISSUANCE, TREASURY, BURNED, EXTERNAL)


@dataclass(frozen=True)
class Caller:
    """Who calls, as proven by an API key."""

    client_id: str
    key_id: str
    mode: str
    scopes: frozenset[str]

    @property
    def is_admin(self) -> bool:
        """Whether this caller sees every client's rows."""
        return "admin" in self.scopes


@dataclass(frozen=True)
class Claim:
    """Who asks, under which key, on which path, with which body; `source` is the caller's address for the audit."""

    caller: Caller
    route: str
    idempotency_key: str
    body_digest: str
    request_id: str
    source: str


@dataclass(frozen=True)
class Accepted:
    """The answer to a claim: the stored status and body, and whether an earlier call had stored it."""

    status: int
    body: str
    is_replay: bool


class Party(TypedDict):
    """One side of a transaction: a wallet, an outside address or a system account; `account` is its ledger account."""

    account: str
    wallet_id: NotRequired[str]
    address: NotRequired[str]


class Step(TypedDict):
    """One line of a transaction's timeline."""

    status: Status
    at: datetime


class Event(TypedDict):
    """An immutable snapshot of a change, written with it and numbered later."""

    event_id: str
    client_id: str
    type: str
    created_at: datetime
    data: str


class StoredRequest(TypedDict):
    """The provider request as it was or will be sent: same path, key and bytes each time."""

    path: str
    body: str | None
    idempotency_key: str
    signer: str


class StoredReply(TypedDict):
    """What the caller was answered, byte for byte."""

    status: int
    body: str


class Hold(TypedDict):
    """What was set aside for this transaction: from the supply, the treasury, or a wallet's account."""

    name: str
    state: Literal["held", "settled", "returned"]


class TransactionRow(TypedDict):
    """One transaction: the claim on its idempotency key, its state, and everything needed to finish it."""

    _id: str
    version: int
    client_id: str
    route: str
    idempotency_key: str
    body_digest: str
    kind: Kind
    status: Status
    amount: Decimal128
    origin: Party
    target: Party
    hold: Hold
    request: StoredRequest
    audit: dict[str, Any]
    timeline: list[Step]
    created_at: datetime
    updated_at: datetime
    lease_until: datetime
    attempts: int
    is_in_flight: bool
    is_ambiguous: bool
    outbox: NotRequired[list[Event]]
    due_at: NotRequired[datetime]
    send_started_at: NotRequired[datetime]
    submitted_at: NotRequired[datetime]
    reply: NotRequired[StoredReply]
    reason: NotRequired[str]
    badge_claim: NotRequired[dict[str, str]]
    badge_lock: NotRequired[dict[str, str]]
    incoming_wallet_id: NotRequired[str]
    metakeep_transaction_id: NotRequired[str]
    tx_hash: NotRequired[str]
    block_number: NotRequired[int]
    explorer_url: NotRequired[str]
    settlement: NotRequired[dict[str, Any]]
    failure: NotRequired[dict[str, str]]
    is_unsummed: NotRequired[bool]
    batch_id: NotRequired[str]


class WalletLink(TypedDict):
    """One client's view of a shared wallet."""

    client_id: str
    label: str | None
    metadata: dict[str, str]
    linked_at: datetime


class WalletRow(TypedDict):
    """One person's wallet, shared by the clients that are linked to it."""

    _id: str
    email: str
    address: str
    address_key: str
    created_at: datetime
    links: list[WalletLink]
    outbox: NotRequired[list[Event]]


class AccountRow(TypedDict):
    """The running sums of one wallet's ledger account; `sequence` counts its entries."""

    _id: str
    posted: Decimal128
    available: Decimal128
    sequence: int


class KeyLimits(TypedDict, total=False):
    """What a key may do at most; None means no limit."""

    per_second: int | None
    per_hour: int | None


class KeyRow(TypedDict):
    """An API key: only the digest of its secret is kept."""

    _id: str
    client_id: str
    mode: Literal["live", "test"]
    secret_sha256: str
    scopes: list[str]
    limits: KeyLimits
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    allowed_ips: list[str]
    last_used_at: NotRequired[datetime]


def is_final(status: Status) -> bool:
    """Whether nothing can move this transaction any more."""
    return status in FINAL
