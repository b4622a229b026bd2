"""The in-process chain: a real EVM whose journal is the truth."""

import time

import pytest
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address

from local import contract
from local.chain import ZERO_ADDRESS, Block, Call, CallReverted, Chain

DEPLOYER, OWNER, ALICE, BOB = (to_checksum_address("0x" + digit * 40) for digit in "1234")
START = 1_700_000_000_000
MINT, TRANSFER = "mint(address,uint256)", "transfer(address,uint256)"


def call(sender: str, to: str | None, data: bytes, at: int = 1, **more: object) -> Call:
    """A journal line; its hash is drawn from its content."""
    return Call(keccak(data + sender.encode() + bytes([at])), sender, to, data, START + at * 1000, **more)  # type: ignore[arg-type]


def genesis() -> Call:
    """The line that deploys the token."""
    return call(DEPLOYER, None, contract.deployment("GetSmart Token", "GETS", OWNER, contract.GENESIS))


@pytest.fixture
def chain() -> Chain:
    """A chain with the token in block 1."""
    made = Chain(80002, START)
    made.mine(genesis())
    return made


def token(chain: Chain) -> str:
    """Where the token lies."""
    return str(chain.blocks[1].contract_address)


def mint(chain: Chain, to: str, amount: int, at: int = 2) -> Block:
    """Mint in the next block."""
    return chain.mine(call(OWNER, token(chain), contract.call_data(MINT, to, amount), at))


def balance(chain: Chain, holder: str, number: int | None = None) -> int:
    """Base units of a holder after a block."""
    data = contract.call_data("balanceOf(address)", holder)
    return contract.read_uint(chain.ask(token(chain), data, number=number))


