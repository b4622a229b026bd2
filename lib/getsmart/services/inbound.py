"""Receive one delivery from MetaKeep: verify, then ask MetaKeep itself; the delivery is only a hint."""

from collections.abc import Mapping

from getsmart import clock, config, log
from getsmart.errors import InvalidState, SignatureInvalid
from getsmart.machine import consent, told
from getsmart.machine.settle import refresh
from getsmart.metakeep import webhook
from getsmart.metakeep.webhook import InboundEvent
from getsmart.models import TransactionRow, is_final
from getsmart.stores import inbound, transactions


def receive(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """What became of the delivery: `{"event_id", "outcome"}`; outcome is applied, duplicate, pending or unrelated.

    Raises SignatureInvalid for a delivery that is not genuine, and any failure of ours: the event is then not marked
    as seen, so that the sender's retry is processed.
    """
    event = _verify(headers, body)
    outcome = _apply(event)
    log.event("webhook.received", event_id=event.event_id, type=event.type, outcome=outcome)
    return {"event_id": event.event_id, "outcome": outcome}


def _verify(headers: Mapping[str, str], body: bytes) -> InboundEvent:
    """By the one scheme that is configured, whatever headers of the other one say."""
    now_ms = int(clock.now().timestamp() * 1000)
    scheme = config.read(config.WebhookSettings).scheme
    if scheme == "none":
        raise SignatureInvalid
    if scheme == "standard":
        secrets = config.read(config.StandardWebhookSettings).secrets
        return webhook.verify_standard(headers, body, secrets=secrets, now_ms=now_ms)
    bound = config.read(config.P256WebhookSettings)
    return webhook.verify_p256(
        headers, body, host=bound.host, path=bound.path, sender_keys=bound.sender_keys, now_ms=now_ms
    )


def _apply(event: InboundEvent) -> str:
    if inbound.is_seen(event.event_id):
        return "duplicate"
    if event.consent_token is not None:
        return _consent(event, event.consent_token)
    row = transactions.find_by_metakeep_id(event.metakeep_transaction_id) if event.metakeep_transaction_id else None
    if row is None:
        # Perhaps its submission is still being written; the tick will find its state without this hint.
        return "unrelated"
    if row["status"] in ("submitted", "unknown"):
        row = _told(refresh(row, (event.event_id, event.type)))
    return "applied" if is_final(row["status"]) else "pending"


def _told(row: TransactionRow) -> TransactionRow:
    """The row, of whose change its client is told at once."""
    told.first_attempts(row["client_id"])
    return row


def _consent(event: InboundEvent, token: str) -> str:
    """What the person did: an approval's id is a candidate like a browser's; a denial only ends the wait earlier."""
    row = transactions.find_by_consent_token(token)
    if row is None:
        return "unrelated"  # it has ended, or its token is still being written; the chain will tell
    if event.type == "consent.denied":
        row = _told(consent.deny(row))
    elif event.metakeep_transaction_id is not None:
        try:
            row = _told(consent.offer(row, event.metakeep_transaction_id))
        except InvalidState:
            return "unrelated"
    return "applied" if is_final(row["status"]) else "pending"
