"""The Idempotency-Key of a money call: required, checked, and bound to client, path and body."""

import re
from typing import Any

from getsmart.errors import IdempotencyKeyInvalid, IdempotencyKeyMissing
from getsmart.front import Request
from getsmart.models import Accepted, Claim
from getsmart.replies import Reply

_FORM = re.compile(r"[!-~]{1,255}", re.ASCII)


def claim_of(request: Request[Any]) -> Claim:
    """The claim that this request makes. Raises IdempotencyKeyMissing or IdempotencyKeyInvalid."""
    key = request.headers.get("idempotency-key", "")
    if not key:
        raise IdempotencyKeyMissing
    if not _FORM.fullmatch(key):
        raise IdempotencyKeyInvalid
    return Claim(request.caller, request.route, key, request.body_digest, request.request_id, request.source)


def answer(accepted: Accepted) -> Reply:
    """The stored reply, byte for byte, and whether an earlier call had stored it."""
    return Reply(accepted.status, accepted.body, {"Idempotent-Replayed": str(accepted.is_replay).lower()})
