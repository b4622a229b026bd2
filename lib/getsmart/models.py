"""The records we keep and the states they move through.

    queued -> submitted | awaiting_consent | failed | cancelled | unknown
    awaiting_consent -> submitted | cancelled | failed | expired | confirmed
    submitted -> confirmed | failed | cancelled | unknown
    unknown -> submitted | confirmed | failed | cancelled
    final: confirmed failed cancelled expired

Whoever edits MOVES edits the drawing, and the one in docs/architecture.md. Rows are TypedDicts: exactly the documents
that MongoDB keeps, with amounts as Decimal128.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NotRequired, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bson import Decimal128  # the driver; a refusal that needs no database does not load it

Scope = Literal[
    "wallets:read",
    "wallets:write",
    "tokens:read",
    "tokens:mint",
    "tokens:transfer",
    "treasury:transfer",
    "tokens:burn",
    "webhooks:read",
    "webhooks:write",
    "ops:read",
    "admin",
]
Kind = Literal["mint", "transfer", "burn"]
BatchStatus = Literal["accepting", "queued", "running", "completed"]
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
RECOVERY = "recovery"
SYSTEM_ACCOUNTS = (ISSUANCE, TREASURY, BURNED, EXTERNAL)


class AuditLine(TypedDict):
    """Who changed something, from where, in which call; `what` where a row can change in several ways.

    `who` and `evidence` are an operator's, who decides about what nobody else can tell.
    """

    key_id: str
    source: str
    request_id: str
    at: datetime
    what: NotRequired[str]
    who: NotRequired[str]
    evidence: NotRequired[str]


class Caller(NamedTuple):
    """Who calls, as proven by an API key; `source` and `request_id` are those of the call, for the audit."""

    client_id: str
    key_id: str
    mode: str
    scopes: frozenset[str]
    mint_per_day: int | None = None
    treasury_per_day: int | None = None
    source: str = ""
    request_id: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether this caller sees every client's rows."""
        return "admin" in self.scopes

    @property
    def view(self) -> str | None:
        """The client whose rows this caller sees; None sees every client's."""
        return None if self.is_admin else self.client_id

    def may(self, scope: str) -> bool:
        """Whether the key has this scope; an admin has all."""
        return self.is_admin or scope in self.scopes

    def audit(self, what: str, at: datetime) -> AuditLine:
        """The line that goes into the row this caller changes: no personal data."""
        line: AuditLine = {"key_id": self.key_id, "source": self.source, "request_id": self.request_id, "at": at}
        return {**line, "what": what}


class Claim(NamedTuple):
    """Who asks, under which key, on which path, with which body; `source` is the caller's address for the audit."""

    caller: Caller
    route: str
    idempotency_key: str
    body_digest: str
    request_id: str
    source: str


class Accepted(NamedTuple):
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
    """An immutable snapshot of a change, written with it and numbered later; `endpoint_id` where only that is told.

    `traceparent` is the call that the change goes back to.
    """

    event_id: str
    client_id: str
    type: str
    created_at: datetime
    data: str
    endpoint_id: NotRequired[str]
    traceparent: NotRequired[str]


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
    is_void: NotRequired[bool]  # a repair gave it away: nothing is given back


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
    amount: "Decimal128"
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
    is_backed: NotRequired[bool]
    begun_at: NotRequired[datetime]  # when its amount began to be set aside, by the claimer's clock
    inserted_at: NotRequired[datetime]  # by the server's
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
    block_hash: NotRequired[str]
    is_unwitnessed: NotRequired[bool]
    is_held_back: NotRequired[bool]
    reorged_at: NotRequired[datetime]
    passed_on: NotRequired[dict[str, str]]  # to the wallet that its address has become, by a break: machine/onward.py
    explorer_url: NotRequired[str]
    settlement: NotRequired[dict[str, Any]]
    failure: NotRequired[dict[str, str]]
    is_unsummed: NotRequired[bool]
    batch_id: NotRequired[str]
    batch_row: NotRequired[int]
    consent_token: NotRequired[str]
    consent_expires_at: NotRequired[datetime]
    consent_from_block: NotRequired[int]
    consent_candidates: NotRequired[list[str]]
    consent_denied_at: NotRequired[datetime]
    changed_by: NotRequired[list[AuditLine]]


