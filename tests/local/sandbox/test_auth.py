"""Who may call: the API key, the signature and its window."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from getsmart.metakeep.signing import SigningKey, string_to_sign
from tests.local.sandbox.support import MINT, Caller

WALLET = "/v3/getWallet"
BODY = b'{"user":{"email":"alice@example.com"}}'
VECTORS = Path(__file__).parents[2] / "vectors" / "metakeep-signature-vectors.json"


@pytest.mark.parametrize("change", [{"x-api-key": "AAAA"}, {"x-api-key": None}, {"X-Api-Signature": None}])
def test_a_call_without_good_credentials_is_unauthorized(caller: Caller, change: dict[str, str | None]) -> None:
    """API key and, where the app demands it, signature: otherwise 401 and nothing else."""
    headers = {name: value for name, value in (caller.headers(WALLET, BODY, None) | change).items() if value}
    reply = caller.send(WALLET, BODY, headers)
    assert (reply.status_code, reply.json()) == (401, {"status": "UNAUTHORIZED"})


@pytest.mark.parametrize(
    ("path", "body", "extra"),
    [
        (WALLET, b'{"user":{"email":"mallory@example.com"}}', {}),
        ("/v3/getDeveloperWallet", BODY, {}),
        (WALLET, BODY, {"Idempotency-Key": "added"}),
        (WALLET, BODY, {"X-Timestamp": "1"}),
        (WALLET, BODY, {"X-Timestamp": "soon"}),
        (WALLET, BODY, {"X-Timestamp": "²"}),
        (WALLET, BODY, {"X-Api-Signature": "AAAA"}),
        (WALLET, BODY, {"X-Api-Signature": ""}),
    ],
)
def test_a_changed_request_fails_its_signature(caller: Caller, path: str, body: bytes, extra: dict[str, str]) -> None:
    """Path, body, idempotency key and timestamp are all covered."""
    headers = {name: value.encode() for name, value in (caller.headers(WALLET, BODY, None) | extra).items()}
    assert caller.send(path, body, headers).status_code == 401  # type: ignore[arg-type]


def test_the_window_is_a_minute_with_both_ends_inside(start: Callable[..., Caller]) -> None:
    """60,000 ms older or newer pass, one more does not; the sandbox's own clock plays no part."""
    now = time.time_ns() // 1_000_000
    caller = start(clock=lambda: now)
    caller.tell("/clock", advance_ms=10**9)
    for offset, status in ((-60_000, 200), (60_000, 200), (-60_001, 401), (60_001, 401)):
        headers = caller.headers(WALLET, BODY, None, now + offset)
        assert caller.send(WALLET, BODY, headers).status_code == status


def test_a_signature_is_verified_even_where_it_is_not_required(start: Callable[..., Caller]) -> None:
    """Unsigned calls pass when the app's flag is off; a bad signature never does."""
    caller = start(api_signature_required=False)
    headers = caller.headers(WALLET, BODY, None)
    assert caller.send(WALLET, BODY, {"x-api-key": headers["x-api-key"]}).status_code == 200
    assert caller.send(WALLET, BODY, headers | {"X-Api-Signature": "AAAA"}).status_code == 401


def test_a_browser_may_ask_for_a_wallet_by_app_id(caller: Caller) -> None:
    """The app id is public and opens this one path only."""
    headers = {"X-App-Id": caller.facts["app_id"]}
    assert caller.send(WALLET, BODY, headers).status_code == 200
    assert caller.send(MINT, b"{}", headers).status_code == 401
    assert caller.send(WALLET, BODY, {"X-App-Id": "other"}).status_code == 401


def test_a_trailing_slash_is_signed_as_it_is_requested(caller: Caller) -> None:
    """Paths with a slash at the end are the same endpoint; the signature covers what was requested."""
    path = WALLET + "/"
    assert caller.send(path, BODY, caller.headers(path, BODY, None)).status_code == 200
    assert caller.send(path, BODY, caller.headers(WALLET, BODY, None)).status_code == 401


@pytest.mark.parametrize("vector", json.loads(VECTORS.read_text())["valid"], ids=lambda vector: vector["name"])
def test_the_published_construction_is_the_one_in_use(vector: dict[str, str]) -> None:
    """The string that is signed here equals the one of every published vector."""
    message = string_to_sign(
        host=vector["host"],
        method=vector["method"],
        path=vector["path"],
        timestamp=vector["timestamp"],
        body=vector["body"].encode(),
        idempotency_key=vector.get("idempotencyKey"),
    )
    assert message.decode() == vector["stringToSign"]


def test_another_key_of_the_same_form_is_refused(caller: Caller) -> None:
    """A stranger's signature under the app's key is no signature."""
    stranger = SigningKey.from_secret(json.loads(VECTORS.read_text())["keys"]["api"]["secret"])
    headers = caller.headers(WALLET, BODY, None)
    message = string_to_sign(
        host=caller.facts["signing_host"],
        method="POST",
        path=WALLET,
        timestamp=headers["X-Timestamp"],
        body=BODY,
        idempotency_key=None,
    )
    assert caller.send(WALLET, BODY, headers | {"X-Api-Signature": stranger.sign(message)}).status_code == 401
