"""What the contracts of the functions cannot say of themselves: what each operation replies, and its own errors.

An operation that is missing here fails a test by name, and so does one that is here but no longer a function.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ops import api_objects as objects


@dataclass(frozen=True)
class Document:
    """A reply that is not in the JSON envelope: its media type, what it is, and an example."""

    media_type: str
    what: str
    example: Any


@dataclass(frozen=True)
class Operation:
    """One method of one function.

    `replies` has for each status of success the type of `data`, a Document, or several of either. `errors` are codes
    beyond those that follow from the contract. `bodies` replaces `takes` where it is not one JSON object: media type to
    a schema, or None for `takes`. `headers` are request headers beyond the usual, `queries` query names beside a body:
    name to (what it is, pattern). `rows` names the model that a handler checks the items of `rows` with. `examples` of
    bodies are those where what fits together does not follow from the model.
    """

    replies: Mapping[int, Any]
    errors: tuple[str, ...] = ()
    summary: str = ""
    bodies: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    queries: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    rows: str = ""
    examples: Mapping[str, Any] = field(default_factory=dict)


_SIGNED_HEADERS = {
    "X-Api-Key": ("The sender's public key.", r"^[A-Za-z0-9+/]{44}$"),
    "X-Timestamp": ("When it was signed, in milliseconds since the epoch.", r"^[0-9]{1,15}$"),
    "X-Api-Signature": ("The signature over the exact bytes.", r"^[A-Za-z0-9+/]{86}==$"),
    "Idempotency-Key": ("The id of the delivery, the same in every attempt.", r"^[!-~]{1,255}$"),
}
_DELIVERY = {
    "type": "object",
    "description": "A delivery as MetaKeep sends it; it is only read once its signature is proven.",
    "examples": [{"type": "transaction", "data": {"transactionId": "3f0c2a52-7a55-4d35-8b51-5a5d3bb1a9f2"}}],
}
_LINES = {
    "type": "string",
    "description": "A row a line, each a JSON object.",
    "examples": ['{"wallet_id":"wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV","amount":"1000"}\n'],
}
_PROMETHEUS = Document(
    "text/plain",
    "Gauges and counters in Prometheus's text format.",
    "# HELP getsmart_tick_age_seconds Time since the clockwork's last pass.\n"
    "# TYPE getsmart_tick_age_seconds gauge\ngetsmart_tick_age_seconds 0.4\n",
)
_ITSELF = Document("application/json", "This description.", {"openapi": "3.1.0"})
_PAGE = Document("text/html", "This description as a page to read and try.", "<!doctype html>")

_ASSETS = (
    Document("application/x-javascript", "The page's viewer.", "/* swagger-ui */"),
    Document("text/javascript", "The page's own script.", "show();"),
    Document("text/css", "A style sheet of the page.", "body {}"),
)


_ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
_REPLAYS = {
    "delivery": {"action": "replay", "delivery_id": f"dlv_{_ULID}"},
    "event": {"action": "replay", "event_id": f"evt_{_ULID}"},
    "span": {"action": "replay", "endpoint_id": f"whe_{_ULID}", "created_after": "2027-01-31T12:00:00Z"},
    "all_failed": {"action": "replay", "all_failed": True},
}


def _table(columns: str) -> Document:
    return Document("text/csv", "The same page as a table; where there is more, X-Next-Cursor.", f"{columns}\r\n")


OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "wallets/create"): Operation({201: objects.Wallet, 200: objects.Wallet}, errors=("invalid_state",)),
    ("GET", "wallets/get"): Operation({200: objects.Wallet}),
    ("GET", "wallets/list"): Operation({200: objects.WalletPage}),
    ("GET", "wallets/statement"): Operation({200: (objects.Statement, _table("sequence,at,direction,amount,balance"))}),
    ("GET", "wallets/export"): Operation({200: objects.Export}),
    ("POST", "wallets/erase"): Operation({200: objects.Wallet}, errors=("invalid_state",)),
    ("GET", "wallets/balance"): Operation({200: objects.Balance}, errors=("provider_unavailable",)),
    ("GET", "tokens/info"): Operation({200: objects.Token}),
    ("POST", "tokens/mint"): Operation(
        {202: objects.Transaction},
        errors=("supply_exhausted", "badge_already_claimed", "limit_exceeded", "invalid_state"),
    ),
    ("POST", "tokens/transfer"): Operation(
        {202: objects.Transaction}, errors=("insufficient_balance", "limit_exceeded", "invalid_state")
    ),
    ("POST", "tokens/burn"): Operation({202: objects.Transaction}, errors=("insufficient_balance", "invalid_state")),
    ("GET", "tokens/transaction"): Operation({200: objects.Transaction}, summary="One transaction and its timeline"),
    ("POST", "tokens/airdrop"): Operation(
        {202: objects.Batch},
        errors=("invalid_state", "supply_exhausted", "limit_exceeded"),
        bodies={"application/json": None, "application/x-ndjson": _LINES},
        queries={"reference": ("The reference, where the body is application/x-ndjson.", "^[^\\u0000]{1,128}$")},
        rows="AirdropRow",
    ),
    ("GET", "tokens/batch"): Operation({200: objects.Batch}),
    ("GET", "tokens/transactions"): Operation(
        {200: (objects.TransactionPage, _table("transaction_id,kind,status,amount"))}
    ),
    ("POST", "tokens/transaction"): Operation(
        {200: objects.Transaction},
        errors=("invalid_state", "recovering"),
        summary="Cancel a transaction of which nothing was sent yet",
    ),
    ("POST", "tokens/consent"): Operation({200: objects.Transaction}, errors=("invalid_state", "recovering")),
    ("POST", "webhooks/metakeep"): Operation(
        {200: objects.Received},
        errors=("signature_invalid", "invalid_json", "too_large"),
        bodies={"application/json": _DELIVERY},
        headers=_SIGNED_HEADERS,
    ),
    ("GET", "webhooks/endpoints"): Operation(
        {200: (objects.EndpointPage, objects.WebhookEndpoint)}, summary="Your endpoints, or one of them"
    ),
    ("POST", "webhooks/endpoints"): Operation(
        {201: objects.NewEndpoint},
        errors=("limit_exceeded",),
        summary="Make an endpoint; its secret is shown this once",
    ),
    ("PATCH", "webhooks/endpoints"): Operation(
        {200: (objects.WebhookEndpoint, objects.NewEndpoint)},
        errors=("invalid_state",),
        summary="Change, pause, resume, rotate or test an endpoint",
    ),
    ("DELETE", "webhooks/endpoints"): Operation(
        {200: objects.WebhookEndpoint}, errors=("invalid_state",), summary="Remove an endpoint"
    ),
    ("GET", "webhooks/deliveries"): Operation(
        {200: objects.DeliveryPage}, summary="What your endpoints were told, attempt by attempt"
    ),
    ("POST", "webhooks/deliveries"): Operation(
        {202: objects.Replay},
        errors=("invalid_state", "limit_exceeded"),
        summary="Tell something again",
        examples=_REPLAYS,
    ),
    ("GET", "webhooks/events"): Operation({200: objects.EventPage}),
    ("GET", "ops/health"): Operation({200: objects.Health, 503: objects.Health}),
    ("GET", "ops/metrics"): Operation({200: _PROMETHEUS}),
    ("GET", "ops/keys"): Operation({200: objects.KeyPage}, summary="API keys, without their secrets"),
    ("POST", "ops/keys"): Operation({201: objects.NewKey}, summary="Make an API key; its secret is shown this once"),
    ("DELETE", "ops/keys"): Operation({200: objects.Key}, summary="Revoke an API key, within 30 s everywhere"),
    ("GET", "ops/openapi"): Operation({200: (_ITSELF, _PAGE, *_ASSETS)}),
}

TAGS = {
    "wallets": "Wallets of people, their balances and their history.",
    "tokens": "Mint, transfer and burn GETS; the token and its transactions.",
    "webhooks": "What is delivered to us and by us.",
    "ops": "Health, metrics, API keys, and this description.",
}