class BatchRow(TypedDict):
    """One airdrop: the claim on its reference and keys, and how far its rows have become transactions.

    `held` is what is set aside for rows that are not transactions yet; `unfolded` counts those that are.
    """

    _id: str
    version: int
    client_id: str
    key_id: str
    reference: str
    route: str
    idempotency_keys: list[str]
    body_digest: str
    status: BatchStatus
    amount: "Decimal128"
    held: "Decimal128"
    total: int
    unfolded: int
    audit: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    lease_until: datetime
    merkle_root: NotRequired[str]
    reply: NotRequired[StoredReply]
    outbox: NotRequired[list[Event]]


class AirdropRow(TypedDict):
    """One row of an airdrop as it was accepted; its transaction is made by the tick."""

    _id: str
    batch_id: str
    row: int
    wallet_id: str
    amount: "Decimal128"


_MOST_LINES = 50
# Of a transaction's row: what no list shows, and need not be read.
UNLISTED = ("request", "reply", "outbox", "audit", "changed_by")


class TransactionFilter(TypedDict, total=False):
    """Which transactions a list is about; what is absent does not matter."""

    wallet_id: str
    status: Status
    kind: Kind
    batch_id: str
    badge_id: str
    created_after: datetime
    created_before: datetime


class WalletFilter(TypedDict, total=False):
    """Which wallets a list is about; `email_prefix` is in lower case."""

    email_prefix: str
    label: str
    created_after: datetime
    created_before: datetime


class WalletLink(TypedDict):
    """One client's view of a shared wallet."""

    client_id: str
    label: str | None
    metadata: dict[str, str]
    linked_at: datetime
    audit: NotRequired[list[AuditLine]]


class WalletRow(TypedDict):
    """One person's wallet, shared by the clients that are linked to it; once erased it names nobody (no `email`)."""

    _id: str
    email: NotRequired[str]
    address: str
    address_key: str
    created_at: datetime
    links: list[WalletLink]
    outbox: NotRequired[list[Event]]
    erasing: NotRequired[str]
    erased_at: NotRequired[datetime]
    erasure: NotRequired[AuditLine]


class AccountRow(TypedDict):
    """The running sums of one wallet's ledger account; `sequence` counts its entries, the last one of `moved_at`."""

    _id: str
    posted: "Decimal128"
    available: "Decimal128"
    sequence: int
    moved_at: NotRequired[datetime]


class EntryRow(TypedDict):
    """One line of a wallet's account: `account_sequence` numbers them without a gap, `at` never goes back."""

    _id: str
    transaction_id: str
    account: str
    direction: Literal["debit", "credit"]
    amount: "Decimal128"
    at: datetime
    account_sequence: int
    balance_after: "Decimal128"


DEFAULT_PER_SECOND = 10
DEFAULT_PER_HOUR = 1_000


class KeyLimits(TypedDict, total=False):
    """What a key may do at most; None means no limit. A day's ceilings are base units as decimal strings."""

    per_second: int | None
    per_hour: int | None
    mint_per_day: str | None
    treasury_per_day: str | None


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
    audit: NotRequired[list[AuditLine]]


def changed_by(row: TransactionRow, line: AuditLine | None) -> dict[str, Any]:
    """The change to a row that tells who changed it after it was claimed; the newest lines stay."""
    return {"changed_by": [*row.get("changed_by", []), line][-_MOST_LINES:]} if line else {}


def cause_of(row: "Mapping[str, Any]") -> str:
    """The `traceparent` of the call that a transaction or an airdrop goes back to; empty where its row has none."""
    return str(row.get("audit", {}).get("traceparent", ""))


def needs_consent(row: TransactionRow) -> bool:
    """Whether a person has to approve this transaction: it takes from their wallet to give to another."""
    return row["kind"] == "transfer" and row["origin"]["account"] != TREASURY


def is_final(status: Status) -> bool:
    """Whether nothing can move this transaction any more."""
    return status in FINAL
