"""The objects of replies, as callers see them: strict models for the API's description and for the tests of replies."""

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict

from getsmart.fields import Label, Metadata, described
from getsmart.hooks import DeliveryStatus, EventType
from getsmart.ids import ULID_FORM
from getsmart.models import BatchStatus, Kind, Status

_ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
_HASH = "0x7f9fade1c0d57a7af66ab4ead79fade1c0d57a7af66ab4ead7c2c2eb7b11a91385"[:66]


class Object(BaseModel):
    """A JSON object without surprises: every field is described, and there is no other."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)


def _of(pattern: str, *examples: str) -> FieldInfo:
    made: FieldInfo = Field(pattern=pattern, json_schema_extra={"examples": list(examples)})
    return made


def _id_of(prefix: str) -> FieldInfo:
    """What makes a string an id with this prefix."""
    return _of(rf"^{prefix}_{ULID_FORM}$", f"{prefix}_{_ULID}")


Amount = Annotated[str, _of(r"^(0|[1-9][0-9]*)(\.[0-9]*[1-9])?$", "1000", "0.5", "0")]
SignedAmount = Annotated[str, _of(r"^-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?$", "0", "-0.5")]
Moment = Annotated[str, _of(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", "2027-03-01T09:30:00.000Z")]
ChainAddress = Annotated[str, _of(r"^0x[0-9a-fA-F]{40}$", "0x8ba1f109551bD432803012645Ac136ddd64DBA72")]
TxHash = Annotated[str, _of(r"^0x[0-9a-f]{64}$", _HASH)]
MerkleRoot = Annotated[str, _of(r"^[0-9a-f]{64}$", _HASH[2:])]
Count = Annotated[int, Field(ge=0), described(1)]
Block = Annotated[int, Field(ge=0), described(4711)]
Url = Annotated[str, _of(r"^https?://", f"https://amoy.polygonscan.com/tx/{_HASH}")]
WalletId = Annotated[str, _id_of("wlt")]
TransactionId = Annotated[str, _id_of("txn")]
BatchId = Annotated[str, _id_of("bat")]
KeyId = Annotated[str, _id_of("key")]
EndpointId = Annotated[str, _id_of("whe")]
EventId = Annotated[str, _id_of("evt")]
DeliveryId = Annotated[str, _id_of("dlv")]
ReplayId = Annotated[str, _id_of("rpl")]
Cursor = Annotated[str | None, Field(description="Give it as cursor to read on; null at the end."), described(None)]


class OwnerObject(Object):
    """The person a wallet belongs to."""

    email: Annotated[str | None, Field(description="Null once the person was erased."), described("ada@example.com")]


class Wallet(Object):
    """A person's wallet; label and metadata are those of the calling client."""

    wallet_id: WalletId
    owner: OwnerObject
    address: ChainAddress
    label: Label | None
    metadata: Metadata
    created_at: Moment
    erased_at: Annotated[Moment | None, described(None)]


