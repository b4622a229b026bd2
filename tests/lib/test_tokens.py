"""The form of an API key."""

import hashlib

import pytest

from getsmart import tokens
from getsmart.errors import Unauthenticated
from getsmart.ids import new_id

SECRET = "0123456789abcdef" * 4
TOKEN = f"gsk_test_01ARZ3NDEKTSV4RRFFQ69G5FAV_{SECRET}"
BAD = (
    "",
    "gsk_",
    TOKEN[:-1],
    TOKEN + "0",
    TOKEN + "\n",
    " " + TOKEN,
    TOKEN.upper(),
    TOKEN.replace("gsk_test", "gsk_demo"),
    TOKEN.replace("01ARZ", "81ARZ"),
    TOKEN.replace("FAV_", "FAV-"),
    TOKEN[:-1] + "g",
    TOKEN[:-1] + "\uff11",
)


@pytest.mark.parametrize("mode", ["live", "test"])
def test_a_key_comes_back_as_it_was_issued(mode: str) -> None:
    """Issued, rendered, sent, taken apart."""
    key = tokens.issue(mode, new_id("key"))  # type: ignore[arg-type]
    assert tokens.parse(tokens.bearer(f"Bearer {tokens.render(key)}")) == key


def test_secrets_are_long_and_never_the_same() -> None:
    """256 random bits, and only their digest is stored."""
    made = {tokens.issue("test", "key_1").secret for _ in range(50)}
    assert len(made) == 50
    assert all(len(bytes.fromhex(secret)) == 32 for secret in made)
    assert tokens.digest(SECRET) == hashlib.sha256(SECRET.encode()).hexdigest()


@pytest.mark.parametrize("token", BAD)
def test_what_has_not_the_form_is_no_key(token: str) -> None:
    """Refused before any database is asked, and never repeated."""
    for refuse in (lambda: tokens.parse(token), lambda: tokens.bearer(f"Bearer {token}")):
        with pytest.raises(Unauthenticated) as caught:
            refuse()
        assert not token or token not in str(caught.value)


@pytest.mark.parametrize("header", ["", TOKEN, f"Basic {TOKEN}", f"Bearer  {TOKEN}", f"Bearer {TOKEN}, Bearer {TOKEN}"])
def test_what_is_no_bearer_header_is_refused(header: str) -> None:
    """One scheme, one space, one token."""
    with pytest.raises(Unauthenticated):
        tokens.bearer(header)


def test_the_scheme_is_read_in_any_case() -> None:
    """As RFC 9110 has it."""
    assert tokens.bearer(f"bEARER {TOKEN}") == TOKEN
