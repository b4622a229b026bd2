"""MetaKeep's request signature against the published vectors, valid and invalid."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from getsmart.errors import SignatureMismatch
from getsmart.metakeep import signing
from getsmart.metakeep.signing import SigningKey, string_to_sign, verify

Case = dict[str, Any]
VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "metakeep-signature-vectors.json").read_text()
)
VALID: list[Case] = VECTORS["valid"]
INVALID: list[Case] = VECTORS["invalid"]
BY_NAME = {case["name"]: case for case in VALID}
SIGNATURES = ("signatureByNode", "signatureByPython", "signatureRfc6979")


def names(cases: list[Case]) -> list[str]:
    """The names of the vectors, for pytest."""
    return [case["name"] for case in cases]


def message(case: Case) -> bytes:
    """The string to sign of a vector."""
    return string_to_sign(
        host=case["host"],
        method=case["method"],
        path=case["path"],
        timestamp=case["timestamp"],
        body=case["body"].encode(),
        idempotency_key=case["idempotencyKey"],
    )


def public_key(case: Case) -> str:
    """The credential of a vector, as it is sent."""
    return str(VECTORS["keys"][case["key"]]["key"])


def test_the_vectors_are_all_here() -> None:
    """A file that lost its cases would make this module pass without saying anything."""
    assert (len(VALID), len(INVALID)) == (4, 7)


@pytest.mark.parametrize("case", VALID, ids=names(VALID))
def test_string_to_sign_is_the_vendors(case: Case) -> None:
    """Byte for byte, and so are both digests."""
    text = message(case)
    assert text == case["stringToSign"].encode() == bytes.fromhex(case["stringToSignUtf8Hex"])
    assert hashlib.sha256(text).hexdigest() == case["sha256Hex"]
    assert signing._digest(text).hex() == case["ecdsaDigestHex"]


@pytest.mark.parametrize("by", SIGNATURES)
@pytest.mark.parametrize("case", VALID, ids=names(VALID))
def test_the_vendors_signatures_verify(case: Case, by: str) -> None:
    """Signatures of three independent signers are accepted."""
    verify(public_key(case), message(case), case[by])


@pytest.mark.parametrize("case", VALID, ids=names(VALID))
def test_our_signatures_verify_under_the_key_of_the_secret(case: Case) -> None:
    """The secret gives the published key, and signs what that key verifies; no two signatures are alike."""
    pair = VECTORS["keys"][case["key"]]
    key = SigningKey.from_secret(pair["secret"])
    assert key.public_key == pair["key"].removeprefix("account_key_")
    first, second = key.sign(message(case)), key.sign(message(case))
    assert first != second
    for signature in (first, second):
        assert len(signature) == 88
        verify(pair["key"], message(case), signature)


@pytest.mark.parametrize("case", INVALID, ids=names(INVALID))
def test_invalid_vectors_are_refused(case: Case) -> None:
    """Each published way to be wrong is wrong here too."""
    seen = {**BY_NAME[case["sameRequestAs"]], **case}
    with pytest.raises(SignatureMismatch):
        verify(public_key(seen), message(seen), case["signature"])


@pytest.mark.parametrize("case", VALID, ids=names(VALID))
def test_any_changed_byte_is_refused(case: Case) -> None:
    """One flipped bit anywhere in the string breaks the signature."""
    text = message(case)
    for at in range(0, len(text), 7):
        forged = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        with pytest.raises(SignatureMismatch):
            verify(public_key(case), forged, case["signatureByNode"])


@pytest.mark.parametrize("case", VALID, ids=names(VALID))
def test_high_and_low_s_are_both_accepted(case: Case) -> None:
    """The vendor's signers do not normalise s."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    raw = base64.b64decode(case["signatureByNode"])
    other = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    verify(public_key(case), message(case), base64.b64encode(other).decode())


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: text.rstrip("="),
        lambda text: text + "AAAA",
        lambda text: text[:-4] + "AA==",
        lambda text: text + "\n",
        lambda text: "é" + text[1:],
        lambda text: "",
        lambda text: base64.b64encode(bytes(64)).decode(),
        lambda text: base64.b64encode(b"\xff" * 64).decode(),
    ],
)
def test_only_canonical_base64_of_a_signature_is_read(change: Any) -> None:
    """base64url, missing padding, trailing bytes, zero and out-of-range values are all refused."""
    case = VALID[0]
    assert {"+", "/"} & set(case["signatureByNode"])
    with pytest.raises(SignatureMismatch):
        verify(public_key(case), message(case), change(case["signatureByNode"]))


@pytest.mark.parametrize("key", ["", "A" * 44, "not base64!", base64.b64encode(b"\x02" + b"\xff" * 32).decode()])
def test_a_key_that_is_no_point_is_refused(key: str) -> None:
    """What is not on the curve verifies nothing."""
    with pytest.raises(SignatureMismatch):
        verify(key, message(VALID[0]), VALID[0]["signatureByNode"])


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "short",
        "not base64 at all, but exactly as long as it",
        base64.urlsafe_b64encode(bytes(32)).decode(),  # zero is no private key
        base64.urlsafe_b64encode(b"\xff" * 32).decode(),  # beyond the order of the curve
        base64.urlsafe_b64encode(bytes(31)).decode(),
        base64.urlsafe_b64encode(b"\x01" * 33).decode(),
    ],
)
def test_what_is_no_secret_raises_value_error(secret: str) -> None:
    """A wrong secret is noticed when it is read, not when it signs."""
    with pytest.raises(ValueError):  # noqa: PT011 - some texts are the library's
        SigningKey.from_secret(secret)


def test_short_scalars_are_padded() -> None:
    """Among many signatures some have r or s with leading zeros; each is still 64 bytes."""
    key = SigningKey(7)
    for number in range(600):
        text = str(number).encode()
        signature = key.sign(text)
        assert len(base64.b64decode(signature)) == 64
        verify(key.public_key, text, signature)