class Party(TypedDict, total=False):
    """One side of a transaction: a wallet, an address on chain, or one of the system's accounts."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    wallet_id: WalletId
    address: ChainAddress
    account: Literal["issuance", "treasury", "burned", "external"]


class Failure(Object):
    """Why a transaction had no effect."""

    code: Annotated[str, described("provider_rejected")]
    message: Annotated[str, described("The wallet provider refused the request.")]


class BadgeClaimObject(Object):
    """The badge that was rewarded, and who earned it."""

    badge_id: Annotated[str, described("rust-101")]
    claimant: Annotated[str, described("ada")]


class Step(Object):
    """A state of the transaction, and since when."""

    status: Status
    at: Moment


class Transaction(Object):
    """A mint, transfer or burn; what has no value yet is null."""

    transaction_id: TransactionId
    kind: Kind
    status: Status
    amount: Amount
    from_: Party = Field(alias="from")
    to: Party
    tx_hash: TxHash | None
    block_number: Block | None
    explorer_url: Url | None
    metakeep_transaction_id: Annotated[str | None, described("3f0c2a52-7a55-4d35-8b51-5a5d3bb1a9f2")]
    badge_claim: BadgeClaimObject | None
    reason: Annotated[str | None, described("a gift")]
    batch_id: BatchId | None
    failure: Failure | None
    created_at: Moment
    updated_at: Moment
    timeline: list[Step]
    consent_token: Annotated[
        str | None, Field(description="For MetaKeep's SDK, while consent is awaited."), described(None)
    ] = None
    consent_expires_at: Moment | None = None


class ChainBalance(Object):
    """What the chain says, and how far the books are from it."""

    balance: Amount
    block_number: Block
    difference: SignedAmount


class Balance(Object):
    """What a wallet holds: posted is confirmed on chain, available is posted less what is on its way out."""

    wallet_id: WalletId
    posted: Amount
    pending_in: Annotated[Amount | None, Field(description="Null for a moment of the past."), described("0")]
    pending_out: Annotated[Amount | None, Field(description="Null for a moment of the past."), described("0")]
    available: Annotated[Amount | None, Field(description="Null for a moment of the past."), described("1000")]
    ledger_sequence: Count
    as_of: Moment
    chain: ChainBalance = Field(default=cast(ChainBalance, None), description="Only with source=chain.")


class Entry(Object):
    """A line of a statement; what belongs to another client's transaction is null."""

    sequence: Count
    at: Moment
    direction: Literal["debit", "credit"]
    amount: Amount
    balance: Amount
    transaction_id: TransactionId | None
    kind: Kind | None
    reason: Annotated[str | None, described("a gift")]
    counterparty: Party | None


class WalletPage(Object):
    """A page of wallets, newest first."""

    items: list[Wallet]
    next_cursor: Cursor


class TransactionPage(Object):
    """A page of transactions, newest first."""

    items: list[Transaction]
    next_cursor: Cursor


class Statement(Object):
    """A page of a wallet's entries, the oldest first."""

    items: list[Entry]
    next_cursor: Cursor


class Export(Object):
    """All that the client sees of a person's wallet."""

    wallet: Wallet
    balance: Balance
    transactions: TransactionPage


class Counts(Object):
    """How many of the rows are in which state."""

    queued: Count
    awaiting_consent: Count
    submitted: Count
    unknown: Count
    confirmed: Count
    failed: Count
    cancelled: Count
    expired: Count


class BatchRow(Object):
    """One row of an airdrop, and what has become of it."""

    row: Annotated[int, Field(ge=0), described(0)]
    wallet_id: WalletId
    amount: Amount
    transaction_id: TransactionId | None
    status: Status
    tx_hash: TxHash | None


class BatchRowPage(Object):
    """A page of rows, in the order they were given."""

    items: list[BatchRow]
    next_cursor: Cursor


class Batch(Object):
    """An airdrop: how it stands, and once it is complete the root that proves each of its rows."""

    batch_id: BatchId
    reference: Annotated[str, described("spring-2027")]
    status: BatchStatus
    counts: Counts
    total: Count
    merkle_root: MerkleRoot | None
    created_at: Moment
    rows: BatchRowPage = Field(default=cast(BatchRowPage, None), description="Only with rows=true.")


class Treasury(Object):
    """The treasury's address, and what it holds."""

    address: ChainAddress
    balance: SignedAmount


class Token(Object):
    """The token: its contract, its supply and its treasury."""

    name: Annotated[str, described("GetSmart Token")]
    symbol: Annotated[str, described("GETS")]
    decimals: Annotated[int, described(18)]
    contract_address: ChainAddress
    network: Literal["polygon", "polygon-amoy"]
    chain_id: Literal[137, 80002]
    max_supply: Amount
    minted: Amount
    reserved: SignedAmount
    burned: Amount
    circulating: Amount
    treasury: Treasury
    reconciled_to_block: Block | None


class Received(Object):
    """What became of a delivery."""

    event_id: Annotated[str, described("4b1c6f0e")]
    outcome: Literal["applied", "duplicate", "pending", "unrelated"]


class HealthCheck(Object):
    """One check: its verdict, what was seen, and what was looked at."""

    status: Literal["pass", "warn", "fail"]
    observed: Annotated[str | None, described("0.4 s")]
    message: Annotated[str, described("the tick's last pass")]


