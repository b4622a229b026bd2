"""Building MetaKeep's requests and reading its replies: pure, so by example."""

import json
from typing import Any

import pytest

from getsmart.amounts import UNIT
from getsmart.metakeep import protocol
from getsmart.metakeep.protocol import ProviderOutage, ProviderRefusal, Submitted, Transfer

COIN = "0x" + "c0" * 20


def test_requests_have_the_documented_bytes() -> None:
    """camelCase, whole tokens as decimal strings, no spaces, no ASCII escapes."""
    assert protocol.mint(COIN, "zoë@example.com", 3 * UNIT // 2) == (
        "/v2/app/coin/mint",
        f'{{"coin":{{"currency":"{COIN}"}},"to":{{"email":"zoë@example.com"}},"amount":"1.5"}}'.encode(),
    )
    assert protocol.burn(COIN, "a@example.com", UNIT) == (
        "/v2/app/coin/burn",
        f'{{"coin":{{"currency":"{COIN}"}},"from":{{"email":"a@example.com"}},"amount":"1"}}'.encode(),
    )
    path, body = protocol.transfer(COIN, protocol.to_address(COIN), 1)
    assert path == "/v2/app/coin/transfer"
    assert json.loads(body) == {
        "coin": {"currency": COIN},
        "to": {"ethAddress": COIN},
        "amount": "0.000000000000000001",
    }
    assert protocol.to_person("a@example.com") == {"email": "a@example.com"}


def test_reads_carry_no_idempotency_key() -> None:
    """A stored reply would never change: wallets and states are asked for anew each time."""
    wallet, developer, status = (
        protocol.get_wallet("a@example.com"),
        protocol.get_developer_wallet(),
        protocol.get_status("an-id"),
    )
    assert (wallet.path, json.loads(wallet.body)) == ("/v3/getWallet", {"user": {"email": "a@example.com"}})
    assert developer.path == "/v3/getDeveloperWallet"
    assert (status.path, json.loads(status.body)) == (protocol.STATUS_PATH, {"transactionId": "an-id"})
    assert {request.idempotency_key for request in (wallet, developer, status)} == {None}


def test_idempotency_keys_tell_every_order_apart() -> None:
    """The same order always has the same key; any part that differs gives another, also across the seams."""
    first = protocol.idempotency_key("client", "/v1/tokens/mint", "key", 0, 1)
    assert first == protocol.idempotency_key("client", "/v1/tokens/mint", "key", 0, 1)
    assert len(first) == 64
    others: list[tuple[str, str, str | dict[str, str], int, int]] = [
        ("clien", "t/v1/tokens/mint", "key", 0, 1),
        ("client", "/v1/tokens/burn", "key", 0, 1),
        ("client", "/v1/tokens/mint", "key2", 0, 1),
        ("client", "/v1/tokens/mint", "key", 1, 1),
        ("client", "/v1/tokens/mint", "key", 0, 2),
        ("client", "/v1/tokens/mint", {"reference": "key"}, 0, 1),
        ("client", "/v1/tokens/mint", '{"reference":"key"}', 0, 1),
        ("client", "/v1/tokens/mint", {"badge_id": "key", "claimant": "key"}, 0, 1),
    ]
    assert len({first, *(protocol.idempotency_key(*other) for other in others)}) == 9


def test_success_is_exactly_200_and_an_object() -> None:
    """Only 200 with a JSON object is content."""
    assert protocol.decipher(200, b'{"status":"SUCCESS"}') == {"status": "SUCCESS"}


@pytest.mark.parametrize("status", [400, 404, 405, 409, 413, 415, 422])
def test_refusals_are_for_good(status: int) -> None:
    """The request itself is wrong: trying again changes nothing."""
    with pytest.raises(ProviderRefusal, match=f"{status} INVALID_REQUEST") as caught:
        protocol.decipher(status, b'{"status":"INVALID_REQUEST"}')
    assert not caught.value.is_ambiguous


@pytest.mark.parametrize("status", [401, 403, 429])
def test_not_processed_is_passing_and_certain(status: int) -> None:
    """Credentials can be mended and limits pass; the request had no effect."""
    with pytest.raises(ProviderOutage) as caught:
        protocol.decipher(status, b'{"status":"UNAUTHORIZED"}')
    assert not caught.value.is_ambiguous


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (500, b"{}"),
        (502, b"<html>"),
        (503, b""),
        (504, b"[]"),
        (201, b'{"status":"QUEUED"}'),
        (302, b""),
        (408, b"{}"),
        (200, b"not json"),
        (200, b"[]"),
        (200, b"\xff"),
        (200, b'"QUEUED"'),
    ],
)
def test_everything_else_may_have_taken_effect(status: int, raw: bytes) -> None:
    """Where the reply does not say, an effect must be assumed possible."""
    with pytest.raises(ProviderOutage) as caught:
        protocol.decipher(status, raw)
    assert caught.value.is_ambiguous


