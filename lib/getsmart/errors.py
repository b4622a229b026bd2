"""Every error a caller can meet: one tree, each with its HTTP status, code and safe sentence.

GetSmartError
|- InvalidJson 400 · InvalidRequest 400 (with details) · IdempotencyKeyMissing 400 · IdempotencyKeyInvalid 400
|- Unauthenticated 401 · SignatureInvalid 401 (SignatureMismatch, SignatureExpired, SenderUnknown, SignatureMalformed)
|- ForbiddenScope 403 · ForbiddenIp 403
|- NotFound 404 · MethodNotAllowed 405 · TooLarge 413 · UnsupportedMediaType 415
|- IdempotencyInProgress 409 · InsufficientBalance 409 · SupplyExhausted 409 · BadgeAlreadyClaimed 409
|  · InvalidState 409 · LimitExceeded 409
|- IdempotencyMismatch 422 · RateLimited 429
|- Internal 500
`- ProviderRejected 502 · ProviderUnavailable 503 · DatabaseUnavailable 503 · Recovering 503 · Misconfigured 503
   · Unavailable 503 · DeadlineExceeded 504

Errors carry facts; `front.py` alone turns them into replies. The text of `str(error)` is for the log and may name
internals; what a caller reads is `safe_message`.
"""

from typing import ClassVar


