"""Identifiers: a prefix that says what it is, and a 26-character ULID."""

import re
from typing import Final

from ulid import ULID

ULID_FORM: Final = "[0-7][0-9A-HJKMNP-TV-Z]{25}"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def new_id(prefix: str) -> str:
    """A fresh id such as `txn_01J...`; prefixes are wlt txn bat whe evt dlv key req."""
    return f"{prefix}_{ULID()}"


def request_id_or_new(candidate: str) -> str:
    """The caller's X-Request-Id where it is 1 to 64 of [A-Za-z0-9._-], else one of ours."""
    return candidate if _REQUEST_ID.fullmatch(candidate) else new_id("req")
