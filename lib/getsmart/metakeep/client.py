"""Sending requests to MetaKeep: session, timeouts, signature. The only module that imports requests.

Signed bytes are sent bytes. A retry is the same request under the same idempotency key with a fresh timestamp and
signature; only passing failures are tried again, with exponential backoff and jitter, within the time that is left.
"""

import os
from functools import cache
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from getsmart import calls, clock, config
from getsmart.errors import DeadlineExceeded, Misconfigured
from getsmart.metakeep import protocol, signing
from getsmart.metakeep.protocol import ProviderOutage, ProviderRefusal, ProviderRequest

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
ANSWER_SECONDS = 2.0  # kept back for writing down what MetaKeep says, and for the reply
_LEAST_SECONDS = 1.0
_POOL_SIZE = 16


@cache
def _session(_process_id: int) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no proxy, no netrc: the request goes where the configuration says
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=_POOL_SIZE, max_retries=0))
    return session


@cache
def _pairs(secrets: tuple[str, ...], public_keys: tuple[str, ...]) -> dict[str, signing.SigningKey]:
    try:
        keys = [signing.SigningKey.from_secret(secret) for secret in secrets]
    except ValueError:
        raise Misconfigured("METAKEEP_API_SECRET is not a MetaKeep secret") from None
    if [key.public_key for key in keys] != list(public_keys):
        raise Misconfigured("METAKEEP_API_SECRET does not belong to METAKEEP_API_KEY")
    return {key.public_key: key for key in keys}


def signers() -> tuple[str, ...]:
    """The API keys that we can sign with, that of new calls first. Raises Misconfigured when a pair does not match."""
    settings = config.read(config.ProviderSettings)
    return tuple(_pairs(settings.api_secrets, settings.api_keys))


def call(
    request: ProviderRequest, *, seconds: float, signer: str | None = None, begun: clock.Begun | None = None
) -> dict[str, Any]:
    """Send one request, retried within `seconds` and what is left of the call, and return MetaKeep's JSON.

    It is signed by that one of `signers`, by default the first. The seconds are counted from `begun`, by default from
    now: a process that freezes at any place since then signs nothing when it wakes.

    Raises ProviderRefusal (refused for good) or ProviderOutage (passing), both with `is_ambiguous` when any try may
    have taken effect, Misconfigured, or DeadlineExceeded, which sends nothing, in a call that is late.
    """
    began = begun or clock.begin()
    left = min(clock.left() - ANSWER_SECONDS, seconds - began.seconds())
    if left < min(_LEAST_SECONDS, seconds / 2):
        raise DeadlineExceeded("too late to ask MetaKeep")
    deadline = clock.monotonic() + left
    was_ambiguous = False

    def attempt() -> dict[str, Any]:
        nonlocal was_ambiguous
        if clock.monotonic() >= deadline or began.seconds() >= seconds:
            raise ProviderOutage("MetaKeep: the time to ask is over", is_ambiguous=False)
        try:
            return _post(request, deadline, signer)
        except ProviderOutage as outage:
            was_ambiguous = was_ambiguous or outage.is_ambiguous
            raise

    try:
        try:
            return attempt()
        except ProviderOutage as outage:
            from getsmart.metakeep.again import again  # only now: most starts never need what it imports

            return again(attempt, outage, deadline)
    except (ProviderOutage, ProviderRefusal) as error:
        error.is_ambiguous = was_ambiguous
        raise


def _post(request: ProviderRequest, deadline: float, signer: str | None) -> dict[str, Any]:
    settings = config.read(config.ProviderSettings)
    left = max(deadline - clock.monotonic(), 0.1)
    started, under_way = clock.monotonic(), calls.current()
    try:
        response = _session(os.getpid()).post(
            settings.base_url + request.path,
            data=request.body,
            headers=_headers(request, settings, signer),
            timeout=(min(CONNECT_SECONDS, left), min(READ_SECONDS, left)),
            allow_redirects=False,
        )
    except requests.ConnectTimeout as error:
        raise ProviderOutage("MetaKeep: no connection in time", is_ambiguous=False) from error
    except requests.RequestException as error:
        raise ProviderOutage(f"MetaKeep: {type(error).__name__}", is_ambiguous=not _never_connected(error)) from error
    finally:
        if under_way is not None:
            under_way.provider.append(clock.monotonic() - started)
    try:
        return protocol.decipher(response.status_code, response.content)
    except ProviderOutage as outage:
        outage.ask_to_wait(response.headers.get("Retry-After"))
        raise


def _never_connected(error: requests.RequestException) -> bool:
    """Whether the connection was refused before a byte of ours left."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return type(reason).__name__ in {"NewConnectionError", "NameResolutionError"}


def _headers(request: ProviderRequest, settings: config.ProviderSettings, signer: str | None) -> dict[str, str]:
    pairs = _pairs(settings.api_secrets, settings.api_keys)
    key = pairs[signer or settings.api_keys[0]]
    timestamp = str(int(clock.now().timestamp() * 1000))
    message = signing.string_to_sign(
        host=settings.signing_host,
        method="POST",
        path=request.path,
        timestamp=timestamp,
        body=request.body,
        idempotency_key=request.idempotency_key,
    )
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "x-api-key": key.public_key,
        "X-Timestamp": timestamp,
        "X-Api-Signature": key.sign(message),
    }
    return headers if request.idempotency_key is None else {**headers, "Idempotency-Key": request.idempotency_key}
