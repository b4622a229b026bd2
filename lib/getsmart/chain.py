"""The second witness: a JSON-RPC node of the chain, asked for receipts and the head.

Before its first answer counts it is asked which chain it is of, once in a process: what another chain has or lacks says
nothing, and reads like a reorganisation. Every question may raise Misconfigured for that.

Source: Ethereum JSON-RPC specification (eth_chainId, eth_blockNumber, eth_getTransactionReceipt, eth_getLogs,
eth_getBlockByNumber); ERC-20's Transfer event.
"""

import base64
import http.client
import json
import os
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from getsmart import config
from getsmart.errors import Misconfigured, ProviderUnavailable

# The keccak-256 of the event signature of ERC-20 Transfer (EIP-20).
TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
# The first four bytes of the keccak-256 of balanceOf(address) (EIP-20).
_BALANCE_OF = "0x70a08231"
_CONNECT_SECONDS, _READ_SECONDS = 2.0, 5.0
_TRANSFER_TOPICS = 3
_WINDOW_BLOCKS = 1_000  # what public nodes answer in one call


class ChainUnavailable(ProviderUnavailable):
    """The node did not answer, or not in its protocol's shape."""

    safe_message = "The chain's node is not available at the moment."


class ChainRefused(ChainUnavailable):
    """The node answered with an error of its own: it may answer a smaller question."""


class TransferLog(NamedTuple):
    """One ERC-20 Transfer in a receipt: addresses in lower case, amount in base units."""

    contract: str
    sender: str
    recipient: str
    amount: int
    log_index: int


class FoundTransfer(NamedTuple):
    """One Transfer found by its parties: where it stands, and its amount in base units."""

    tx_hash: str
    block_number: int
    log_index: int
    amount: int


class ChainTransfer(NamedTuple):
    """One Transfer as it stands on the chain: addresses and hashes in lower case, amount in base units."""

    tx_hash: str
    log_index: int
    block_number: int
    block_hash: str
    sender: str
    recipient: str
    amount: int


class Block(NamedTuple):
    """A block's number, hash and time."""

    number: int
    hash: str
    at: datetime


class Receipt(NamedTuple):
    """What became of a mined transaction; `block_hash` is empty where the node does not say."""

    is_success: bool
    block_number: int
    transfers: tuple[TransferLog, ...]
    block_hash: str = ""


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
        block_hash = (found.get("blockHash") or "").lower()
        return Receipt(_number(found["status"]) == 1, _number(found["blockNumber"]), transfers, block_hash)
    except (KeyError, TypeError, AttributeError) as error:
        raise ChainUnavailable("the node's receipt is malformed") from error


def block_time(number: int) -> datetime:
    """When a block was made. Raises ChainUnavailable, also where the node has no such block."""
    block = _ask("eth_getBlockByNumber", [hex(number), False])
    try:
        return datetime.fromtimestamp(_number(block["timestamp"]), UTC)
    except (KeyError, TypeError) as error:
        raise ChainUnavailable("the node's block is malformed") from error


