"""Identifiers: a prefix that says what it is, and a 26-character ULID (github.com/ulid/spec).

Made here because the library for it costs a reading function a tenth of its start; a test reads ours with that library.
"""

import os
import re
from datetime import datetime
from typing import Final

from getsmart import clock

ULID_FORM: Final = "[0-7][0-9A-HJKMNP-TV-Z]{25}"

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH, _RANDOM_BYTES = 26, 10
_RANDOM_BITS = 8 * _RANDOM_BYTES

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def new_id(prefix: str) -> str:
    """A fresh id such as `txn_01J...`; prefixes are wlt txn bat whe evt dlv rpl key req brk."""
    return _id(prefix, int(clock.now().timestamp() * 1000), int.from_bytes(os.urandom(_RANDOM_BYTES), "big"))


def lowest_id(prefix: str, moment: datetime, shift_ms: int) -> str:
    """What every id that is made `shift_ms` after `moment`, or later, is equal to or above."""
    return _id(prefix, max(0, int(moment.timestamp() * 1000) + shift_ms), 0)


def _id(prefix: str, at_ms: int, noise: int) -> str:
    number = at_ms << _RANDOM_BITS | noise
    return prefix + "_" + "".join(_CROCKFORD[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))


def request_id_or_new(candidate: str) -> str:
    """The caller's X-Request-Id where it is 1 to 64 of [A-Za-z0-9._-], else one of ours."""
    return candidate if _REQUEST_ID.fullmatch(candidate) else new_id("req")
