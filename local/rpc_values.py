"""How blocks, transactions, receipts, logs and parameters look in Ethereum JSON-RPC."""

import re
from dataclasses import dataclass
from typing import Any

from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address

from local.chain import GAS_LIMIT, ZERO_ADDRESS, Block, Chain, Log

_HEX = re.compile(r"0x([0-9a-fA-F]{2})*", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,16}", re.ASCII)
_NEWEST_TAGS = ("latest", "pending", "safe", "finalized")
_BLOOM_BYTES = 256
_NO_UNCLES = keccak(b"\xc0")
Topics = tuple[frozenset[bytes] | None, ...]


class InvalidParams(ValueError):
    """A parameter has the wrong shape."""


def hex_number(value: int) -> str:
    """A quantity."""
    return hex(value)


def hex_bytes(value: bytes) -> str:
    """A byte string."""
    return f"0x{value.hex()}"


def read_bytes(value: Any, *, size: int | None = None) -> bytes:
    """Bytes from 0x hex, of exactly `size` where given. Raises InvalidParams."""
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise InvalidParams("0x and an even number of hex digits are expected")
    raw = bytes.fromhex(value[2:])
    if size is not None and len(raw) != size:
        raise InvalidParams(f"{size} bytes are expected")
    return raw


def read_address(value: Any) -> str:
    """An address in checksum form. Raises InvalidParams."""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise InvalidParams("an address is expected")
    return str(to_checksum_address(value))


def read_block(chain: Chain, value: Any) -> Block | None:
    """The block a tag, a number or an EIP-1898 object stands for; None if it does not exist. Raises InvalidParams."""
    if isinstance(value, dict) and len(value) == 1 and "blockHash" in value:
        return chain.block_by_hash(read_bytes(value["blockHash"], size=32))
    if isinstance(value, dict) and len(value) == 1 and "blockNumber" in value:
        value = value["blockNumber"]
    if value in _NEWEST_TAGS:
        return chain.head
    if value == "earliest":
        return chain.blocks[0]
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise InvalidParams("a block number or tag is expected")
    number = int(value, 16)
    return chain.blocks[number] if number < len(chain.blocks) else None


@dataclass(frozen=True)
class LogFilter:
    """Which logs are wanted: a span of block numbers (both ends included), emitters and topics."""

    first: int
    last: int
    addresses: frozenset[str] | None
    topics: Topics

    def matches(self, log: Log) -> bool:
        """Whether a log inside the span is wanted."""
        if self.addresses is not None and log.address not in self.addresses:
            return False
        if len(log.topics) < len(self.topics):
            return False
        pairs = zip(self.topics, log.topics, strict=False)
        return all(wanted is None or topic in wanted for wanted, topic in pairs)


def _read_addresses(value: Any) -> frozenset[str] | None:
    if value is None or value == []:
        return None
    return frozenset(read_address(item) for item in (value if isinstance(value, list) else [value]))


def _read_topic(value: Any) -> frozenset[bytes] | None:
    if value is None or value == []:
        return None
    alternatives = value if isinstance(value, list) else [value]
    return frozenset(read_bytes(item, size=32) for item in alternatives)


def _read_span(chain: Chain, criteria: dict[str, Any]) -> tuple[int, int]:
    if "blockHash" in criteria:
        if "fromBlock" in criteria or "toBlock" in criteria:
            raise InvalidParams("blockHash excludes fromBlock and toBlock")
        block = chain.block_by_hash(read_bytes(criteria["blockHash"], size=32))
        if block is None:
            raise InvalidParams("there is no such block")
        return block.number, block.number
    first = read_block(chain, criteria.get("fromBlock") or "latest")
    last = read_block(chain, criteria.get("toBlock") or "latest")
    head = chain.head.number
    span = (head + 1 if first is None else first.number, head if last is None else last.number)
    if first is not None and span[0] > span[1]:
        raise InvalidParams("fromBlock is after toBlock")
    return span


def read_filter(chain: Chain, criteria: Any) -> LogFilter:
    """The filter of eth_getLogs. Raises InvalidParams."""
    if not isinstance(criteria, dict):
        raise InvalidParams("the filter must be an object")
    topics = criteria.get("topics") or []
    if not isinstance(topics, list):
        raise InvalidParams("topics must be an array")
    first, last = _read_span(chain, criteria)
    wanted = tuple(_read_topic(topic) for topic in topics)
    return LogFilter(first, last, _read_addresses(criteria.get("address")), wanted)


