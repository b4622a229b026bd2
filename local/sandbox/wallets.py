"""Wallet addresses: derived from the app's seed and an identity, with real keys on each chain's curve."""

import hashlib
import hmac
from functools import lru_cache

from Crypto.Hash import RIPEMD160
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address

_SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
DEVELOPER = "developer-wallet"


def email_identity(email: str) -> str:
    """The identity behind an e-mail address: spelling and surrounding space do not make another person."""
    return f"email:{email.strip().lower()}"


def private_scalar(seed: bytes, identity: str) -> int:
    """The secp256k1 private key of an identity, never zero."""
    digest = hmac.digest(seed, identity.encode(), "sha512")
    return int.from_bytes(digest, "big") % (_SECP256K1_ORDER - 1) + 1


@lru_cache(maxsize=65536)
def eth_address(seed: bytes, identity: str) -> str:
    """The EVM address in checksum form."""
    key = ec.derive_private_key(private_scalar(seed, identity), ec.SECP256K1()).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return str(to_checksum_address(keccak(point[1:])[-20:]))


def _base58(raw: bytes) -> str:
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return _BASE58[0] * (len(raw) - len(raw.lstrip(b"\0"))) + text


def _sol_address(seed: bytes, identity: str) -> str:
    secret = hmac.digest(seed, f"ed25519:{identity}".encode(), hashlib.sha256)
    key = ed25519.Ed25519PrivateKey.from_private_bytes(secret).public_key()
    return _base58(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _eos_address(seed: bytes, identity: str) -> str:
    key = ec.derive_private_key(private_scalar(seed, identity), ec.SECP256K1()).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return "EOS" + _base58(point + RIPEMD160.new(point).digest()[:4])


def wallet(seed: bytes, identity: str) -> dict[str, str]:
    """The wallet object of a reply."""
    return {
        "ethAddress": eth_address(seed, identity),
        "solAddress": _sol_address(seed, identity),
        "eosAddress": _eos_address(seed, identity),
    }
