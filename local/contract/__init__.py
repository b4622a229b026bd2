"""The GETS contract for local use: its creation code, and the words to call it and to read its events."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import event_signature_to_log_topic, function_signature_to_4byte_selector
from eth_utils.address import to_checksum_address

TOKEN_NAME, TOKEN_SYMBOL, DECIMALS = "GetSmart Token", "GETS", 18
GENESIS = 20_000_000 * 10**DECIMALS
MAX_NAME_BYTES, MAX_SYMBOL_BYTES = 25, 5  # fixed by the ERC-20 module

# The argument names are those of the Solidity ERC-20 that wallet providers deploy (`from`, `to`), not those of the
# Vyper source, where `from` is a reserved word.
_EVENTS: dict[bytes, tuple[str, list[tuple[str, str]], list[tuple[str, str]]]] = {
    event_signature_to_log_topic("Transfer(address,address,uint256)"): (
        "Transfer",
        [("from", "address"), ("to", "address")],
        [("value", "uint256")],
    ),
    event_signature_to_log_topic("LockedChanged(address,uint256)"): (
        "LockedChanged",
        [("account", "address")],
        [("locked", "uint256")],
    ),
}
TRANSFER_TOPIC = event_signature_to_log_topic("Transfer(address,address,uint256)")


@dataclass(frozen=True)
class Event:
    """A decoded event: its name and arguments, every value as text (addresses in checksum form)."""

    name: str
    args: dict[str, str]


@cache
def creation_code() -> bytes:
    """The compiled contract, without constructor arguments."""
    text = (Path(__file__).parent / "gets.bin").read_text().strip()
    return bytes.fromhex(text.removeprefix("0x"))


def deployment(name: str, symbol: str, owner: str, genesis: int) -> bytes:
    """Creation code that mints `genesis` base units to `owner` and makes it the only minter."""
    return creation_code() + encode(["string", "string", "address", "uint256"], [name, symbol, owner, genesis])


@cache
def _selector(signature: str) -> bytes:
    return function_signature_to_4byte_selector(signature)


def call_data(signature: str, *arguments: Any) -> bytes:
    """Encode a call, for example `call_data("transfer(address,uint256)", to, 5)`."""
    types = signature[signature.index("(") + 1 : -1]
    return _selector(signature) + encode(types.split(",") if types else [], arguments)


class NotACoin(Exception):
    """The answer is not what a token contract gives; an address without code gives nothing."""


def _read(kind: str, data: bytes) -> Any:
    try:
        return decode([kind], data)[0]
    except DecodingError:
        raise NotACoin from None


def read_uint(data: bytes) -> int:
    """A single uint256 result. Raises NotACoin."""
    return int(_read("uint256", data))


def read_text(data: bytes) -> str:
    """A single string result. Raises NotACoin."""
    return str(_read("string", data))


def _text(value: Any, kind: str) -> str:
    return to_checksum_address(value) if kind == "address" else str(value)


def read_event(topics: tuple[bytes, ...], data: bytes) -> Event | None:
    """The event a log stands for, or None if it is not one that concerns balances."""
    known = _EVENTS.get(topics[0]) if topics else None
    if known is None:
        return None
    name, indexed, plain = known
    words = [decode([kind], topic)[0] for (_, kind), topic in zip(indexed, topics[1:], strict=True)]
    words += decode([kind for _, kind in plain], data)
    return Event(name, {key: _text(word, kind) for (key, kind), word in zip(indexed + plain, words, strict=True)})
