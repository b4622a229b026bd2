"""The second witness: a JSON-RPC node of the chain, asked for receipts and the head.

Source: Ethereum JSON-RPC specification (eth_blockNumber, eth_getTransactionReceipt); ERC-20's Transfer event.
"""

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import requests

from getsmart import config
from getsmart.errors import ProviderUnavailable

# The keccak-256 of the event signature of ERC-20 Transfer (EIP-20).
TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_TIMEOUT = (2.0, 5.0)
_TRANSFER_TOPICS = 3


class ChainUnavailable(ProviderUnavailable):
    """The node did not answer, or not in its protocol's shape."""

    safe_message = "The chain's node is not available at the moment."


@dataclass(frozen=True)
class TransferLog:
    """One ERC-20 Transfer in a receipt: addresses in lower case, amount in base units."""

    contract: str
    sender: str
    recipient: str
    amount: int
    log_index: int


@dataclass(frozen=True)
class Receipt:
    """What became of a mined transaction."""

    is_success: bool
    block_number: int
    transfers: tuple[TransferLog, ...]


@cache
def _session(_process_id: int) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


def is_configured() -> bool:
    """Whether there is a node to ask."""
    return config.read(config.ChainSettings).rpc_url is not None


def head() -> int:
    """The number of the newest block. Raises ChainUnavailable."""
    return _number(_ask("eth_blockNumber", []))


def receipt(tx_hash: str) -> Receipt | None:
    """The receipt of a mined transaction, or None while there is none. Raises ChainUnavailable."""
    found = _ask("eth_getTransactionReceipt", [tx_hash])
    if found is None:
        return None
    try:
        transfers = tuple(_transfer(log) for log in found["logs"] if _is_transfer(log))
        return Receipt(_number(found["status"]) == 1, _number(found["blockNumber"]), transfers)
    except (KeyError, TypeError, AttributeError) as error:
        raise ChainUnavailable("the node's receipt is malformed") from error


def _is_transfer(log: dict[str, Any]) -> bool:
    return len(log["topics"]) == _TRANSFER_TOPICS and log["topics"][0] == TRANSFER_TOPIC


def _transfer(log: dict[str, Any]) -> TransferLog:
    sender, recipient = ("0x" + topic[-40:].lower() for topic in log["topics"][1:])
    return TransferLog(log["address"].lower(), sender, recipient, _number(log["data"]), _number(log["logIndex"]))


def _number(value: Any) -> int:
    try:
        return int(value, 16)
    except (TypeError, ValueError) as error:
        raise ChainUnavailable("the node's number is malformed") from error


def _ask(method: str, parameters: list[Any]) -> Any:
    question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    url = config.read(config.ChainSettings).rpc_url or ""
    try:
        answer = _session(os.getpid()).post(url, json=question, timeout=_TIMEOUT, allow_redirects=False).json()
        return answer["result"]
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise ChainUnavailable(f"{method}: {type(error).__name__}") from error
