"""Signed deliveries as the provider's side sends them."""

import json
from datetime import UTC, datetime

from standardwebhooks import Webhook

from getsmart.metakeep.signing import SigningKey, string_to_sign

HOST, PATH = "hooks.example", "/v1/webhooks/metakeep"


def body_of(transaction_id: str | None, status: str = "COMPLETED", event_type: str = "transaction.completed") -> bytes:
    """The payload of an event; what it says of the state is only a hint."""
    data = {"status": status} if transaction_id is None else {"transactionId": transaction_id, "status": status}
    return json.dumps({"type": event_type, "data": data}).encode()


BODY = body_of("provider-id")


def delivery(
    key: SigningKey,
    body: bytes = BODY,
    *,
    at_ms: int,
    event_id: str = "event-1",
    host: str = HOST,
    path: str = PATH,
) -> dict[str, str]:
    """The headers of a delivery, in lower case as the platform gives them."""
    message = string_to_sign(
        host=host, method="POST", path=path, timestamp=str(at_ms), body=body, idempotency_key=event_id
    )
    return {
        "content-type": "application/json",
        "x-api-key": key.public_key,
        "x-timestamp": str(at_ms),
        "x-api-signature": key.sign(message),
        "idempotency-key": event_id,
    }


def standard_delivery(secret: str, body: bytes = BODY, *, at_ms: int, event_id: str = "event-1") -> dict[str, str]:
    """The headers of a Standard Webhooks delivery, signed by the public library."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(at_ms // 1000),
        "webhook-signature": Webhook(secret).sign(event_id, at, body.decode()),
    }
