"""Verifying an inbound delivery: every check, in its order, on exact bytes."""

import json
from typing import Any

import pytest

from getsmart.errors import (
    InvalidJson,
    SenderUnknown,
    SignatureExpired,
    SignatureInvalid,
    SignatureMalformed,
    SignatureMismatch,
)
from getsmart.metakeep.signing import SigningKey
from getsmart.metakeep.webhook import TOLERANCE_MS, InboundEvent, verify_p256
from tests.deliveries import BODY, HOST, PATH, delivery

SENDER, STRANGER = SigningKey(11), SigningKey(12)
NOW = 1_800_000_000_000


def check(headers: dict[str, str], body: bytes = BODY, **changes: Any) -> InboundEvent:
    """Verify as our receiver is configured."""
    settings = {"host": HOST, "path": PATH, "sender_keys": [STRANGER.public_key, SENDER.public_key], "now_ms": NOW}
    return verify_p256(headers, body, **{**settings, **changes})


def test_a_genuine_delivery_is_read() -> None:
    """Its id, its type, and the transaction it hints at."""
    event = check(delivery(SENDER, at_ms=NOW, event_id="evt-1"))
    assert event == InboundEvent("evt-1", "transaction.completed", "provider-id")


@pytest.mark.parametrize("skew", [-TOLERANCE_MS, TOLERANCE_MS])
def test_a_minute_of_skew_is_tolerated(skew: int) -> None:
    """To the millisecond, in both directions."""
    check(delivery(SENDER, at_ms=NOW + skew))


@pytest.mark.parametrize("skew", [-TOLERANCE_MS - 1, TOLERANCE_MS + 1])
def test_more_than_a_minute_is_expired(skew: int) -> None:
    """Old and future deliveries are refused though their signature is right."""
    with pytest.raises(SignatureExpired):
        check(delivery(SENDER, at_ms=NOW + skew))


@pytest.mark.parametrize("at", range(len(BODY)))
def test_one_changed_byte_of_the_body_is_refused(at: int) -> None:
    """Whichever byte it is."""
    forged = BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :]
    with pytest.raises(SignatureMismatch):
        check(delivery(SENDER, at_ms=NOW), forged)


def test_a_body_of_the_same_json_in_other_bytes_is_refused() -> None:
    """Bytes are verified, not meanings."""
    with pytest.raises(SignatureMismatch):
        check(delivery(SENDER, at_ms=NOW), json.dumps(json.loads(BODY), indent=1).encode())


@pytest.mark.parametrize("change", [{"host": "other.example"}, {"path": "/v1/other"}])
def test_a_delivery_is_bound_to_our_host_and_path(change: dict[str, str]) -> None:
    """What was signed for another receiver is not for us."""
    with pytest.raises(SignatureMismatch):
        check(delivery(SENDER, at_ms=NOW), **change)


@pytest.mark.parametrize(("name", "value"), [("x-timestamp", str(NOW + 1)), ("idempotency-key", "another-id")])
def test_signed_headers_cannot_be_changed(name: str, value: str) -> None:
    """Time and event id are part of what is signed."""
    with pytest.raises(SignatureMismatch):
        check({**delivery(SENDER, at_ms=NOW), name: value})


def test_an_unpinned_key_is_refused() -> None:
    """A right signature of a stranger is no delivery, whatever key it names."""
    with pytest.raises(SenderUnknown):
        check(delivery(STRANGER, at_ms=NOW), sender_keys=[SENDER.public_key])
    with pytest.raises(SignatureMismatch):
        check({**delivery(STRANGER, at_ms=NOW), "x-api-key": SENDER.public_key}, sender_keys=[SENDER.public_key])


def test_each_pinned_key_may_send() -> None:
    """During a rotation two senders are genuine."""
    for key in (SENDER, STRANGER):
        check(delivery(key, at_ms=NOW))


@pytest.mark.parametrize("name", ["x-timestamp", "idempotency-key", "x-api-signature", "x-api-key"])
def test_a_missing_header_is_malformed(name: str) -> None:
    """All four are needed."""
    headers = delivery(SENDER, at_ms=NOW)
    del headers[name]
    with pytest.raises(SignatureMalformed, match=name):
        check(headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-timestamp", ""),
        ("x-timestamp", "-1800000000000"),
        ("x-timestamp", "1.8e12"),
        ("x-timestamp", "१८००००००००००"),
        ("x-timestamp", "9" * 16),
        ("idempotency-key", "with space"),
        ("idempotency-key", "x" * 256),
        ("idempotency-key", "é"),
        ("idempotency-key", "x\n"),
        ("x-api-signature", "short"),
        ("x-api-signature", "-" * 86 + "=="),
        ("x-api-key", "A" * 43),
        ("x-api-key", f"account_key_{SENDER.public_key}"),
    ],
)
def test_a_malformed_header_is_refused(name: str, value: str) -> None:
    """Nothing that a genuine sender does not produce gets as far as the signature."""
    with pytest.raises(SignatureMalformed):
        check({**delivery(SENDER, at_ms=NOW), name: value})


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[]", b'"x"', b"{}", b'{"type":"x"}', b'{"type":7,"data":{}}', b'{"type":"x","data":[]}',
     b"[" * 100_000],
)  # fmt: skip
def test_a_genuine_delivery_that_is_no_event_is_invalid_json(body: bytes) -> None:
    """Its sender is known, so it may hear what is wrong."""
    with pytest.raises(InvalidJson):
        check(delivery(SENDER, body, at_ms=NOW), body)


@pytest.mark.parametrize("data", [{}, {"transactionId": None}, {"transactionId": 7}, {"consentToken": "x"}])
def test_an_event_without_a_transaction_is_read(data: dict[str, Any]) -> None:
    """It hints at nothing."""
    body = json.dumps({"type": "consent.denied", "data": data}).encode()
    assert check(delivery(SENDER, body, at_ms=NOW), body).metakeep_transaction_id is None


def test_nothing_is_parsed_before_it_is_verified() -> None:
    """A forged body that is no JSON is a forgery, not a bad request."""
    with pytest.raises(SignatureInvalid):
        check(delivery(STRANGER, b"{", at_ms=NOW), b"{", sender_keys=[SENDER.public_key])
