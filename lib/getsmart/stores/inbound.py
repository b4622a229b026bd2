"""Which inbound deliveries were applied: each event id once, decided by the unique `_id`."""

from datetime import datetime

from pymongo.client_session import ClientSession

from getsmart.mongo import database


def is_seen(event_id: str) -> bool:
    """Whether the effect of this delivery has been committed."""
    return database().inbound_events.find_one({"_id": event_id}, {"_id": 1}) is not None


def mark(event_id: str, event_type: str, at: datetime, *, session: ClientSession | None = None) -> None:
    """Note the delivery as applied; in the same transaction as its effect. Raises DuplicateKeyError for a twin."""
    database().inbound_events.insert_one({"_id": event_id, "type": event_type, "applied_at": at}, session=session)