def blocks(numbers: Sequence[int]) -> dict[int, Block]:
    """Those of the blocks that the node has, by number; one call. Raises ChainUnavailable."""
    answers = _ask_all("eth_getBlockByNumber", [[hex(number), False] for number in numbers])
    try:
        found = [
            Block(_number(one["number"]), one["hash"].lower(), datetime.fromtimestamp(_number(one["timestamp"]), UTC))
            for one in answers
            if one is not None
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ChainUnavailable("the node's block is malformed") from error
    return {block.number: block for block in found}


def read_transfers(contract: str, first: int, last: int) -> list[ChainTransfer]:
    """Every Transfer of the contract in blocks `first` to `last`, in the chain's order; one call, or smaller ones.

    A node that refuses a span (for its length, or for how much it holds) is asked for halves of it. Raises
    ChainUnavailable.
    """
    span = {"fromBlock": hex(first), "toBlock": hex(last)}
    try:
        logs = _ask("eth_getLogs", [{"address": contract, "topics": [TRANSFER_TOPIC], **span}])
    except ChainRefused:
        if first == last:
            raise
        middle = (first + last) // 2
        return read_transfers(contract, first, middle) + read_transfers(contract, middle + 1, last)
    try:
        found = [_on_chain(log) for log in logs if _is_transfer(log)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ChainUnavailable("the node's logs are malformed") from error
    return sorted(found, key=lambda one: (one.block_number, one.log_index))


def find_transfers(contract: str, sender: str, recipient: str, first: int, last: int) -> list[FoundTransfer]:
    """Every Transfer of the contract between these two in blocks `first` to `last`, the oldest first.

    Raises ChainUnavailable.
    """
    topics = [TRANSFER_TOPIC, _topic(sender), _topic(recipient)]
    found: list[FoundTransfer] = []
    for start in range(first, last + 1, _WINDOW_BLOCKS):
        span = {"fromBlock": hex(start), "toBlock": hex(min(start + _WINDOW_BLOCKS - 1, last))}
        logs = _ask("eth_getLogs", [{"address": contract, "topics": topics, **span}])
        try:
            found.extend(_found(log) for log in logs)
        except (KeyError, TypeError, AttributeError) as error:
            raise ChainUnavailable("the node's logs are malformed") from error
    return found


def balance_of(contract: str, address: str, block: int) -> int:
    """What an address holds of an ERC-20 contract after a block, in base units. Raises ChainUnavailable."""
    data = _BALANCE_OF + address[2:].lower().rjust(64, "0")
    return _number(_ask("eth_call", [{"to": contract, "data": data}, hex(block)]))


def _topic(address: str) -> str:
    return "0x" + address[2:].lower().rjust(64, "0")


def _found(log: dict[str, Any]) -> FoundTransfer:
    number, index, amount = (_number(log[name]) for name in ("blockNumber", "logIndex", "data"))
    return FoundTransfer(log["transactionHash"].lower(), number, index, amount)


def _on_chain(log: dict[str, Any]) -> ChainTransfer:
    seen = _transfer(log)
    return ChainTransfer(
        log["transactionHash"].lower(),
        seen.log_index,
        _number(log["blockNumber"]),
        log["blockHash"].lower(),
        seen.sender,
        seen.recipient,
        seen.amount,
    )


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


def chain_id() -> int:
    """Which chain the node is of. Raises ChainUnavailable."""
    return _number(_question(_url(), "eth_chainId", []))


def _url() -> str:
    return config.read(config.ChainSettings).rpc_url or ""


@cache
def _ours() -> set[tuple[int, str, int]]:
    """The nodes that have said to be of the chain we want: process, URL and chain."""
    return set()


def _proven() -> str:
    """The node's URL, once it has said to be of our chain. Raises Misconfigured where it is of another one."""
    url, wanted = _url(), config.read(config.TokenSettings).chain_id
    known = (os.getpid(), url, wanted)
    if known not in _ours():
        found = chain_id()
        if found != wanted:
            raise Misconfigured(f"CHAIN_RPC_URL is a node of chain {found}, and CHAIN_ID is {wanted}")
        _ours().add(known)
    return url


def _ask(method: str, parameters: list[Any]) -> Any:
    return _question(_proven(), method, parameters)


def _question(url: str, method: str, parameters: list[Any]) -> Any:
    question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    try:
        answer = json.loads(_post(url, json.dumps(question).encode()))
        if answer.get("error") is not None:
            raise ChainRefused(f"{method}: error {str(answer['error'])[:100]}")
        return answer["result"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ChainUnavailable(f"{method}: {type(error).__name__}") from error


def _ask_all(method: str, calls: Sequence[list[Any]]) -> list[Any]:
    """The results of a method for each list of parameters, in order; one round trip."""
    batch = [
        {"jsonrpc": "2.0", "id": place, "method": method, "params": parameters}
        for place, parameters in enumerate(calls)
    ]
    url = _proven()
    try:
        answers = {one["id"]: one["result"] for one in json.loads(_post(url, json.dumps(batch).encode()))}
        return [answers[place] for place in range(len(calls))]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise ChainUnavailable(f"{method}: {type(error).__name__}") from error


# The standard library's client, as functions that only read would start slower with another one.
@cache
def _idle() -> dict[tuple[int, str], deque[http.client.HTTPConnection]]:
    """Connections that wait for their next question, by process (none survives a fork) and URL."""
    return {}


def forget() -> None:
    """Close what waits; for tests."""
    for waiting in _idle().values():
        for connection in waiting:
            connection.close()
    _idle.cache_clear()
    _ours.cache_clear()


def _post(url: str, body: bytes) -> bytes:
    """The body of a 200. A kept connection may have died in the meantime: then once more, on a fresh one."""
    parts, idle = urlsplit(url), _idle().setdefault((os.getpid(), url), deque())
    try:
        kept = idle.pop()
    except IndexError:
        return _exchange(_connect(parts), parts, body, idle)
    try:
        return _exchange(kept, parts, body, idle)
    except ConnectionError:
        return _exchange(_connect(parts), parts, body, idle)


def _connect(parts: SplitResult) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_CONNECT_SECONDS)
    connection.connect()
    connection.sock.settimeout(_READ_SECONDS)
    return connection


def _exchange(
    connection: http.client.HTTPConnection,
    parts: SplitResult,
    body: bytes,
    idle: deque[http.client.HTTPConnection],
) -> bytes:
    """One question and its answer; the connection is kept for the next, or closed where it failed."""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", target, body, _headers(parts))
        response = connection.getresponse()
        answer = response.read()
    except BaseException:
        connection.close()
        raise
    if connection.sock is not None:  # the other side has not said that it closes
        idle.append(connection)
    if response.status != http.HTTPStatus.OK:
        raise http.client.HTTPException(f"status {response.status}")
    return answer


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    return headers