def test_one_transaction_is_one_block_that_links_to_its_parent(chain: Chain) -> None:
    """Each call is mined into a block of its own, dated by its call."""
    block = mint(chain, ALICE, 5)
    assert (block.number, block.parent_hash, block.timestamp) == (2, chain.blocks[1].hash, START // 1000 + 2)
    assert chain.block_of(block.call.tx_hash or b"") is block
    assert chain.block_by_hash(block.hash) is block
    assert chain.block_of(b"\0" * 32) is None
    assert chain.block_by_hash(b"\0" * 32) is None


def test_logs_survive_later_calls(chain: Chain) -> None:
    """The EVM overwrites its result with each call; the block keeps its own copy."""
    block = mint(chain, ALICE, 5)
    mint(chain, BOB, 6, at=3)
    event = contract.read_event(block.logs[0].topics, block.logs[0].data)
    assert event == contract.Event("Transfer", {"from": ZERO_ADDRESS, "to": ALICE, "value": "5"})
    assert block.logs[0].address == token(chain)


def test_a_revert_is_mined_without_logs_and_changes_nothing(chain: Chain) -> None:
    """A failing transaction has its block and its reason."""
    block = chain.mine(call(ALICE, token(chain), contract.call_data(TRANSFER, BOB, 1)))
    assert (block.failure, block.logs) == ("erc20: transfer amount exceeds balance", ())
    assert block.gas_used > 21_000
    assert (balance(chain, ALICE), balance(chain, BOB)) == (0, 0)
    assert chain.nonce(ALICE) == 1


def test_a_refused_call_is_mined_as_reverted_without_running(chain: Chain) -> None:
    """A fault ordered from outside leaves the state as it was."""
    block = chain.mine(call(OWNER, token(chain), contract.call_data(MINT, ALICE, 1), refusal="by order"))
    assert (block.failure, balance(chain, ALICE)) == ("by order", 0)


def test_asking_keeps_no_effect(chain: Chain) -> None:
    """A call that would change the state is undone, whether it succeeds or reverts."""
    assert chain.ask(token(chain), contract.call_data(TRANSFER, ALICE, 7), sender=OWNER)
    with pytest.raises(CallReverted, match="exceeds balance") as caught:
        chain.ask(token(chain), contract.call_data(TRANSFER, ALICE, 7), sender=BOB)
    assert caught.value.data[:4] == bytes.fromhex("08c379a0")
    assert (balance(chain, ALICE), balance(chain, OWNER)) == (0, contract.GENESIS)


def test_a_revert_without_words_has_a_reason_all_the_same(chain: Chain) -> None:
    """An unknown function reverts with no data; a halt is told in the EVM's own words."""
    with pytest.raises(CallReverted, match="execution reverted") as caught:
        chain.ask(token(chain), b"\1\2\3\4")
    assert caught.value.data == b""
    assert "InvalidFEOpcode" in chain.mine(call(ALICE, None, bytes.fromhex("fe"))).failure


def test_a_malformed_reason_is_not_trusted(chain: Chain) -> None:
    """A contract may return the selector of Error(string) followed by nonsense."""
    code = bytes.fromhex("6308c379a06000526004601cfd")  # PUSH4 selector, PUSH1 0, MSTORE, REVERT(28, 4)
    assert chain.mine(call(ALICE, None, code)).failure == "execution reverted"


def test_older_states_can_be_asked(chain: Chain) -> None:
    """Any block number gives the state after it, in any order of asking."""
    for number in range(2, 6):
        mint(chain, ALICE, 10, at=number)
    chain.mine(call(ALICE, token(chain), contract.call_data(TRANSFER, BOB, 10**6), 9))  # reverts
    mint(chain, ALICE, 1, at=9)
    assert [balance(chain, ALICE, number) for number in (1, 3, 5, 2, 6, 7)] == [0, 20, 40, 10, 40, 41]
    assert chain.number_at(START + 4000) == 4
    assert chain.number_at(START - 1) == 0


def test_code_is_exact_and_appears_with_its_block(chain: Chain) -> None:
    """The padding of the EVM is not part of the code."""
    runtime = bytes.fromhex("600035600055600160006000a100")
    block = chain.mine(call(ALICE, None, bytes.fromhex("600e600c600039600e6000f3") + runtime))
    address = str(block.contract_address)
    assert chain.code(address) == runtime
    assert chain.code(address, 1) == b""
    assert chain.code(ALICE) == b""


def test_a_replay_builds_the_same_chain(chain: Chain) -> None:
    """The journal alone gives back every hash, log, nonce and balance."""
    mint(chain, ALICE, 5)
    chain.mine(call(ALICE, token(chain), contract.call_data(TRANSFER, BOB, 99), 3))
    twin = Chain(80002, START)
    twin.replay([block.call for block in chain.blocks[1:]])
    assert twin.blocks == chain.blocks
    assert (balance(twin, ALICE), twin.nonce(ALICE)) == (5, 1)


def test_a_reorganisation_replaces_blocks_and_drops_what_is_asked(chain: Chain) -> None:
    """The height stays, the hashes differ, a dropped transaction is gone with its effect."""
    dropped, kept = mint(chain, ALICE, 5), mint(chain, BOB, 6, at=3)
    lines = chain.reorganise(2, [dropped.call.tx_hash or b""])
    before = list(chain.blocks)
    chain.replay([block.call for block in before[1:-2]] + lines)
    assert chain.head.number == before[-1].number
    assert chain.blocks[:2] == before[:2]
    assert {block.hash for block in chain.blocks[2:]}.isdisjoint(block.hash for block in before)
    assert chain.block_of(dropped.call.tx_hash or b"") is None
    assert chain.block_of(kept.call.tx_hash or b"") is chain.blocks[3]
    assert (balance(chain, ALICE), balance(chain, BOB)) == (0, 6)
    again = chain.reorganise(1)
    assert again[0].branch == 2


@pytest.mark.parametrize("depth", [0, 2, 99])
def test_a_reorganisation_ends_above_genesis(chain: Chain, depth: int) -> None:
    """Block 0 cannot be replaced."""
    with pytest.raises(ValueError, match="depth must be 1 to 1"):
        chain.reorganise(depth)


def test_ten_thousand_mints_replay_quickly(chain: Chain) -> None:
    """A restart of a well used sandbox takes about a second; the bound leaves room for a slow machine."""
    data = contract.call_data(MINT, ALICE, 1)
    line = Call(b"", OWNER, token(chain), data, START)
    journal = [genesis(), *(Call(index.to_bytes(32, "big"), *_fields(line)) for index in range(10_000))]
    started = time.process_time()
    chain.replay(journal)
    assert time.process_time() - started < 10
    assert balance(chain, ALICE) == 10_000


def _fields(line: Call) -> tuple[str, str | None, bytes, int]:
    return line.sender, line.to, line.data, line.at_ms
