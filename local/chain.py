"""An Ethereum chain inside the process: a real EVM fed from a journal of calls, one call a block.

The EVM's state cannot be saved, so the journal is the truth: who keeps the calls can build the same chain again,
with the same block hashes. Nonces, blocks and hashes are kept here. Not thread-safe: callers hold a lock.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address
from pyrevm import EVM, BlockEnv, CfgEnv, Env

GAS_LIMIT = 30_000_000
ZERO_ADDRESS = "0x" + "00" * 20
_CODE_PADDING = b"\0" * 33
_ERROR_SELECTOR = bytes.fromhex("08c379a0")  # Error(string), what Solidity and Vyper encode a reason as
_REVERT_OUTPUT = re.compile(r"output: (0x[0-9a-f]*)")
_GAS_USED = re.compile(r"gas_used: (\d+)")


class CallReverted(Exception):
    """A call ended in a revert or ran out of its bounds; `data` is what it returned, `str()` the reason."""

    def __init__(self, reason: str, data: bytes, gas_used: int) -> None:
        """`gas_used` is what a transaction would have paid for."""
        super().__init__(reason)
        self.data, self.gas_used = data, gas_used


@dataclass(frozen=True, slots=True)
class Call:
    """One line of the journal, and so one block; `at_ms` is Unix milliseconds.

    `to` None creates a contract from `data`; `tx_hash` None is a block without a transaction; `refusal` makes the
    transaction revert for that reason without being run; `branch` tells apart blocks mined again after a
    reorganisation.
    """

    tx_hash: bytes | None
    sender: str
    to: str | None
    data: bytes
    at_ms: int
    refusal: str = ""
    branch: int = 0


@dataclass(frozen=True, slots=True)
class Log:
    """What a contract logged; the position within its transaction is its place in `Block.logs`."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """A mined block with what its one call did; `failure` is empty when it succeeded."""

    number: int
    hash: bytes
    parent_hash: bytes
    call: Call
    nonce: int = 0
    failure: str = ""
    gas_used: int = 0
    logs: tuple[Log, ...] = ()
    contract_address: str | None = None

    @property
    def timestamp(self) -> int:
        """Unix seconds."""
        return self.call.at_ms // 1000


def _reason(output: bytes, text: str) -> str:
    if output[:4] == _ERROR_SELECTOR:
        try:
            return str(decode(["string"], output[4:])[0])
        except DecodingError:
            return "execution reverted"
    return "execution reverted" if "Revert" in text else text


def _reverted(error: RuntimeError) -> CallReverted:
    """Read the EVM's own text, which is all it gives."""
    text = str(error)
    found, gas = _REVERT_OUTPUT.search(text), _GAS_USED.search(text)
    output = bytes.fromhex(found.group(1)[2:]) if found else b""
    return CallReverted(_reason(output, text), output, min(int(gas.group(1)), GAS_LIMIT) if gas else GAS_LIMIT)


