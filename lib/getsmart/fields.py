"""Field types shared by the doors, and the bases of bodies and queries, which refuse what they do not know."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from getsmart.amounts import parse_units
from getsmart.ids import ULID_FORM

# Deliberately narrower than RFC 5321: what real mailboxes look like, in ASCII, so that one person has one form.
_EMAIL = re.compile(
    r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]",
    re.ASCII,
)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_METADATA_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)
_METADATA_MOST = 50
_METADATA_VALUE_LENGTH = 500
_EMAIL_LENGTH = 254


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class Body(_Strict):
    """A JSON request body; unknown fields are refused."""


class Query(_Strict):
    """The names of a query string, each at most once; unknown names are refused."""


def problem(code: str, sentence: str, *, field: str = "") -> PydanticCustomError:
    """A validation error whose sentence reaches the caller as it is; `field` is for a whole model."""
    return PydanticCustomError(code, "{sentence}", {"sentence": sentence, "field": field})


def _amount(value: Any) -> int:
    if not isinstance(value, str):
        raise problem("amount", 'must be a decimal string such as "1000", not a number')
    try:
        return parse_units(value)
    except ValueError as error:
        raise problem("amount", str(error)) from None


def normalise_email(value: str) -> str:
    """The one form in which an address is kept, compared and sent: trimmed, lower case.

    Raises ValueError when it is not an ASCII mailbox of at most 254 characters.
    """
    email = value.strip(" \t").lower()
    # The value itself has to be ASCII: the Kelvin sign, for one, becomes an ASCII k in lower case.
    if not value.isascii() or len(email) > _EMAIL_LENGTH or not _EMAIL.fullmatch(email):
        raise ValueError("must be an e-mail address")
    return email


def _email(value: str) -> str:
    try:
        return normalise_email(value)
    except ValueError as error:
        raise problem("email", str(error)) from None


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise problem("address", "must be 0x and 40 hexadecimal digits")
    return value


def _text(value: str) -> str:
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise problem("text", "must not contain NUL or unpaired surrogates")
    return value


def _metadata(value: dict[str, str]) -> dict[str, str]:
    if len(value) > _METADATA_MOST:
        raise problem("metadata", f"must have at most {_METADATA_MOST} entries")
    for name, text in value.items():
        if not _METADATA_NAME.fullmatch(name):
            raise problem("metadata", "names must be 1 to 40 of A-Z a-z 0-9 _ -")
        if len(_text(text)) > _METADATA_VALUE_LENGTH:
            raise problem("metadata", f"values must have at most {_METADATA_VALUE_LENGTH} characters")
    return value


def _id(prefix: str) -> Any:
    return StringConstraints(pattern=rf"^{prefix}_{ULID_FORM}$")


BaseUnits = Annotated[int, BeforeValidator(_amount), Field(json_schema_extra={"type": "string"})]
Email = Annotated[str, AfterValidator(_email)]
Address = Annotated[str, AfterValidator(_address)]
WalletId = Annotated[str, _id("wlt")]
TransactionId = Annotated[str, _id("txn")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_text)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_text)]
BadgeText = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_text)]
Metadata = Annotated[dict[str, str], AfterValidator(_metadata)]