class Health(Object):
    """How the service is: the worst of its checks."""

    status: Literal["pass", "warn", "fail"]
    version: Annotated[str, described("1.4.0")]
    colour: Literal["blue", "green"]
    schema_version: Annotated[int, described(7)]
    checks: Annotated[
        dict[str, HealthCheck],
        described({"tick_age": {"status": "pass", "observed": "0.4 s", "message": "the tick's last pass"}}),
    ]


class KeyLimitsObject(Object):
    """What a key may do; null means no limit."""

    per_second: Annotated[int | None, described(10)]
    per_hour: Annotated[int | None, described(1000)]
    mint_per_day: Amount | None
    treasury_per_day: Amount | None


class Key(Object):
    """An API key; the secret is shown once, when it is made."""

    key_id: KeyId
    client_id: Annotated[str, described("academy")]
    mode: Literal["live", "test"]
    scopes: Annotated[list[str], described(["tokens:mint", "wallets:write"])]
    allowed_ips: Annotated[list[str], described(["203.0.113.0/24"])]
    limits: KeyLimitsObject
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    last_used_at: Moment | None


class NewKey(Key):
    """A key that was made now, with its secret: keep it, it is never shown again."""

    secret: Annotated[str, described("gsk_test_01ARZ3NDEKTSV4RRFFQ69G5FAV_<64 hexadecimal digits>")]


class KeyPage(Object):
    """A page of keys, newest first."""

    items: list[Key]
    next_cursor: Cursor


class WebhookEndpoint(Object):
    """An endpoint that is told of events; `event_types` null means all, `failing_since` null means that it answers."""

    endpoint_id: EndpointId
    url: Url
    event_types: Annotated[list[EventType] | None, described(["transaction.confirmed"])]
    status: Literal["enabled", "paused", "disabled"]
    mode: Literal["live", "test"]
    failing_since: Moment | None
    created_at: Moment


class NewEndpoint(WebhookEndpoint):
    """An endpoint with a secret that was made now: keep it, it is never shown again."""

    secret: Annotated[str, described("whsec_<44 characters of base64>")]


class EndpointPage(Object):
    """A page of endpoints, newest first."""

    items: list[WebhookEndpoint]
    next_cursor: Cursor


class AttemptObject(Object):
    """One call of an endpoint; without a status none came, and the excerpt says why."""

    at: Moment
    http_status: Annotated[int | None, described(503)]
    duration_ms: Annotated[int, Field(ge=0), described(187)]
    excerpt: Annotated[str, described("upstream is down")]


class Delivery(Object):
    """One event for one endpoint, and every attempt to tell it; the next one where it is pending and enabled."""

    delivery_id: DeliveryId
    event_id: EventId
    endpoint_id: EndpointId
    type: EventType
    sequence: Count
    status: DeliveryStatus
    attempts: list[AttemptObject]
    next_attempt_at: Moment | None
    created_at: Moment


class ReplayCounts(Object):
    """What became of the deliveries that a replay put in line."""

    pending: Count
    delivered: Count
    dead: Count


class Replay(Object):
    """A replay: how many deliveries it is about, how many it has put in line, and what became of those."""

    replay_id: ReplayId
    status: Annotated[Literal["queued", "running", "completed"], described("running")]
    total: Count
    queued: Count
    counts: ReplayCounts
    created_at: Moment


class DeliveryPage(Object):
    """A page of deliveries, newest first; with `replay_id` in the query also that replay."""

    items: list[Delivery]
    next_cursor: Cursor
    replay: Replay = cast(Replay, None)


class NumberedEvent(Object):
    """An event as it is delivered: what changed, as it was then."""

    event_id: EventId
    type: EventType
    sequence: Annotated[int, Field(ge=1), described(42)]
    created_at: Moment
    data: Annotated[dict[str, Any], described({"transaction_id": f"txn_{_ULID}", "status": "confirmed"})]


class EventPage(Object):
    """A page of events, in order of their numbers."""

    items: list[NumberedEvent]
    next_cursor: Cursor
