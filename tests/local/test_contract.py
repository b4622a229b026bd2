"""The token contract: what is in the tree is what the compiler makes, and it keeps its rules."""

import json
import shutil
from pathlib import Path

import pytest
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address

from local import contract
from local.chain import ZERO_ADDRESS, Block, Call, Chain
from local.contract import compile as compiling

DEPLOYER, OWNER, ALICE, BOB = (to_checksum_address("0x" + digit * 40) for digit in "1234")


class Token:
    """The contract on a chain of its own."""

    def __init__(self) -> None:
        self.chain = Chain(80002, 1_700_000_000_000)
        code = contract.deployment(contract.TOKEN_NAME, contract.TOKEN_SYMBOL, OWNER, contract.GENESIS)
        self.creation = self.chain.mine(Call(b"\1" * 32, DEPLOYER, None, code, 1_700_000_001_000))
        self.address = str(self.creation.contract_address)

    def send(self, sender: str, signature: str, *arguments: object) -> Block:
        data = contract.call_data(signature, *arguments)
        digest = keccak(bytes([self.chain.head.number]) + data)
        return self.chain.mine(Call(digest, sender, self.address, data, 1_700_000_002_000))

    def number(self, signature: str, *arguments: object) -> int:
        return contract.read_uint(self.chain.ask(self.address, contract.call_data(signature, *arguments)))

    def text(self, signature: str) -> str:
        return contract.read_text(self.chain.ask(self.address, contract.call_data(signature)))


@pytest.fixture
def token() -> Token:
    """A fresh token."""
    return Token()


def test_the_tree_holds_what_the_compiler_makes(tmp_path: Path) -> None:
    """ABI and bytecode equal a new compilation byte for byte, wherever the source lies."""
    source = Path(shutil.copy(compiling.SOURCE, tmp_path))
    assert compiling.compile_source(source) == (compiling.ABI_FILE.read_text(), compiling.BYTECODE_FILE.read_text())


def test_the_compiler_renews_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m local.contract.compile` writes both files."""
    monkeypatch.setattr(compiling, "ABI_FILE", tmp_path / "abi")
    monkeypatch.setattr(compiling, "BYTECODE_FILE", tmp_path / "bin")
    compiling.main()
    assert len(json.loads((tmp_path / "abi").read_text())) > 20
    assert (tmp_path / "bin").read_text().startswith("0x")


def test_it_is_the_erc20_that_the_design_asks_for(token: Token) -> None:
    """GetSmart Token, GETS, 18 decimals; genesis minted to the treasury, which alone owns and mints."""
    assert (token.text("name()"), token.text("symbol()")) == ("GetSmart Token", "GETS")
    assert token.number("decimals()") == 18
    assert token.number("totalSupply()") == token.number("balanceOf(address)", OWNER) == 20_000_000 * 10**18
    assert token.number("is_minter(address)", OWNER) == 1
    assert token.number("is_minter(address)", DEPLOYER) == 0
    events = [contract.read_event(log.topics, log.data) for log in token.creation.logs]
    assert contract.Event("Transfer", {"from": ZERO_ADDRESS, "to": OWNER, "value": str(contract.GENESIS)}) in events


def test_transfers_allowances_and_burns_move_balances(token: Token) -> None:
    """The standard functions do what the standard says."""
    token.send(OWNER, "transfer(address,uint256)", ALICE, 100)
    token.send(ALICE, "approve(address,uint256)", BOB, 30)
    assert not token.send(BOB, "transferFrom(address,address,uint256)", ALICE, BOB, 30).failure
    assert "allowance" in token.send(BOB, "transferFrom(address,address,uint256)", ALICE, BOB, 1).failure
    assert not token.send(ALICE, "burn(uint256)", 20).failure
    assert "exceeds balance" in token.send(ALICE, "burn(uint256)", 51).failure
    assert token.number("balanceOf(address)", ALICE) == 50
    assert token.number("balanceOf(address)", BOB) == 30
    assert token.number("totalSupply()") == contract.GENESIS - 20


def test_only_the_minter_mints(token: Token) -> None:
    """Neither the deployer nor a holder can create tokens."""
    for stranger in (DEPLOYER, ALICE):
        assert token.send(stranger, "mint(address,uint256)", ALICE, 1).failure == "erc20: access is denied"
    assert not token.send(OWNER, "mint(address,uint256)", ALICE, 1).failure


def test_locked_tokens_stay(token: Token) -> None:
    """They count in the balance, cannot be moved or burned, and can be unlocked by the owner."""
    token.send(OWNER, "mint(address,uint256)", ALICE, 10)
    assert not token.send(OWNER, "lock(address,uint256)", ALICE, 6).failure
    locked = "gets: amount exceeds unlocked balance"
    assert token.send(ALICE, "transfer(address,uint256)", BOB, 5).failure == locked
    assert token.send(ALICE, "burn(uint256)", 5).failure == locked
    assert token.send(OWNER, "lock(address,uint256)", ALICE, 5).failure == locked
    token.send(ALICE, "approve(address,uint256)", BOB, 10)
    assert token.send(BOB, "transferFrom(address,address,uint256)", ALICE, BOB, 5).failure == locked
    assert not token.send(ALICE, "transfer(address,uint256)", BOB, 4).failure
    assert "exceeds locked" in token.send(OWNER, "unlock(address,uint256)", ALICE, 7).failure
    block = token.send(OWNER, "unlock(address,uint256)", ALICE, 6)
    event = contract.read_event(block.logs[0].topics, block.logs[0].data)
    assert event == contract.Event("LockedChanged", {"account": ALICE, "locked": "0"})
    assert not token.send(ALICE, "transfer(address,uint256)", BOB, 6).failure


def test_only_the_owner_locks(token: Token) -> None:
    """A stranger can neither lock nor unlock nor mint locked tokens."""
    for signature in ("lock(address,uint256)", "unlock(address,uint256)", "mint_locked(address,uint256)"):
        assert "ownable" in token.send(ALICE, signature, ALICE, 1).failure


def test_minting_can_lock_at_once(token: Token) -> None:
    """Tokens minted locked add up."""
    token.send(OWNER, "mint_locked(address,uint256)", ALICE, 3)
    token.send(OWNER, "mint_locked(address,uint256)", ALICE, 4)
    assert token.number("locked(address)", ALICE) == token.number("balanceOf(address)", ALICE) == 7


def test_other_logs_are_not_read() -> None:
    """A log without topics, or of another event, is no event of ours."""
    assert contract.read_event((), b"") is None
    assert contract.read_event((b"\0" * 32,), b"") is None
