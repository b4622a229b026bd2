"""Field types shared by the doors, and the bases of bodies and queries, which refuse what they do not know."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from getsmart.amounts import parse_units
from getsmart.ids import ULID_FORM

# Patterns are compiled when first used: most functions use few.
# Deliberately narrower than RFC 5321: what real mailboxes look like, in ASCII, so that one person has one form.
_EMAIL = (
    r"(?a)(?=[^@]{1,64}@)[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]"
)
_ADDRESS = r"(?a)0x[0-9a-fA-F]{40}"
_EMAIL_PREFIX = r"(?a)[a-z0-9!#$%&'*+/=?^_`{|}~@.-]{1,254}"
_MOMENT = r"(?a)\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z"
_METADATA_NAME = r"(?a)[A-Za-z0-9_-]{1,40}"
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


def exactly_one(*names: str) -> Any:
    """A model's validator: of these fields exactly one differs from its default. It knows its names, for the docs."""
    listed = ", ".join(names[:-1]) + " and " + names[-1]

    def check(model: Any) -> Any:
        if sum(getattr(model, name) != type(model).model_fields[name].default for name in names) != 1:
            raise problem("one_of", f"exactly one of {listed} must be given", field=names[0])
        return model

    check.exactly_one_of = names  # type: ignore[attr-defined]
    return model_validator(mode="after")(check)


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
    if not value.isascii() or len(email) > _EMAIL_LENGTH or not re.fullmatch(_EMAIL, email):
        raise ValueError("must be an e-mail address")
    return email


def _email(value: str) -> str:
    try:
        return normalise_email(value)
    except ValueError as error:
        raise problem("email", str(error)) from None


def _email_prefix(value: str) -> str:
    prefix = value.strip(" \t").lower()
    if not value.isascii() or not re.fullmatch(_EMAIL_PREFIX, prefix):
        raise problem("email_prefix", "must be the beginning of an e-mail address")
    return prefix


def _moment(value: Any) -> datetime:
    if not isinstance(value, str) or not re.fullmatch(_MOMENT, value):
        raise problem("time", 'must be a time in UTC such as "2026-01-31T12:00:00Z", with at most 6 decimals')
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise problem("time", "is no time of the calendar") from None


def _address(value: str) -> str:
    if not re.fullmatch(_ADDRESS, value):
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
        if not re.fullmatch(_METADATA_NAME, name):
            raise problem("metadata", "names must be 1 to 40 of A-Z a-z 0-9 _ -")
        if len(_text(text)) > _METADATA_VALUE_LENGTH:
            raise problem("metadata", f"values must have at most {_METADATA_VALUE_LENGTH} characters")
    return value


def _id(prefix: str) -> Any:
    return StringConstraints(pattern=rf"^{prefix}_{ULID_FORM}$")


def described(*examples: Any, **schema: Any) -> FieldInfo:
    """What the API's description says of a type beyond what validates it: an example, a pattern that code checks."""
    info: FieldInfo = Field(json_schema_extra={**schema, "examples": list(examples)})
    return info


AMOUNT_FORM = r"^(?!0(\.0+)?$)(0|[1-9][0-9]{0,12})(\.[0-9]{1,18})?$"
TEXT_FORM = r"^[^\u0000]*$"
_EMAIL_FORM = (
    r"^[ \t]*(?=[^@ \t]{1,64}@)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9][ \t]*$"
)
_METADATA_SCHEMA: dict[str, Any] = {
    "maxProperties": _METADATA_MOST,
    "propertyNames": {"pattern": "^[A-Za-z0-9_-]{1,40}$"},
    "additionalProperties": {"type": "string", "maxLength": _METADATA_VALUE_LENGTH, "pattern": TEXT_FORM},
}

BaseUnits = Annotated[int, BeforeValidator(_amount), described("1000", type="string", pattern=AMOUNT_FORM)]
Email = Annotated[
    str, AfterValidator(_email), described("ada@example.com", pattern=_EMAIL_FORM, maxLength=_EMAIL_LENGTH)
]
Address = Annotated[
    str,
    AfterValidator(_address),
    described("0x8ba1f109551bD432803012645Ac136ddd64DBA72", pattern="^0x[0-9a-fA-F]{40}$"),
]
WalletId = Annotated[str, _id("wlt"), described("wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
TransactionId = Annotated[str, _id("txn"), described("txn_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
KeyId = Annotated[str, _id("key"), described("key_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
BatchId = Annotated[str, _id("bat"), described("bat_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
EndpointId = Annotated[str, _id("whe"), described("whe_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
EventId = Annotated[str, _id("evt"), described("evt_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
DeliveryId = Annotated[str, _id("dlv"), described("dlv_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
ReplayId = Annotated[str, _id("rpl"), described("rpl_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
EmailPrefix = Annotated[str, AfterValidator(_email_prefix), described("ada@", maxLength=_EMAIL_LENGTH)]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    described("2026-01-31T12:00:00Z", pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$"),
]
Label = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    AfterValidator(_text),
    described("Ada", pattern=TEXT_FORM),
]
Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500),
    AfterValidator(_text),
    described("a gift", pattern=TEXT_FORM),
]
BadgeText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128),
    AfterValidator(_text),
    described("rust-101", pattern=TEXT_FORM),
]
Metadata = Annotated[dict[str, str], AfterValidator(_metadata), described({"cohort": "7"}, **_METADATA_SCHEMA)]
