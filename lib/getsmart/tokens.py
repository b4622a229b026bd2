"""The form of an API key: `gsk_<mode>_<id>_<secret>`. Pure; what a key may do is `auth.py`'s business."""

import re
from typing import Literal, NamedTuple

from getsmart.errors import Unauthenticated
from getsmart.ids import ULID_FORM

_FORM = re.compile(rf"gsk_(live|test)_({ULID_FORM})_([0-9a-f]{{64}})", re.ASCII)


class ApiKey(NamedTuple):
    """A key taken apart: `key_id` as it is stored, and the secret, which never is."""

    mode: str
    key_id: str
    secret: str


def bearer(header: str) -> str:
    """The token of an Authorization header. Raises Unauthenticated unless it is `Bearer` and one of our keys' form."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not _FORM.fullmatch(token):
        raise Unauthenticated("no API key, or not the form of one")
    return token


def parse(token: str) -> ApiKey:
    """Take a key apart. Raises Unauthenticated when it has not the form of one."""
    match = _FORM.fullmatch(token)
    if match is None:
        raise Unauthenticated("not the form of an API key")
    return ApiKey(match.group(1), f"key_{match.group(2)}", match.group(3))


def issue(mode: Literal["live", "test"], key_id: str) -> ApiKey:
    """A fresh secret for a key id (`key_...`)."""
    import secrets

    return ApiKey(mode, key_id, secrets.token_hex(32))


def render(key: ApiKey) -> str:
    """The token as its owner keeps it; shown once."""
    return f"gsk_{key.mode}_{key.key_id.removeprefix('key_')}_{key.secret}"


def digest(secret: str) -> str:
    """What is stored of a secret: SHA-256, as 256 random bits need no slow hash."""
    import hashlib  # here: the form of a key is looked at without it

    return hashlib.sha256(secret.encode()).hexdigest()