def _bloom(logs: tuple[Log, ...]) -> bytes:
    """The 2048-bit filter over emitters and topics (yellow paper, section 4.3.1)."""
    bits = 0
    for log in logs:
        for item in (bytes.fromhex(log.address[2:]), *log.topics):
            digest = keccak(item)
            for start in (0, 2, 4):
                bits |= 1 << (int.from_bytes(digest[start : start + 2], "big") % 2048)
    return bits.to_bytes(_BLOOM_BYTES, "big")


def log_view(block: Block, index: int) -> dict[str, Any]:
    """A log; it is its block's `index`th, as a block holds one transaction."""
    log = block.logs[index]
    return {
        "address": log.address.lower(),
        "topics": [hex_bytes(topic) for topic in log.topics],
        "data": hex_bytes(log.data),
        "blockNumber": hex_number(block.number),
        "blockHash": hex_bytes(block.hash),
        "transactionHash": hex_bytes(block.call.tx_hash or b""),
        "transactionIndex": hex_number(0),
        "logIndex": hex_number(index),
        "removed": False,
    }


def receipt_view(block: Block) -> dict[str, Any]:
    """The receipt of a block's transaction."""
    target, created = block.call.to, block.contract_address
    return {
        "transactionHash": hex_bytes(block.call.tx_hash or b""),
        "transactionIndex": hex_number(0),
        "blockHash": hex_bytes(block.hash),
        "blockNumber": hex_number(block.number),
        "from": block.call.sender.lower(),
        "to": target and target.lower(),
        "contractAddress": created and created.lower(),
        "cumulativeGasUsed": hex_number(block.gas_used),
        "gasUsed": hex_number(block.gas_used),
        "effectiveGasPrice": hex_number(0),
        "status": hex_number(0 if block.failure else 1),
        "type": hex_number(0),
        "logs": [log_view(block, index) for index in range(len(block.logs))],
        "logsBloom": hex_bytes(_bloom(block.logs)),
    }


def transaction_view(chain_id: int, block: Block) -> dict[str, Any]:
    """A block's transaction. Nothing signs here, so the signature is zero."""
    target = block.call.to
    return {
        "hash": hex_bytes(block.call.tx_hash or b""),
        "transactionIndex": hex_number(0),
        "blockHash": hex_bytes(block.hash),
        "blockNumber": hex_number(block.number),
        "from": block.call.sender.lower(),
        "to": target and target.lower(),
        "input": hex_bytes(block.call.data),
        "nonce": hex_number(block.nonce),
        "value": hex_number(0),
        "gas": hex_number(GAS_LIMIT),
        "gasPrice": hex_number(0),
        "type": hex_number(0),
        "chainId": hex_number(chain_id),
        "v": hex_number(0),
        "r": hex_number(0),
        "s": hex_number(0),
    }


def block_view(chain_id: int, block: Block, *, is_full: bool) -> dict[str, Any]:
    """A block with its transaction in full or by hash. The roots are digests of ours, as no tries are kept."""
    transactions: list[Any] = []
    if block.call.tx_hash is not None:
        transactions = [transaction_view(chain_id, block) if is_full else hex_bytes(block.call.tx_hash)]
    return {
        "number": hex_number(block.number),
        "hash": hex_bytes(block.hash),
        "parentHash": hex_bytes(block.parent_hash),
        "timestamp": hex_number(block.timestamp),
        "transactions": transactions,
        "uncles": [],
        "sha3Uncles": hex_bytes(_NO_UNCLES),
        "miner": ZERO_ADDRESS,
        "nonce": hex_bytes(b"\0" * 8),
        "mixHash": hex_bytes(b"\0" * 32),
        "difficulty": hex_number(0),
        "totalDifficulty": hex_number(0),
        "extraData": "0x",
        "size": hex_number(len(block.call.data)),
        "gasLimit": hex_number(GAS_LIMIT),
        "gasUsed": hex_number(block.gas_used),
        "baseFeePerGas": hex_number(0),
        "logsBloom": hex_bytes(_bloom(block.logs)),
        "transactionsRoot": hex_bytes(keccak(block.call.tx_hash or b"")),
        "stateRoot": hex_bytes(keccak(b"state" + block.hash)),
        "receiptsRoot": hex_bytes(keccak(b"receipts" + block.hash)),
    }
