"""Who calls: the API key, and the signature wherever there is one or the app demands it."""

from werkzeug.datastructures import Headers

from getsmart.errors import SignatureMismatch
from getsmart.metakeep import signing
from local.sandbox.problems import UNAUTHORIZED, Refusal
from local.sandbox.world import World

WINDOW_MS = 60_000
_PUBLIC_PATHS = ("/v3/getWallet",)  # a browser may call these with the app id alone


def _refuse(reason: str) -> Refusal:
    return Refusal(UNAUTHORIZED, 401, reason)


def _check_age(world: World, timestamp: str) -> None:
    if not (timestamp.isascii() and timestamp.isdigit()):
        raise _refuse("X-Timestamp is missing or not a number")
    if abs(world.clock.real() - int(timestamp)) > WINDOW_MS:
        raise _refuse("X-Timestamp is more than a minute away")


def _check_signature(world: World, api_key: str, path: str, headers: Headers, body: bytes) -> None:
    timestamp = headers.get("X-Timestamp", "")
    _check_age(world, timestamp)
    message = signing.string_to_sign(
        host=world.options.signing_host,
        method="POST",
        path=path,
        timestamp=timestamp,
        body=body,
        idempotency_key=headers.get("Idempotency-Key"),
    )
    try:
        signing.verify(api_key, message, headers.get("X-Api-Signature", ""))
    except SignatureMismatch as error:
        raise _refuse(str(error)) from None


def check(world: World, path: str, headers: Headers, body: bytes) -> None:
    """Let a call of the app pass, or raise Refusal (401). `path` is as requested."""
    api_key = headers.get("x-api-key")
    if api_key is None and headers.get("X-App-Id") == world.credentials.app_id and path.rstrip("/") in _PUBLIC_PATHS:
        return
    if api_key not in world.credentials.api_keys:
        raise _refuse("x-api-key is missing or unknown")
    if headers.get("X-Api-Signature") is not None:
        _check_signature(world, api_key, path, headers, body)
    elif world.options.api_signature_required:
        raise _refuse("X-Api-Signature is missing")
