"""The shapes of MetaKeep requests; whatever does not fit is INVALID_REQUEST."""

import json
import re
from typing import Annotated, Any, TypeVar

from eth_utils.address import is_checksum_address, to_checksum_address
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from local import contract
from local.sandbox.problems import INVALID_EMAIL, INVALID_REQUEST, Refusal

MAX_USERS = 50
_UNIT: int = 10**contract.DECIMALS
_AMOUNT = re.compile(r"[0-9]{1,78}(\.[0-9]{1,18})?", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


def read_amount(text: str) -> int:
    """Base units of a decimal string in whole tokens; raises ValueError."""
    if not _AMOUNT.fullmatch(text):
        raise ValueError("not a decimal string with at most 18 decimals")
    whole, _, fraction = text.partition(".")
    units = int(whole) * _UNIT + int(fraction.ljust(contract.DECIMALS, "0"))
    if not 0 < units < 2**256:
        raise ValueError("not a positive amount that the chain can hold")
    return units


def write_amount(units: int) -> str:
    """The shortest decimal string in whole tokens."""
    whole, fraction = divmod(units, _UNIT)
    digits = f"{fraction:018d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def read_address(text: str) -> str:
    """Checksum form; raises ValueError, also for mixed case whose checksum is wrong."""
    digits = text[2:]
    if not _ADDRESS.fullmatch(text):
        raise ValueError("not an address")
    if digits not in (digits.lower(), digits.upper()) and not is_checksum_address(text):
        raise ValueError("the checksum of the address is wrong")
    return str(to_checksum_address(text))


def is_email(text: str) -> bool:
    """Whether the text looks like an e-mail address."""
    return len(text) <= 254 and _EMAIL.fullmatch(text.strip()) is not None


def _email(text: str) -> str:
    if not is_email(text):
        raise ValueError(INVALID_EMAIL)
    return text


def _amount(text: str) -> str:
    read_amount(text)
    return text


def _short(limit: int) -> Any:
    def check(text: str) -> str:
        if not 1 <= len(text.encode()) <= limit:
            raise ValueError(f"must be 1 to {limit} bytes")
        return text

    return AfterValidator(check)


Address = Annotated[str, AfterValidator(read_address)]
Amount = Annotated[str, AfterValidator(_amount)]
Email = Annotated[str, AfterValidator(_email)]


class Shape(BaseModel):
    """Base: no unknown field, no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class User(Shape):
    """A person."""

    email: Email


class Party(Shape):
    """A person or an address on the chain: exactly one of the two."""

    email: Email | None = None
    ethAddress: Address | None = None  # noqa: N815 - the name on the wire

    @model_validator(mode="after")
    def _one(self) -> "Party":
        if (self.email is None) == (self.ethAddress is None):
            raise ValueError("exactly one of email and ethAddress")
        return self


class Coin(Shape):
    """A coin by the address of its contract."""

    currency: Address


class NewCoin(Shape):
    """A coin to be created; the lengths are the contract's."""

    name: Annotated[str, _short(contract.MAX_NAME_BYTES)]
    symbol: Annotated[str, _short(contract.MAX_SYMBOL_BYTES)]


class Currencies(Shape):
    """The coins whose balances are asked for."""

    currencies: Annotated[list[Address], Field(min_length=1)]


class GetWallet(Shape):
    """/v3/getWallet."""

    user: User


class GetWallets(Shape):
    """/v3/getWallet/multiple."""

    users: list[User]


class GetDeveloperWallet(Shape):
    """/v3/getDeveloperWallet: nothing is needed; some integrators name the wallet."""

    id: str | None = None


class CreateCurrency(Shape):
    """/v2/app/coin/createCurrency."""

    coin: NewCoin


class Mint(Shape):
    """/v2/app/coin/mint."""

    coin: Coin
    to: Party
    amount: Amount
    locked: bool = False


class Transfer(Shape):
    """/v2/app/coin/transfer; `from` makes it the user's own, with consent."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_by_alias=True, validate_by_name=False)

    coin: Coin
    to: Party
    amount: Amount
    holder: User | None = Field(default=None, alias="from")


class HolderAmount(Shape):
    """/v2/app/coin/burn, lock and unlock."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_by_alias=True, validate_by_name=False)

    coin: Coin
    amount: Amount
    holder: User = Field(alias="from")


class Balance(Shape):
    """/v2/app/coin/balance."""

    coins: Currencies
    of: Party


class Status(Shape):
    """/v2/app/transaction/status."""

    transactionId: str  # noqa: N815 - the name on the wire


S = TypeVar("S", bound=BaseModel)


def _without_nulls(value: Any) -> Any:
    """An explicit null is as good as absent."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def parse(raw: bytes, shape: type[S]) -> S:
    """Read a body (none at all counts as {}). Raises Refusal."""
    try:
        document = json.loads(raw) if raw else {}
        return shape.model_validate(_without_nulls(document))
    except ValidationError as error:
        is_email = all(INVALID_EMAIL in problem["msg"] for problem in error.errors())
        raise Refusal(INVALID_EMAIL if is_email else INVALID_REQUEST, 400, str(error)) from None
    except ValueError as error:
        raise Refusal(INVALID_REQUEST, 400, str(error)) from None
