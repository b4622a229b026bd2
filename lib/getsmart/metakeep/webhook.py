"""Verify and parse an inbound delivery, by one of two schemes. Pure.

p256 is MetaKeep's request signature, reversed; standard is Standard Webhooks (standardwebhooks.com), with a shared
secret.
The order of checks: headers present and well formed, time, sender, signature over the exact bytes; only then is the
body parsed. Verification raises; the caller learns nothing but 401.
"""

import base64
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from getsmart.errors import InvalidJson, SenderUnknown, SignatureExpired, SignatureMalformed, SignatureMismatch
from getsmart.metakeep import signing

TOLERANCE_MS = 60_000
STANDARD_TOLERANCE_SECONDS = 300  # as the scheme's public libraries have it
_TIMESTAMP = re.compile(r"[0-9]{1,15}", re.ASCII)
_EVENT_ID = re.compile(r"[!-~]{1,255}", re.ASCII)
_SIGNATURE = re.compile(r"[A-Za-z0-9+/]{86}==", re.ASCII)
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9+/]{44}", re.ASCII)
# The id, the time and the body are signed with dots between them: with a dot inside, one could be read as another.
_MESSAGE_ID = re.compile(r"[^.\x00-\x20\x7f-\U0010ffff]{1,255}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
# Up to ten of `version,signature`; one comma each, which two headers that a proxy made one of do not have.
_SIGNATURES = re.compile(r"[!-+.-~-]{1,9},[!-+.-~-]{1,100}(?: [!-+.-~-]{1,9},[!-+.-~-]{1,100}){0,9}", re.ASCII)


@dataclass(frozen=True)
class InboundEvent:
    """A delivery that is genuine: its id (constant over retries), its type, and what it hints at."""

    event_id: str
    type: str
    metakeep_transaction_id: str | None
    consent_token: str | None = field(default=None, repr=False)


def verify_p256(
    headers: Mapping[str, str], body: bytes, *, host: str, path: str, sender_keys: Sequence[str], now_ms: int
) -> InboundEvent:
    """The event of a genuine delivery. `headers` have lower-case names; `host` and `path` are ours, as configured.

    Raises SignatureInvalid (one of its kinds) for a delivery that is not genuine, InvalidJson for a genuine one that
    is no event.
    """
    timestamp = _header(headers, "x-timestamp", _TIMESTAMP)
    event_id = _header(headers, "idempotency-key", _EVENT_ID)
    signature = _header(headers, "x-api-signature", _SIGNATURE)
    named = _header(headers, "x-api-key", _PUBLIC_KEY)
    if abs(now_ms - int(timestamp)) > TOLERANCE_MS:
        raise SignatureExpired("timestamp outside the window")
    if named not in sender_keys:
        raise SenderUnknown("sender key is not pinned")
    message = signing.string_to_sign(
        host=host, method="POST", path=path, timestamp=timestamp, body=body, idempotency_key=event_id
    )
    signing.verify(named, message, signature)
    return _parse(event_id, body)


def verify_standard(headers: Mapping[str, str], body: bytes, *, secrets: Sequence[str], now_ms: int) -> InboundEvent:
    """The event of a genuine delivery. `headers` have lower-case names; `secrets` are `whsec_` and base64.

    Any `v1` signature of the header may fit any of the secrets, which is how a sender changes its secret. Raises as
    `verify_p256` does.
    """
    event_id = _header(headers, "webhook-id", _MESSAGE_ID)
    timestamp = _header(headers, "webhook-timestamp", _SECONDS)
    signatures = _header(headers, "webhook-signature", _SIGNATURES).split(" ")
    if abs(now_ms // 1000 - int(timestamp)) > STANDARD_TOLERANCE_SECONDS:
        raise SignatureExpired("timestamp outside the window")
    message = f"{event_id}.{timestamp}.".encode() + body
    wanted = [_standard_signature(secret, message) for secret in secrets]
    # A list and not a generator: every pair is compared, so that time tells nothing of which one fitted.
    if not any([hmac.compare_digest(given.encode(), one) for given in signatures for one in wanted]):  # noqa: C419
        raise SignatureMismatch("no signature fits a secret")
    return _parse(event_id, body)


def _standard_signature(secret: str, message: bytes) -> bytes:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return b"v1," + base64.b64encode(hmac.digest(key, message, "sha256"))


def _header(headers: Mapping[str, str], name: str, form: re.Pattern[str]) -> str:
    value = headers.get(name, "")
    if not form.fullmatch(value):
        raise SignatureMalformed(f"{name} is missing or malformed")
    return value


def _parse(event_id: str, body: bytes) -> InboundEvent:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidJson("a genuine delivery is not JSON") from None
    data = content.get("data") if isinstance(content, dict) else None
    event_type = content.get("type") if isinstance(content, dict) else None
    if not isinstance(data, dict) or not isinstance(event_type, str):
        raise InvalidJson("a genuine delivery is no event")
    hints = (data.get("transactionId"), data.get("consentToken"))
    transaction_id, token = (hint if isinstance(hint, str) else None for hint in hints)
    return InboundEvent(event_id, event_type, transaction_id, token)
