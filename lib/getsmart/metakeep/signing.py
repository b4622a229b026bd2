"""MetaKeep's request signature: the string to sign, signing and verifying. Pure, no network.

Source: MetaKeep "API signature" (docs.metakeep.xyz/reference/api-signature). The ECDSA digest is SHA-256 applied
twice, the encoding is base64 of r||s (64 bytes), the API key itself is the public key.
"""

import base64
import binascii
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from getsmart.errors import SignatureMismatch

_ALGORITHM = ec.ECDSA(Prehashed(hashes.SHA256()))
_SCALAR_BYTES = 32
_PREFIXES = ("account_secret_", "account_key_")


def string_to_sign(
    *, host: str, method: str, path: str, timestamp: str, body: bytes, idempotency_key: str | None
) -> bytes:
    """The exact bytes that are signed; `timestamp` is Unix milliseconds as sent in X-Timestamp.

    The idempotency line vanishes entirely when there is no key; the body is the very bytes of the request.
    """
    idempotency_line = "" if idempotency_key is None else f"Idempotency-Key:{idempotency_key}\n"
    head = f"{host}\n{method}\n{path}\n{idempotency_line}X-Timestamp:{timestamp}\n"
    return head.encode() + body


def _digest(message: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(message).digest()).digest()


def _decode_base64(text: str) -> bytes:
    """Both alphabets, with or without padding; the secret is base64url and the key is standard base64."""
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    standard = text.replace("-", "+").replace("_", "/")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)


class SigningKey:
    """A P-256 private key, made once from MetaKeep's secret (the JWK `d` value)."""

    def __init__(self, scalar: int) -> None:
        """`scalar` is the private key as an integer. Raises ValueError if it is not on the curve."""
        self._key = ec.derive_private_key(scalar, ec.SECP256R1())
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        self.public_key = base64.b64encode(point).decode()

    @classmethod
    def from_secret(cls, secret: str) -> "SigningKey":
        """Read an API or account secret (base64url of 32 bytes). Raises ValueError on anything else."""
        try:
            raw = _decode_base64(secret)
        except binascii.Error:
            raise ValueError("the secret is not base64url") from None
        if len(raw) != _SCALAR_BYTES:
            raise ValueError("the secret is not 32 bytes long")
        return cls(int.from_bytes(raw, "big"))

    def sign(self, message: bytes) -> str:
        """Base64 of r||s over `message`; two signatures of one message differ."""
        r, s = decode_dss_signature(self._key.sign(_digest(message), _ALGORITHM))
        return base64.b64encode(r.to_bytes(_SCALAR_BYTES, "big") + s.to_bytes(_SCALAR_BYTES, "big")).decode()


def verify(public_key: str, message: bytes, signature: str) -> None:
    """Raise SignatureMismatch unless `signature` (base64 of r||s) over `message` is by `public_key`.

    High and low s are both accepted, as MetaKeep's own signers produce both. Only the canonical padded base64
    of exactly 64 bytes is read: DER, base64url and trailing bytes are refused.
    """
    try:
        raw = base64.b64decode(signature, validate=True)
        point = _decode_base64(public_key)
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except (ValueError, binascii.Error) as error:
        raise SignatureMismatch("signature or key cannot be decoded") from error
    if len(raw) != 2 * _SCALAR_BYTES or base64.b64encode(raw).decode() != signature:
        raise SignatureMismatch("signature is not the base64 of 64 bytes")
    r, s = int.from_bytes(raw[:_SCALAR_BYTES], "big"), int.from_bytes(raw[_SCALAR_BYTES:], "big")
    try:
        key.verify(encode_dss_signature(r, s), _digest(message), _ALGORITHM)
    except InvalidSignature:
        raise SignatureMismatch("signature does not match") from None
