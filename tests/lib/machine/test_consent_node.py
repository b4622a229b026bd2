"""A transfer with consent and the node: what the chain tells, does not tell yet, or tells wrongly."""

from collections.abc import Callable
from typing import Any

import pytest

from getsmart.machine import consent
from getsmart.services import tick
from tests.consenting import ENDED, MINED, Pair
from tests.consenting import pair as pair  # noqa: PLC0414 - the fixture
from tests.money import QUIET, STATUS_PATH, units
from tests.node import Node, receipt, transfer_log


def test_without_a_node_only_evidence_ends_it(pair: Pair, setting: Callable[..., None]) -> None:
    """Nobody can show that nothing happened: it waits, reports count by MetaKeep alone, a dead denial ends it."""
    setting(CHAIN_RPC_URL=None)
    asked, told, denied = pair.transfer(), pair.transfer(), pair.transfer()
    reported = pair.answer(told)
    pair.bench.time.advance(MINED)
    assert pair.report(told, reported).data["status"] == "confirmed"
    pair.deliver("consent.denied", consentToken=denied.data["consent_token"])
    pair.pass_time(60)
    assert pair.bench.status(denied) == "awaiting_consent"
    pair.pass_time(3600)
    pair.pass_time(3600)
    assert (pair.bench.status(asked), pair.bench.status(denied)) == ("awaiting_consent", "cancelled")


def test_a_node_that_is_silent_claims_nothing(pair: Pair, setting: Callable[..., None]) -> None:
    """503, and no row: without the block of the beginning the end could not be shown."""
    setting(CHAIN_RPC_URL="http://127.0.0.1:9")
    refused = pair.transfer()
    assert (refused.status, refused.code) == (503, "provider_unavailable")
    pair.bench.audit()


def test_a_silent_provider_is_asked_again(pair: Pair, setting: Callable[..., None], pauses: list[float]) -> None:
    """503 for the browser, a later look for the tick; nothing is lost."""
    pair.bench.time.stand()
    asked = pair.transfer()
    reported = pair.answer(asked)
    assert pair.report(asked, reported).status == 200
    pair.bench.time.advance(MINED)
    pair.bench.provider.fault(STATUS_PATH, "500", times=6)
    assert pair.report(asked, reported).code == "provider_unavailable"
    tick.run()
    assert pair.bench.status(asked) == "awaiting_consent"
    pair.bench.provider.clear()
    pair.pass_time(QUIET)
    pair.ends(asked, "confirmed", logs=1)


def test_at_depth_the_chain_must_have_passed_the_end(pair: Pair, setting: Callable[..., None]) -> None:
    """A node that lags proves nothing: the block that counts has to be younger than the end of the time."""
    asked = pair.transfer()
    end = pair.bench.row(asked)["consent_expires_at"].timestamp() + 120
    setting(CONFIRMATION_DEPTH="64")
    block = {"timestamp": hex(int(end) - 1)}
    with Node({"eth_blockNumber": hex(10_000), "eth_getLogs": [], "eth_getBlockByNumber": block}) as node:
        setting(CHAIN_RPC_URL=node.url)
        pair.pass_time(ENDED + 60)
        assert pair.bench.status(asked) == "awaiting_consent"
        spans = [q["params"][0] for q in node.questions if q["method"] == "eth_getLogs"]
        assert len(spans) == -(-(10_000 - pair.bench.row(asked)["consent_from_block"]) // 1_000)
        block["timestamp"] = hex(int(end) + 1)
        pair.pass_time(QUIET)
    pair.ends(asked, "expired", logs=0)


def test_a_transfer_that_lies_too_shallow_waits(pair: Pair, setting: Callable[..., None]) -> None:
    """Found, but not yet at the depth that counts: neither settled nor expired."""
    asked = pair.transfer()
    row = pair.bench.row(asked)
    log = transfer_log(
        pair.bench.sandbox.token_address, pair.bench.wallet["address"], pair.target["address"], units("7")
    )
    block = row["consent_from_block"] + 1
    log |= {"blockNumber": hex(block), "transactionHash": "0x" + "ab" * 32}
    setting(CONFIRMATION_DEPTH="5")
    with Node({"eth_blockNumber": hex(block + 4), "eth_getLogs": [log]}) as node:
        setting(CHAIN_RPC_URL=node.url)
        pair.pass_time(ENDED)
        assert pair.bench.status(asked) == "awaiting_consent"
        node.results["eth_blockNumber"] = hex(block + 5)
        pair.pass_time(QUIET)
    assert pair.bench.status(asked) == "confirmed"


def test_a_completed_report_that_the_node_has_not_seen_waits(pair: Pair, setting: Callable[..., None]) -> None:
    """MetaKeep is ahead of the node: the id stays a candidate."""
    asked = pair.transfer()
    reported = pair.answer(asked)
    pair.bench.time.advance(MINED)
    url = pair.bench.sandbox.rpc_url
    with Node({"eth_getTransactionReceipt": None}) as node:
        setting(CHAIN_RPC_URL=node.url)
        assert pair.report(asked, reported).data["status"] == "awaiting_consent"
    setting(CHAIN_RPC_URL=url)
    pair.pass_time(MINED)
    pair.ends(asked, "confirmed", logs=1)


def test_settled_later_where_the_witness_is_silent_meanwhile(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    """The id is taken, the settling is the tick's."""
    asked = pair.transfer()
    reported = pair.answer(asked)
    pair.bench.time.advance(MINED)
    real, calls = consent.settle.refresh, []

    def silent(row: Any, event: Any = None) -> Any:
        calls.append(row)
        raise consent.ProviderUnavailable("silent")

    monkeypatch.setattr(consent.settle, "refresh", silent)
    assert pair.report(asked, reported).data["status"] == "submitted"
    monkeypatch.setattr(consent.settle, "refresh", real)
    assert calls
    pair.pass_time(1)
    pair.ends(asked, "confirmed", logs=1)


def test_a_node_that_talks_nonsense_moves_nothing(pair: Pair, setting: Callable[..., None]) -> None:
    """A malformed answer of the node moves nothing."""
    asked = pair.transfer()
    with Node({"eth_blockNumber": "0xffff", "eth_getLogs": [{"no": "log"}]}) as node:
        setting(CHAIN_RPC_URL=node.url)
        pair.pass_time(ENDED)
        assert pair.bench.status(asked) == "awaiting_consent"
        node.results["eth_getLogs"] = []
        node.results["eth_getBlockByNumber"] = receipt()
        setting(CONFIRMATION_DEPTH="1")
        pair.pass_time(QUIET)
        assert pair.bench.status(asked) == "awaiting_consent"