class GetSmartError(Exception):
    """Base of all errors of this project: `status`, `code`, `safe_message`, optional details and Retry-After."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    safe_message: str = "Something went wrong on our side."
    retry_after_seconds: int | None = None

    def __init__(
        self,
        log_message: str = "",
        *,
        details: list[dict[str, str]] | None = None,
        retry_after_seconds: int | None = None,
        message: str | None = None,
    ) -> None:
        """`log_message` stays with us; `message` replaces the safe sentence; `details` are {"field", "problem"}."""
        super().__init__(log_message or message or self.safe_message)
        self.details = details or []
        self.headers: dict[str, str] = {}
        if message is not None:
            self.safe_message = message
        if retry_after_seconds is not None:
            self.retry_after_seconds = retry_after_seconds


class Internal(GetSmartError):
    """A bug of ours, or a state that must not exist."""


class InvalidJson(GetSmartError):
    """The body is not one JSON object in UTF-8 without duplicate names."""

    status, code = 400, "invalid_json"
    safe_message = "The request body is not a valid JSON object."


class InvalidRequest(GetSmartError):
    """The request does not have the documented shape; `details` names each field."""

    status, code = 400, "invalid_request"
    safe_message = "The request is not valid; see details."

    @classmethod
    def field(cls, field: str, problem: str) -> "InvalidRequest":
        """The error for one field."""
        return cls(f"{field}: {problem}", details=[{"field": field, "problem": problem}])


class IdempotencyKeyMissing(GetSmartError):
    """A money endpoint was called without Idempotency-Key."""

    status, code = 400, "idempotency_key_missing"
    safe_message = "This endpoint needs an Idempotency-Key header."


class IdempotencyKeyInvalid(GetSmartError):
    """Idempotency-Key is not 1 to 255 visible ASCII characters."""

    status, code = 400, "idempotency_key_invalid"
    safe_message = "Idempotency-Key must be 1 to 255 visible ASCII characters."


class Unauthenticated(GetSmartError):
    """No API key, or one that is malformed, unknown, expired or revoked."""

    status, code = 401, "unauthenticated"
    safe_message = "A valid API key is needed: Authorization: Bearer gsk_..."


class SignatureInvalid(GetSmartError):
    """An inbound webhook failed verification; the caller never learns which check."""

    status, code = 401, "signature_invalid"
    safe_message = "The signature of this request is not valid."


class SignatureMismatch(SignatureInvalid):
    """The signature does not belong to these bytes and this key."""


class SignatureExpired(SignatureInvalid):
    """The timestamp is too far from now, in either direction."""


class SignatureMalformed(SignatureInvalid):
    """A header is missing or has a shape no genuine sender produces."""


class SenderUnknown(SignatureInvalid):
    """The key named in the request is not pinned here."""


class ForbiddenScope(GetSmartError):
    """The API key lacks the scope of this endpoint."""

    status, code = 403, "forbidden_scope"
    safe_message = "This API key does not have the scope that this endpoint needs."


class ForbiddenIp(GetSmartError):
    """The caller's address is not on the key's allowlist."""

    status, code = 403, "forbidden_ip"
    safe_message = "This API key may not be used from this address."


class NotFound(GetSmartError):
    """It does not exist, or not for this client."""

    status, code = 404, "not_found"
    safe_message = "There is no such resource."


class MethodNotAllowed(GetSmartError):
    """The endpoint does not speak this method; the reply carries Allow."""

    status, code = 405, "method_not_allowed"
    safe_message = "This endpoint does not support this method."


class TooLarge(GetSmartError):
    """The body exceeds what the platform carries."""

    status, code = 413, "too_large"
    safe_message = "The request body is too large."


class UnsupportedMediaType(GetSmartError):
    """The body is not declared as JSON."""

    status, code = 415, "unsupported_media_type"
    safe_message = "The Content-Type must be application/json."


class IdempotencyInProgress(GetSmartError):
    """The first call with this key is still running."""

    status, code = 409, "idempotency_in_progress"
    safe_message = "The first call with this Idempotency-Key is still running."
    retry_after_seconds = 1


class InsufficientBalance(GetSmartError):
    """The account has less available than the amount."""

    status, code = 409, "insufficient_balance"
    safe_message = "The available balance is smaller than the amount."


class SupplyExhausted(GetSmartError):
    """Minting this amount would exceed the maximum supply."""

    status, code = 409, "supply_exhausted"
    safe_message = "Minting this amount would exceed the maximum supply."


class BadgeAlreadyClaimed(GetSmartError):
    """This client has minted for this badge and claimant before."""

    status, code = 409, "badge_already_claimed"
    safe_message = "This badge has already been claimed by this claimant."


class InvalidState(GetSmartError):
    """The resource is not in a state that allows this."""

    status, code = 409, "invalid_state"
    safe_message = "The resource is not in a state that allows this."


class LimitExceeded(GetSmartError):
    """A ceiling of this API key is reached, or its client has as many of something as it may."""

    status, code = 409, "limit_exceeded"
    safe_message = "A daily ceiling of this API key is reached."


class IdempotencyMismatch(GetSmartError):
    """The key was used before with another body."""

    status, code = 422, "idempotency_mismatch"
    safe_message = "This Idempotency-Key was used before with another body."


class RateLimited(GetSmartError):
    """Too many calls with this API key."""

    status, code = 429, "rate_limited"
    safe_message = "Too many calls with this API key, or from this address."
    retry_after_seconds = 1


class ProviderRejected(GetSmartError):
    """MetaKeep refused the request for good."""

    status, code = 502, "provider_rejected"
    safe_message = "The wallet provider refused the request."


class ProviderUnavailable(GetSmartError):
    """MetaKeep did not answer, or answered with a passing failure; the outcome may be unknown."""

    status, code = 503, "provider_unavailable"
    safe_message = "The wallet provider is not available at the moment."
    retry_after_seconds = 5


class DatabaseUnavailable(GetSmartError):
    """The database did not answer."""

    status, code = 503, "database_unavailable"
    safe_message = "The database is not available at the moment."
    retry_after_seconds = 2


class Recovering(GetSmartError):
    """After a restore, until the books have caught up with the chain; and while a person has stopped money."""

    status, code = 503, "recovering"
    safe_message = "No money is moved at the moment; please try again later."
    retry_after_seconds = 30


class Unavailable(GetSmartError):
    """What the gateway in front says when no function answers, or an answer is lost: nothing is known of the call."""

    status, code = 503, "unavailable"
    safe_message = "No answer could be had. Repeat the call, with the same Idempotency-Key if it has one."
    retry_after_seconds = 2


class Misconfigured(GetSmartError):
    """A variable this function needs is missing or wrong; its name stands in the log only."""

    status, code = 503, "misconfigured"
    safe_message = "This endpoint is not configured correctly."
    retry_after_seconds = 30


class DeadlineExceeded(GetSmartError):
    """Not enough time was left to finish, and nothing was claimed."""

    status, code = 504, "deadline_exceeded"
    safe_message = "There was not enough time to finish this call."