def test_a_long_vendor_status_is_cut() -> None:
    """What strangers wrote does not fill our log."""
    with pytest.raises(ProviderRefusal) as caught:
        protocol.decipher(400, json.dumps({"status": "X" * 1000}).encode())
    assert len(str(caught.value)) < 120


def test_a_submission_is_read_with_either_name_of_its_link() -> None:
    """Older pages call the explorer link transactionUrl. A hash is kept in lower case, as the chain's node has it."""
    reply = {"status": "QUEUED", "transactionId": "id", "transactionHash": "0xAb", "transactionUrl": "https://x"}
    assert protocol.read_submission(reply) == Submitted("id", "0xab", "https://x")
    assert protocol.read_submission({"status": "QUEUED", "transactionId": "id"}) == Submitted("id", None, None)


@pytest.mark.parametrize(
    "reply",
    [{}, {"status": "QUEUED"}, {"status": "QUEUED", "transactionId": ""}, {"status": "SUCCESS", "transactionId": "id"}],
)
def test_a_submission_without_an_id_is_ambiguous(reply: dict[str, Any]) -> None:
    """A 200 that is no QUEUED reply leaves open what happened."""
    with pytest.raises(ProviderOutage) as caught:
        protocol.read_submission(reply)
    assert caught.value.is_ambiguous


def test_a_wallets_address_is_read() -> None:
    """The chain address, or an outage where there is none."""
    assert protocol.read_wallet({"wallet": {"ethAddress": COIN}}) == COIN


@pytest.mark.parametrize(
    "reply", [{}, {"wallet": None}, {"wallet": {}}, {"wallet": {"ethAddress": 7}}, {"wallet": {"ethAddress": "abc"}}]
)
def test_a_wallet_reply_without_an_address_is_an_outage(reply: dict[str, Any]) -> None:
    """No wallet is made of a reply that names no address."""
    with pytest.raises(ProviderOutage):
        protocol.read_wallet(reply)


def _event(**changes: Any) -> dict[str, Any]:
    return {"lambda": COIN.upper(), "name": "Transfer", "args": {"from": "0xAA", "to": "0xBB", "value": "7"}, **changes}


@pytest.mark.parametrize(
    "args",
    [
        {"from": "0xAA", "to": "0xBB", "value": "7"},
        {"_from": "0xAA", "_to": "0xBB", "_value": "7"},
        {"owner": "0xaa", "to": "0xbb", "amount": 7},
        {"sender": "0xaa", "receiver": "0xbb", "value": "7"},
    ],
)
def test_transfers_are_read_by_the_names_of_common_contracts(args: dict[str, Any]) -> None:
    """ABIs name the three arguments differently."""
    status = protocol.read_status({"status": "COMPLETED", "events": [_event(args=args)]})
    assert status.transfers == (Transfer(COIN.lower(), "0xaa", "0xbb", 7),)


@pytest.mark.parametrize(
    "event",
    [
        None,
        "Transfer",
        {},
        _event(name="Approval"),
        _event(args=None),
        _event(args={"from": "0xAA", "to": "0xBB"}),
        _event(args={"from": "0xAA", "to": "0xBB", "value": "seven"}),
        {"name": "Transfer", "args": {"from": "0xAA", "to": "0xBB", "value": "7"}},
    ],
)
def test_events_that_are_no_transfer_are_left_out(event: Any) -> None:
    """A malformed event is no evidence, and no error either."""
    assert protocol.read_status({"status": "COMPLETED", "events": [event]}).transfers == ()


@pytest.mark.parametrize(
    ("word", "state"),
    [("QUEUED", "queued"), ("COMPLETED", "completed"), ("FAILED", "failed"), ("CANCELLED", "cancelled"),
     ("completed", None), ("MINED", None), (None, None)],
)  # fmt: skip
def test_vendor_states_are_translated(word: str | None, state: str | None) -> None:
    """Exactly four are known; anything else is None, and so never final."""
    status = protocol.read_status({"status": word, "events": None, "failureReason": "why", "transactionHash": ""})
    assert (status.state, status.transfers, status.failure_reason, status.tx_hash) == (state, (), "why", None)


@pytest.mark.parametrize(
    ("header", "seconds"), [(None, 0.0), ("3", 3.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0), ("1.5", 0.0), ("٣", 0.0)]
)
def test_retry_after_is_a_whole_number_of_seconds(header: str | None, seconds: float) -> None:
    """Dates and nonsense are ignored."""
    outage = ProviderOutage("x", is_ambiguous=False)
    outage.ask_to_wait(header)
    assert outage.wait_seconds == seconds
