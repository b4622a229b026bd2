"""Standard Webhooks signatures (standardwebhooks.com), and the secrets they are made with. Pure.

Secrets are derived, not stored (docs/adr/0020): who reads the database learns none.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import datetime

from getsmart.errors import Misconfigured
from getsmart.hooks import SecretVersion, current


def fingerprint(master: str) -> str:
    """The name of a master key, which tells nothing of it."""
    return hashlib.sha256(b"getsmart webhook master\n" + master.encode()).hexdigest()[:16]


def derive(masters: Sequence[str], endpoint_id: str, version: SecretVersion) -> str:
    """The secret `whsec_...` of an endpoint. Raises Misconfigured when its master key is no longer known."""
    for master in masters:
        if fingerprint(master) == version["master"]:
            text = f"getsmart/webhook/v1\n{endpoint_id}\n{version['number']}"
            digest = hmac.new(master.encode(), text.encode(), hashlib.sha256).digest()
            return "whsec_" + base64.b64encode(digest).decode()
    raise Misconfigured(f"environment: WEBHOOK_SECRET_KEYS (lacks the key of {endpoint_id})")


def derive_current(
    masters: Sequence[str], endpoint_id: str, versions: Sequence[SecretVersion], at: datetime
) -> list[str]:
    """The secrets that sign at that moment, the newest first. Raises Misconfigured."""
    return [derive(masters, endpoint_id, version) for version in current(versions, at)]


def headers(secrets: Iterable[str], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` and `webhook-signature` with one signature for each secret."""
    timestamp = str(int(at.timestamp()))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_sign(secret, signed)}" for secret in secrets),
    }


def _sign(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