@dataclass
class _Machine:
    """An EVM and the number of the last block it has executed."""

    evm: EVM
    number: int = 0

    def enter(self, number: int, at_ms: int) -> None:
        self.evm.set_block_env(BlockEnv(number=number, timestamp=at_ms // 1000))

    def run(self, call: Call) -> tuple[str | None, tuple[Log, ...], int]:
        """(new contract's address, logs, gas used); raises CallReverted. Advances to the next block either way."""
        self.number += 1
        if call.tx_hash is None:
            return None, (), 0
        if call.refusal:
            raise CallReverted(call.refusal, b"", 21_000)
        self.enter(self.number, call.at_ms)
        try:
            created = self._execute(call)
        except RuntimeError as error:
            raise _reverted(error) from None
        # The result is overwritten by the next call, so what is needed is copied now.
        result = self.evm.result
        return created, tuple(_copy_log(log) for log in result.logs) if result else (), result.gas_used if result else 0

    def _execute(self, call: Call) -> str | None:
        if call.to is None:
            return to_checksum_address(self.evm.deploy(call.sender, call.data, gas=GAS_LIMIT))
        self.evm.message_call(call.sender, call.to, calldata=call.data, gas=GAS_LIMIT)
        return None

    def ask(self, sender: str, to: str, data: bytes, at_ms: int) -> bytes:
        """Run a call and undo it; raises CallReverted."""
        self.enter(self.number, at_ms)
        checkpoint = self.evm.snapshot()
        try:
            return bytes(self.evm.message_call(sender, to, calldata=data, gas=GAS_LIMIT))
        except RuntimeError as error:
            raise _reverted(error) from None
        finally:
            self.evm.revert(checkpoint)


_checksum = lru_cache(maxsize=4096)(to_checksum_address)


def _copy_log(log: object) -> Log:
    topics, data = log.data  # type: ignore[attr-defined]
    address = _checksum(log.address)  # type: ignore[attr-defined]
    return Log(address, tuple(bytes(topic) for topic in topics), bytes(data))


def _block_hash(parent: bytes, number: int, call: Call, failure: str) -> bytes:
    words = (number, call.at_ms, call.branch, int(bool(failure)))
    return keccak(parent + b"".join(word.to_bytes(8, "big") for word in words) + (call.tx_hash or b""))


@dataclass
class Chain:
    """The chain of `chain_id`; block 0 is empty and dated `genesis_ms`."""

    chain_id: int
    genesis_ms: int
    blocks: list[Block] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.replay([])

    def _new_machine(self) -> _Machine:
        return _Machine(EVM(Env(cfg=CfgEnv(chain_id=self.chain_id))))

    def replay(self, journal: Iterable[Call]) -> None:
        """Forget everything and mine `journal`: the start after a restart, and a reorganisation."""
        self._machine = self._new_machine()
        self._past = self._new_machine()
        self._nonces: dict[str, int] = {}
        self._by_tx: dict[bytes, int] = {}
        genesis = Call(None, ZERO_ADDRESS, None, b"", self.genesis_ms)
        seed = self.chain_id.to_bytes(32, "big")
        self.blocks = [Block(0, _block_hash(seed, 0, genesis, ""), b"\0" * 32, genesis)]
        self._by_hash = {self.head.hash: 0}
        for call in journal:
            self.mine(call)

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    def mine(self, call: Call) -> Block:
        """Execute `call` in a block of its own; a revert is mined too, with `failure` set."""
        number, failure = self.head.number + 1, ""
        try:
            created, logs, gas_used = self._machine.run(call)
        except CallReverted as reverted:
            created, logs, gas_used, failure = None, (), reverted.gas_used, str(reverted)
        nonce = self.nonce(call.sender)
        digest = _block_hash(self.head.hash, number, call, failure)
        block = Block(number, digest, self.head.hash, call, nonce, failure, gas_used, logs, created)
        self.blocks.append(block)
        self._by_hash[digest] = number
        if call.tx_hash is not None:
            self._nonces[call.sender] = nonce + 1
            self._by_tx[call.tx_hash] = number
        return block

    def reorganise(self, depth: int, dropped: Sequence[bytes] = ()) -> list[Call]:
        """The journal lines that replace the last `depth` blocks, without the `dropped` transactions.

        The height stays, as a longer branch wins on a real network: a dropped transaction leaves an empty block.
        The chain itself is moved by `replay`; raises ValueError when the depth reaches genesis.
        """
        if not 1 <= depth <= self.head.number:
            raise ValueError(f"depth must be 1 to {self.head.number}")
        branch = max(block.call.branch for block in self.blocks) + 1
        return [_rebranched(block.call, branch, dropped) for block in self.blocks[-depth:]]

    def ask(self, to: str, data: bytes, *, sender: str = ZERO_ADDRESS, number: int | None = None) -> bytes:
        """Run a call without keeping its effects, on the state after block `number` (default: the newest).

        Raises CallReverted.
        """
        at = self.head.number if number is None else number
        machine = self._machine if at == self.head.number else self._machine_at(at)
        return machine.ask(sender, to, data, self.blocks[at].call.at_ms)

    def _machine_at(self, number: int) -> _Machine:
        """A second EVM brought to an older block; it is kept, since old reads come in rising order."""
        if self._past.number > number:
            self._past = self._new_machine()
        for block in self.blocks[self._past.number + 1 : number + 1]:
            try:
                self._past.run(block.call)
            except CallReverted:
                continue
        return self._past

    def code(self, address: str, number: int | None = None) -> bytes:
        """The code at `address`, empty for an account without any."""
        at_head = number is None or number == self.head.number
        machine = self._machine if at_head else self._machine_at(number or 0)
        # The EVM keeps code with a tail of zeros, so that it may read past the end.
        return bytes(machine.evm.get_code(address) or b"").removesuffix(_CODE_PADDING)

    def nonce(self, address: str) -> int:
        """How many transactions of `address` are mined."""
        return self._nonces.get(address, 0)

    def block_of(self, tx_hash: bytes) -> Block | None:
        """The block of a mined transaction."""
        number = self._by_tx.get(tx_hash)
        return None if number is None else self.blocks[number]

    def block_by_hash(self, digest: bytes) -> Block | None:
        """The block with that hash, unless it is unknown or was reorganised away."""
        number = self._by_hash.get(digest)
        return None if number is None else self.blocks[number]

    def number_at(self, at_ms: int) -> int:
        """The number of the newest block mined at or before `at_ms`; 0 when there is none."""
        return next((block.number for block in reversed(self.blocks) if block.call.at_ms <= at_ms), 0)


def _rebranched(call: Call, branch: int, dropped: Sequence[bytes]) -> Call:
    if call.tx_hash is None or call.tx_hash in dropped:
        return Call(None, ZERO_ADDRESS, None, b"", call.at_ms, branch=branch)
    return Call(call.tx_hash, call.sender, call.to, call.data, call.at_ms, call.refusal, branch)
