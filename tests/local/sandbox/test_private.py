"""The private paths that are not tested with what they steer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from local.sandbox import Sandbox
from local.sandbox.server import make_app
from tests.local.sandbox.support import MINT, Caller, Json

ALICE, BOB = "alice@example.com", "bob@example.com"


def test_info_tells_public_facts_only(caller: Caller) -> None:
    """All that a ready line says, but no secret."""
    info = caller.see("/info")
    for name, value in caller.facts.items():
        if name != "api_secret":
            assert info[name] == value
    assert caller.facts["api_secret"] not in str(info)


def test_the_clock_moves_forward_only(caller: Caller) -> None:
    """It tells where it is; a step back is refused."""
    before = caller.see("/info")["now_ms"]
    moved = caller.tell("/clock", advance_ms=5000)
    assert moved["offset_ms"] == 5000
    assert moved["now_ms"] >= before + 5000
    assert caller.private("POST", "/clock", {"advance_ms": -1}).status_code == 400
    assert caller.private("POST", "/clock", {"advance_ms": "5"}).status_code == 400
    assert caller.private("POST", "/clock", {}).status_code == 400


def test_the_rpc_port_reads_the_same_world(caller: Caller) -> None:
    """What is due is mined there too, before the head is told."""
    caller.tell("/faults", path=MINT, kind="failed")
    caller.fund(ALICE)
    question = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["latest", True]}
    block = caller.session.post(caller.facts["rpc_url"], json=question, timeout=10).json()["result"]
    assert (block["number"], block["transactions"][0]["from"]) == ("0x2", caller.facts["treasury_address"].lower())


def test_it_is_a_context_manager(tmp_path: Path) -> None:
    """Inside it runs, outside its ports are free again."""
    with Sandbox(tmp_path) as sandbox:
        assert requests.get(sandbox.base_url + "/_sandbox/info", timeout=10).json()["chain_id"] == sandbox.chain_id
    with pytest.raises(requests.ConnectionError):
        requests.get(sandbox.base_url, timeout=10)


def test_requests_can_be_read_from_a_point_on(caller: Caller) -> None:
    """Each call is listed once, refused ones too; private ones are not."""
    caller.address(ALICE)
    seen = caller.see("/requests")["requests"]
    caller.send(MINT, b"", {})
    later = caller.see(f"/requests?after={seen[-1]['seq']}")["requests"]
    assert [(item["path"], item["httpStatus"], item["replayed"]) for item in later] == [(MINT, 401, False)]


@pytest.mark.parametrize(
    ("order", "balances"),
    [
        ({"depth": 2}, ("0", "0")),
        ({"depth": 1}, ("10", "0")),
        ({"depth": 2, "keep": ["alice"]}, ("10", "0")),
        ({"depth": 2, "drop": ["alice"]}, ("0", "20")),
        ({"depth": 2, "drop": []}, ("10", "20")),
    ],
)
def test_a_reorganisation_can_be_ordered(caller: Caller, order: Json, balances: tuple[str, str]) -> None:
    """Of the newest blocks all transactions are dropped, or all but some, or only some."""
    hashes = {"alice": caller.mint(ALICE, "10")["transactionHash"]}
    caller.tell("/clock", advance_ms=2000)
    caller.fund(BOB, "20")
    named = {name: [hashes[item] for item in value] for name, value in order.items() if isinstance(value, list)}
    reply = caller.tell("/reorg", **(order | named))
    assert reply["head"] == caller.see("/info")["block_number"] == 3
    assert (caller.balance(ALICE), caller.balance(BOB)) == balances


@pytest.mark.parametrize(
    "order", [{"depth": 0}, {"depth": 1}, {"depth": 1, "keep": [], "drop": []}, {"depth": 1, "drop": ["0xzz"]}, {}]
)
def test_an_impossible_reorganisation_is_refused(caller: Caller, order: Json) -> None:
    """The block with the token stays, whatever is asked."""
    assert caller.private("POST", "/reorg", order).status_code == 400
    assert caller.see("/info")["block_number"] == 1


def test_an_unknown_webhook_mode_is_refused(caller: Caller) -> None:
    """With a clear word."""
    reply = caller.private("POST", "/webhooks", {"mode": "louder"})
    assert (reply.status_code, "mode" in reply.json()["message"]) == (400, True)


def test_a_crash_inside_is_a_500_and_rolls_everything_back(
    start: Callable[..., Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Database and chain stay in step, also when something breaks between the block and the commit."""
    apps: list[Any] = []
    monkeypatch.setattr("local.sandbox.server.make_app", lambda *args: apps.append(args) or make_app(*args))
    caller = start(mine_after_ms=0)
    caller.mint(ALICE)
    world = apps[0][0]
    with monkeypatch.context() as broken:
        broken.setattr("local.sandbox.events.publish", _break)
        assert caller.refused(MINT, {"coin": caller.coin(), "to": {"email": ALICE}, "amount": "1"}, "key")[0] == 500
        moved = caller.private("POST", "/clock", {"advance_ms": 7})
    assert moved.json()["offset_ms"] == 7
    assert world.chain.head.number == 2
    assert caller.balance(ALICE) == "10"
    assert caller.ok(MINT, {"coin": caller.coin(), "to": {"email": ALICE}, "amount": "1"}, "key")
    assert caller.balance(ALICE) == "11"


def _break(*_: object) -> None:
    raise RuntimeError("broken on purpose")
