"""The second witness: what a node says, and what it fails to say."""

import base64
import contextlib
import os
from typing import Any

import pytest

from getsmart import chain, config
from getsmart.chain import ChainUnavailable, Receipt, TransferLog
from getsmart.errors import Misconfigured
from tests.money import Bench
from tests.node import Node, receipt, transfer_log
from tests.wire import CUT, Wire, free_url, reply

TOKEN, ALICE, BOB = "0x" + "C0" * 20, "0x" + "AA" * 20, "0x" + "BB" * 20
HASH = "0x" + "ab" * 32


@pytest.fixture
def node_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Point the library at a node, of which it knows already which chain it is of; or does not."""
    for name, value in (("CHAIN_ID", "80002"), ("TOKEN_CONTRACT_ADDRESS", TOKEN), ("TREASURY_ADDRESS", ALICE)):
        monkeypatch.setenv(name, value)

    def to(url: str, *, is_known: bool = True) -> None:
        monkeypatch.setenv("CHAIN_RPC_URL", url)
        config.forget()
        if is_known:
            chain._ours().add((os.getpid(), url, 80002))

    yield to
    config.forget()
    chain.forget()


@pytest.mark.parametrize(
    "ask",
    [chain.head, lambda: chain.receipt(HASH), lambda: chain.blocks([1]), lambda: chain.read_transfers(TOKEN, 1, 2)],
)
def test_a_node_of_another_chain_is_not_read(node_at: Any, ask: Any) -> None:
    """It is asked which one, before anything else; its answers to anything else are nobody's business."""
    with Node({"eth_blockNumber": "0x10"}, chain_id="0x89") as node:
        node_at(node.url, is_known=False)
        for _ in range(2):
            with pytest.raises(Misconfigured, match="CHAIN_RPC_URL is a node of chain 137, and CHAIN_ID is 80002"):
                ask()
        assert node.questions == []
        assert chain.chain_id() == 137


def test_which_chain_it_is_of_is_asked_once(node_at: Any) -> None:
    """... in a process, of each node; one that does not say is an outage, and is asked again."""
    with Node({"eth_blockNumber": "0x10", "eth_chainId": None}) as node:
        node_at(node.url, is_known=False)
        with pytest.raises(ChainUnavailable):
            chain.head()
        node.results["eth_chainId"] = "0x13882"
        assert chain.head() == 16
        node.results["eth_chainId"] = "0x1"
        assert chain.head() == 16
        chain.forget()
        with pytest.raises(Misconfigured):
            chain.head()


