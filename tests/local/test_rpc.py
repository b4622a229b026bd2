"""The chain's JSON-RPC port, read with a real client and with raw requests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import requests
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address
from web3 import HTTPProvider, Web3
from web3.exceptions import BlockNotFound, ContractLogicError, TransactionNotFound

from local import contract, rpc
from local.chain import ZERO_ADDRESS, Call, Chain
from local.contract.compile import ABI_FILE
from local.sandbox.http import HttpServer

DEPLOYER, OWNER, ALICE, BOB = (to_checksum_address("0x" + digit * 40) for digit in "1234")
START = 1_700_000_000_000
MINT, BURN = keccak(b"mint"), keccak(b"burn")
TRANSFER = "0x" + contract.TRANSFER_TOPIC.hex()
Json = Any


def word(address: str) -> str:
    """An address as an indexed topic."""
    return "0x" + address[2:].lower().rjust(64, "0")


@pytest.fixture(scope="module")
def chain() -> Chain:
    """Block 1 deploys the token, 2 mints 5 to Alice, 3 is a burn of hers that reverts, 4 is empty."""
    made = Chain(80002, START)
    code = contract.deployment("GetSmart Token", "GETS", OWNER, contract.GENESIS)
    token = made.mine(Call(keccak(b"genesis"), DEPLOYER, None, code, START + 1000)).contract_address
    made.mine(Call(MINT, OWNER, token, contract.call_data("mint(address,uint256)", ALICE, 5), START + 2000))
    made.mine(Call(BURN, ALICE, token, contract.call_data("burn(uint256)", 6), START + 3000))
    made.mine(Call(None, ZERO_ADDRESS, None, b"", START + 4000))
    return made


@pytest.fixture(scope="module")
def token(chain: Chain) -> str:
    """Where the token lies."""
    return str(chain.blocks[1].contract_address)


@pytest.fixture(scope="module")
def url(chain: Chain) -> Iterator[str]:
    """The port."""
    lock = threading.Lock()

    @contextmanager
    def open_chain() -> Iterator[Chain]:
        with lock:
            yield chain

    server = HttpServer("127.0.0.1", 0, 2)
    server.start(rpc.make_app(open_chain))
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def post(url: str) -> Iterator[Callable[[Any], requests.Response]]:
    """Send a JSON value, or bytes as they are."""
    with requests.Session() as session:
        yield lambda body: session.post(url, **{"data" if isinstance(body, bytes) else "json": body}, timeout=10)


@pytest.fixture(scope="module")
def ask(post: Callable[[Any], requests.Response]) -> Callable[..., Json]:
    """One call: the reply."""
    return lambda method, *params: post({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).json()


@pytest.fixture
def web3(url: str) -> Iterator[Web3]:
    """A real client."""
    with closing(requests.Session()) as session:
        yield Web3(HTTPProvider(url, session=session))


def test_a_real_client_reads_the_chain(web3: Web3, chain: Chain) -> None:
    """Network, head, blocks with and without full transactions."""
    assert (web3.eth.chain_id, web3.net.version, web3.eth.block_number) == (80002, "80002", 4)
    assert web3.client_version == rpc.CLIENT_VERSION
    block = web3.eth.get_block(2)
    assert (bytes(block["hash"]), bytes(block["parentHash"])) == (chain.blocks[2].hash, chain.blocks[1].hash)
    assert block["timestamp"] == START // 1000 + 2
    assert [bytes(item) for item in block["transactions"]] == [MINT]  # type: ignore[arg-type]
    full = web3.eth.get_block(chain.blocks[2].hash, full_transactions=True)["transactions"][0]
    assert (full["from"], full["to"], full["nonce"]) == (OWNER, chain.blocks[1].contract_address, 0)  # type: ignore[index]
    assert web3.eth.get_block("latest")["transactions"] == []
    with pytest.raises(BlockNotFound):
        web3.eth.get_block(99)


def test_a_real_client_reads_the_token(web3: Web3, token: str) -> None:
    """Through the ABI in the tree: balances now and then, reverts with their reason, decoded events."""
    coin = web3.eth.contract(address=token, abi=ABI_FILE.read_text())  # type: ignore[call-overload]
    assert coin.functions.balanceOf(ALICE).call() == 5
    assert coin.functions.balanceOf(ALICE).call(block_identifier=1) == 0
    with pytest.raises(ContractLogicError, match="transfer amount exceeds balance"):
        coin.functions.transfer(BOB, 9).call({"from": ALICE})
    (event,) = coin.events.Transfer.get_logs(from_block=0, argument_filters={"receiver": ALICE})
    assert (event["args"]["value"], event["blockNumber"], event["logIndex"]) == (5, 2, 0)


def test_a_real_client_reads_receipts(web3: Web3, token: str) -> None:
    """Success with its logs, a revert without any, a deployment with its address."""
    minted = web3.eth.get_transaction_receipt(MINT)
    assert (minted["status"], minted["to"], len(minted["logs"])) == (1, token, 1)
    assert minted["gasUsed"] > 21_000
    assert int.from_bytes(minted["logsBloom"], "big").bit_count() in range(9, 13)
    reverted = web3.eth.get_transaction_receipt(BURN)
    assert (reverted["status"], reverted["logs"], int.from_bytes(reverted["logsBloom"], "big")) == (0, [], 0)
    deployed = web3.eth.get_transaction_receipt(keccak(b"genesis"))
    assert (deployed["contractAddress"], deployed["to"]) == (token, None)
    assert bytes(web3.eth.get_transaction(BURN)["hash"]) == BURN
    for unknown in (web3.eth.get_transaction, web3.eth.get_transaction_receipt):
        with pytest.raises(TransactionNotFound):
            unknown(b"\0" * 32)


def test_a_real_client_reads_accounts(web3: Web3, token: str) -> None:
    """Nobody has the native coin; code and transaction counts belong to a block."""
    assert web3.eth.get_balance(ALICE) == 0
    assert len(web3.eth.get_code(token)) > 5000
    assert web3.eth.get_code(token, 0) == b""
    assert web3.eth.get_transaction_count(ALICE) == 1
    assert web3.eth.get_transaction_count(ALICE, 2) == 0


@pytest.mark.parametrize(
    ("criteria", "count"),
    [
        ({"fromBlock": "0x0"}, 6),
        ({"fromBlock": "0x0", "toBlock": "0x1"}, 5),
        ({}, 0),
        ({"fromBlock": "0x0", "address": "TOKEN"}, 6),
        ({"fromBlock": "0x0", "address": ["TOKEN", ALICE]}, 6),
        ({"fromBlock": "0x0", "address": []}, 6),
        ({"fromBlock": "0x0", "address": ALICE}, 0),
        ({"fromBlock": "0x0", "topics": [TRANSFER]}, 2),
        ({"fromBlock": "0x0", "topics": [None, word(ZERO_ADDRESS)]}, 3),
        ({"fromBlock": "0x0", "topics": [TRANSFER, None, word(ALICE)]}, 1),
        ({"fromBlock": "0x0", "topics": [TRANSFER, [], [word(ALICE), word(OWNER)]]}, 2),
        ({"fromBlock": "0x0", "topics": [TRANSFER, word(ALICE)]}, 0),
        ({"fromBlock": "0x0", "topics": [TRANSFER, None, None, None]}, 0),
        ({"fromBlock": "earliest", "toBlock": "latest", "topics": None}, 6),
        ({"fromBlock": "0x2", "toBlock": "0x63"}, 1),
        ({"fromBlock": "0x63"}, 0),
        ({"blockHash": "HASH"}, 1),
    ],
)
def test_logs_are_filtered_as_the_standard_says(
    ask: Callable[..., Json], chain: Chain, token: str, criteria: dict[str, Any], count: int
) -> None:
    """Addresses, topics by position with null and alternatives, block spans with both ends, a block hash."""
    text = {"TOKEN": token, "HASH": "0x" + chain.blocks[2].hash.hex()}

    def fill(value: Any) -> Any:
        return [fill(item) for item in value] if isinstance(value, list) else text.get(str(value), value)

    logs = ask("eth_getLogs", {name: fill(value) for name, value in criteria.items()})["result"]
    assert len(logs) == count
    assert all(log["removed"] is False for log in logs)


def test_block_tags_and_objects_are_understood(ask: Callable[..., Json], chain: Chain, token: str) -> None:
    """Names, numbers, and EIP-1898 objects in every place of a block."""
    data = "0x" + contract.call_data("balanceOf(address)", ALICE).hex()
    tags = ("latest", "pending", "safe", "finalized", "0x2", {"blockNumber": "0x2"})
    for tag in (*tags, {"blockHash": "0x" + chain.blocks[2].hash.hex()}):
        assert int(ask("eth_call", {"to": token, "input": data}, tag)["result"], 16) == 5
    assert int(ask("eth_call", {"to": token, "data": data}, "0x1")["result"], 16) == 0
    assert ask("eth_getBlockByNumber", "earliest", False)["result"]["number"] == "0x0"
    assert ask("eth_getBlockByHash", "0x" + "00" * 32, False)["result"] is None
    assert ask("eth_call", {"to": ALICE})["result"] == "0x"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_blockNumber", [1]),
        ("eth_getBalance", []),
        ("eth_getBalance", ["0x12"]),
        ("eth_getBalance", [ALICE, "0x63"]),
        ("eth_getBalance", [ALICE, "newest"]),
        ("eth_getBalance", [ALICE, 3]),
        ("eth_getBalance", [ALICE, {"blockHash": "0x" + "00" * 32}]),
        ("eth_getBlockByNumber", ["latest"]),
        ("eth_getBlockByNumber", ["latest", "yes"]),
        ("eth_getBlockByHash", ["0x00", False]),
        ("eth_getTransactionReceipt", ["hash"]),
        ("eth_getTransactionByHash", [5]),
        ("eth_call", ["to"]),
        ("eth_call", [{"to": None}]),
        ("eth_call", [{"to": ALICE, "data": "0x1"}]),
        ("eth_getLogs", ["all"]),
        ("eth_getLogs", [{"topics": "0x"}]),
        ("eth_getLogs", [{"topics": ["0x12"]}]),
        ("eth_getLogs", [{"address": "0x12"}]),
        ("eth_getLogs", [{"fromBlock": "0x3", "toBlock": "0x2"}]),
        ("eth_getLogs", [{"blockHash": "0x" + "00" * 32}]),
        ("eth_getLogs", [{"blockHash": "0x" + "00" * 32, "fromBlock": "0x0"}]),
        ("eth_chainId", {"named": 1}),
    ],
)
def test_wrong_parameters_are_told(post: Callable[[Any], requests.Response], method: str, params: Json) -> None:
    """Code -32602, never a crash."""
    reply = post({"jsonrpc": "2.0", "id": "x", "method": method, "params": params}).json()
    assert (reply["error"]["code"], reply["id"]) == (-32602, "x")


def test_errors_have_the_codes_of_the_standard(post: Callable[[Any], requests.Response]) -> None:
    """Not JSON, not a request, not a method, an empty batch."""
    assert post(b"{").json()["error"]["code"] == -32700
    for wrong in (5, {"id": 1}, {"jsonrpc": "1.0", "id": 1, "method": "eth_chainId"}, {"jsonrpc": "2.0", "method": 1}):
        assert post(wrong).json()["error"]["code"] == -32600
    assert post([]).json()["error"]["code"] == -32600
    assert post({"jsonrpc": "2.0", "id": 1, "method": "eth_sendTransaction"}).json()["error"]["code"] == -32601


def test_a_revert_is_error_3_with_what_it_returned(ask: Callable[..., Json], token: str) -> None:
    """As public nodes answer."""
    data = "0x" + contract.call_data("burn(uint256)", 1).hex()
    error = ask("eth_call", {"to": token, "from": BOB, "data": data})["error"]
    assert (error["code"], error["message"]) == (3, "execution reverted: erc20: burn amount exceeds balance")
    assert error["data"].startswith("0x08c379a0")


def test_batches_are_answered_in_order(post: Callable[[Any], requests.Response]) -> None:
    """Each with its own id; notifications get no reply, a batch of them none at all."""
    call = {"jsonrpc": "2.0", "method": "eth_chainId"}
    replies = post([call | {"id": 1}, call, call | {"id": 2, "method": "nothing"}, 5]).json()
    assert [(reply["id"], reply.get("result")) for reply in replies] == [(1, "0x13882"), (2, None), (None, None)]
    for silent in (call, [call, call]):
        reply = post(silent)
        assert (reply.status_code, reply.content) == (204, b"")


def test_only_post_is_served(url: str) -> None:
    """A browser learns what to do."""
    reply = requests.get(url, timeout=10)
    assert (reply.status_code, reply.headers["Allow"]) == (405, "POST")