def test_without_a_url_there_is_no_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node is optional."""
    monkeypatch.delenv("CHAIN_RPC_URL", raising=False)
    config.forget()
    assert not chain.is_configured()


def test_the_head_and_a_receipt_are_read(node_at: Any) -> None:
    """Numbers from hex, addresses in lower case, only ERC-20 Transfers."""
    foreign = {"address": TOKEN, "topics": ["0x" + "11" * 32], "data": "0x", "logIndex": "0x1"}
    of_nft = transfer_log(TOKEN, ALICE, BOB, 7)
    of_nft["topics"].append("0x" + "00" * 32)
    answers = {
        "eth_blockNumber": "0x10",
        "eth_getTransactionReceipt": receipt(foreign, of_nft, transfer_log(TOKEN, ALICE, BOB, 7, index=2), block=9),
    }
    with Node(answers) as node:
        node_at(node.url)
        assert chain.is_configured()
        assert chain.head() == 16
        log = TransferLog(TOKEN.lower(), ALICE.lower(), BOB.lower(), 7, 2)
        assert chain.receipt(HASH) == Receipt(is_success=True, block_number=9, transfers=(log,))
    assert node.questions[1]["params"] == [HASH]


def test_a_reverted_transaction_has_a_receipt_too(node_at: Any) -> None:
    """Mined is not the same as succeeded."""
    with Node({"eth_getTransactionReceipt": receipt(status=0)}) as node:
        node_at(node.url)
        assert chain.receipt(HASH) == Receipt(is_success=False, block_number=5, transfers=())


def test_no_receipt_is_none(node_at: Any) -> None:
    """What is not mined has none."""
    with Node({}) as node:
        node_at(node.url)
        assert chain.receipt(HASH) is None


@pytest.mark.parametrize(
    "malformed",
    [
        {},
        "0x1",
        [],
        7,
        receipt() | {"status": None},
        receipt() | {"blockNumber": "five"},
        receipt() | {"logs": None},
        receipt({"address": TOKEN}),
        receipt({**transfer_log(TOKEN, ALICE, BOB, 1), "data": "0x"}),
        receipt({**transfer_log(TOKEN, ALICE, BOB, 1), "address": None}),
        receipt({**transfer_log(TOKEN, ALICE, BOB, 1), "logIndex": None}),
    ],
)
def test_a_malformed_receipt_is_no_evidence(node_at: Any, malformed: Any) -> None:
    """The node is then as good as away: neither success nor failure is concluded."""
    with Node({"eth_getTransactionReceipt": malformed}) as node:
        node_at(node.url)
        with pytest.raises(ChainUnavailable):
            chain.receipt(HASH)


@pytest.mark.parametrize("result", [None, "ten", 16])
def test_a_malformed_head_is_no_number(node_at: Any, result: Any) -> None:
    """Only a hex string is."""
    with Node({"eth_blockNumber": result}) as node:
        node_at(node.url)
        with pytest.raises(ChainUnavailable):
            chain.head()


@pytest.mark.parametrize("raw", [b"", b"not json", b"[]", b'"x"', b"null", b'{"error":{"code":-32000,"message":"x"}}'])
def test_an_answer_outside_the_protocol_is_an_outage(node_at: Any, raw: bytes) -> None:
    """JSON-RPC errors and nonsense alike."""
    with Node({}, raw=raw) as node:
        node_at(node.url)
        with pytest.raises(ChainUnavailable):
            chain.head()


def test_a_node_that_is_away_is_an_outage(node_at: Any) -> None:
    """Refused, cut off or redirected: 503 for the caller, nothing concluded."""
    node_at(free_url())
    with pytest.raises(ChainUnavailable):
        chain.head()
    for answer in (CUT, reply(307, Location="http://127.0.0.1:9/")):
        with Wire([answer]) as wire:
            node_at(wire.url)
            with pytest.raises(ChainUnavailable):
                chain.head()


def test_the_sandboxs_chain_is_read(bench: Bench) -> None:
    """A real mint has a receipt with one Transfer from the zero address to the wallet."""
    bench.time.stand()
    minted = bench.mint("3")
    assert chain.receipt(minted.data["tx_hash"]) is None
    bench.time.advance(3)
    found = chain.receipt(minted.data["tx_hash"])
    assert found is not None
    assert found.is_success
    assert found.block_number == chain.head()
    (log,) = found.transfers
    assert (log.contract, log.recipient) == (bench.sandbox.token_address.lower(), bench.wallet["address"].lower())
    assert (log.sender, log.amount, log.log_index) == ("0x" + "0" * 40, 3 * 10**18, 0)


def test_a_balance_is_read_from_the_contract(node_at: Any) -> None:
    """balanceOf(address) after a given block, in base units."""
    with Node({"eth_call": "0x" + f"{5:064x}"}) as node:
        node_at(node.url)
        assert chain.balance_of(TOKEN, ALICE, 16) == 5
        node.results["eth_call"] = "0x"
        with pytest.raises(ChainUnavailable):
            chain.balance_of(TOKEN, ALICE, 16)
    call, block = node.questions[0]["params"]
    assert (call["to"], block) == (TOKEN, "0x10")
    assert call["data"] == "0x70a08231" + "0" * 24 + ALICE[2:].lower()


def test_a_kept_connection_that_died_is_replaced(node_at: Any) -> None:
    """After a freeze the node has long hung up: the question is asked again, on a fresh connection, once."""
    answer = b'{"result":"0x1"}'
    kept = reply(200, answer).replace(b"Connection: close\r\n", b"")
    with Wire([kept, reply(200, answer)]) as wire:  # it hangs up after each answer, and only says so with the second
        node_at(wire.url)
        assert [chain.head(), chain.head()] == [1, 1]
    with Wire([kept, CUT]) as wire:
        node_at(wire.url)
        assert chain.head() == 1
        with pytest.raises(ChainUnavailable):
            chain.head()
        assert len(wire.requests) == 2


def test_one_connection_answers_many_questions(node_at: Any) -> None:
    """Kept between questions, also after an answer that was no good; closed when it is forgotten."""
    with Node({"eth_blockNumber": "0x1"}) as node:
        node_at(node.url)
        for result in ("0x1", None, "0x2"):
            node.results["eth_blockNumber"] = result
            with contextlib.suppress(ChainUnavailable):
                chain.head()
        (waiting,) = (idle for (_, url), idle in chain._idle().items() if url == node.url)
        assert len(waiting) == 1
        chain.forget()
        assert chain._idle() == {}


def test_path_query_and_login_of_the_url_are_used(node_at: Any) -> None:
    """Nodes are rented with a key in the path, the query or as a login; the log never shows any of them."""
    with Wire([reply(200, b'{"result":"0x1"}')]) as wire:
        node_at(wire.url.replace("http://", "http://us%40er:p%3Aw@") + "/v2/key?chain=1")  # pragma: allowlist secret
        assert chain.head() == 1
        node_at(wire.url)
        assert chain.head() == 1
    first, second = wire.requests
    assert first.line == "POST /v2/key?chain=1 HTTP/1.1"
    assert first.headers["authorization"] == "Basic " + base64.b64encode(b"us@er:p:w").decode()
    assert second.line == "POST / HTTP/1.1"
    assert "authorization" not in second.headers


def test_a_url_that_is_none_is_an_outage(node_at: Any) -> None:
    """Whatever stands in the variable, the caller is told to come again."""
    for url in ("nonsense", "http://", "http://127.0.0.1:notaport", "https://127.0.0.1:9/"):
        node_at(url)
        with pytest.raises(ChainUnavailable):
            chain.head()
