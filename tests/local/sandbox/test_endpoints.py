"""What the endpoints do, and which requests they refuse."""

import uuid
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection

import pytest
from eth_account import Account
from eth_utils.address import is_checksum_address

from local.sandbox import wallets
from tests.local.sandbox.support import BALANCE, BURN, MINT, STATUS, TRANSFER, Caller, Json

ALICE, BOB = "alice@example.com", "bob@example.com"
ZERO = "0x" + "0" * 40


def test_a_wallet_is_the_same_whenever_it_is_asked_for(caller: Caller) -> None:
    """One person, one address, however the e-mail is spelt; real addresses of three networks."""
    first = caller.ok("/v3/getWallet", {"user": {"email": ALICE}})
    again = caller.ok("/v3/getWallet", {"user": {"email": " Alice@Example.com "}, "unused": None})
    assert first == again
    assert first["status"] == "SUCCESS"
    wallet = first["wallet"]
    assert is_checksum_address(wallet["ethAddress"])
    assert len(wallet["solAddress"]) in (43, 44)
    assert wallet["eosAddress"].startswith("EOS")
    assert wallet != caller.ok("/v3/getWallet", {"user": {"email": BOB}})["wallet"]


def test_an_address_belongs_to_a_real_key() -> None:
    """Another implementation of secp256k1 derives the same address from the same key."""
    seed = bytes(32)
    scalar = wallets.private_scalar(seed, "email:alice@example.com")
    assert Account.from_key(scalar.to_bytes(32, "big")).address == wallets.eth_address(seed, "email:alice@example.com")


def test_base58_keeps_leading_zeros() -> None:
    """A zero byte in front is a 1, as in the encoding's definition."""
    assert wallets._base58(b"\0\0\x01\x02") == "115T"


def test_several_wallets_are_those_fetched_before(caller: Caller) -> None:
    """Never fetched users are silently missing; 51 users are too many."""
    wallet = caller.ok("/v3/getWallet", {"user": {"email": ALICE}})["wallet"]
    del wallet["eosAddress"]
    users = [{"email": ALICE}, {"email": BOB}]
    found = caller.ok("/v3/getWallet/multiple", {"users": users})
    assert found == {"status": "SUCCESS", "wallets": [{"user": {"email": ALICE}, "wallet": wallet}]}
    many = [{"email": f"user{number}@example.com"} for number in range(51)]
    assert caller.refused("/v3/getWallet/multiple", {"users": many}) == (400, "TOO_MANY_USERS_REQUESTED")
    assert caller.ok("/v3/getWallet/multiple", {"users": many[:50]})["wallets"] == []


def test_the_developer_wallet_is_the_treasury(caller: Caller) -> None:
    """It needs no body and holds the genesis supply."""
    path = "/v3/getDeveloperWallet"
    reply = caller.send(path, b"", caller.headers(path, b"", None)).json()
    assert reply["wallet"]["ethAddress"] == caller.facts["treasury_address"]
    body = {
        "coins": {"currencies": [caller.facts["token_address"]]},
        "of": {"ethAddress": caller.facts["treasury_address"]},
    }
    token = caller.ok(BALANCE, body)["balances"][0]
    assert token == {
        "currency": caller.facts["token_address"].lower(),
        "balance": "20000000",
        "name": "GetSmart Token",
        "symbol": "GETS",
        "locked": "0",
    }


def test_a_mint_is_queued_then_mined_after_its_time(caller: Caller) -> None:
    """The id and hash are known at once; status, event and balance appear with the block."""
    queued = caller.mint(ALICE, "12.5")
    assert queued["status"] == "QUEUED"
    assert uuid.UUID(queued["transactionId"]).version == 4
    link = f"https://amoy.polygonscan.com/tx/{queued['transactionHash']}"
    assert queued["transactionChainScanUrl"] == link
    pending = {"transactionHash": queued["transactionHash"], "transactionChainScanUrl": link}
    assert caller.status(queued["transactionId"]) == {"status": "QUEUED", "events": [], **pending}
    assert caller.balance(ALICE) == "0"
    caller.tell("/clock", advance_ms=2000)
    args = {"from": ZERO, "to": caller.address(ALICE), "value": "12500000000000000000"}
    event = {"lambda": caller.facts["token_address"], "name": "Transfer", "args": args}
    assert caller.status(queued["transactionId"]) == {"status": "COMPLETED", "events": [event], **pending}
    assert caller.balance(ALICE) == "12.5"


def test_without_delay_it_is_mined_with_the_reply(start: Callable[..., Caller]) -> None:
    """The reply still says QUEUED, the next status call says COMPLETED."""
    caller = start(mine_after_ms=0)
    queued = caller.mint(ALICE)
    assert queued["status"] == "QUEUED"
    assert caller.status(queued["transactionId"])["status"] == "COMPLETED"


def test_the_treasury_pays_a_transfer_without_from(caller: Caller) -> None:
    """To a person or to an address."""
    target = "0x" + "ab" * 20
    for party in ({"email": ALICE}, {"ethAddress": target}):
        queued = caller.ok(TRANSFER, {"coin": caller.coin(), "to": party, "amount": "3"})
        caller.tell("/clock", advance_ms=2000)
        args = caller.status(queued["transactionId"])["events"][0]["args"]
        assert args["from"] == caller.facts["treasury_address"]
        assert args["to"].lower() == (party.get("ethAddress") or caller.address(ALICE)).lower()
    assert caller.balance(ALICE) == "3"


def test_a_burn_destroys_the_holders_tokens(caller: Caller) -> None:
    """It needs no consent; its event goes to the zero address."""
    caller.fund(ALICE)
    queued = caller.ok(BURN, {"coin": caller.coin(), "from": {"email": ALICE}, "amount": "4"})
    caller.tell("/clock", advance_ms=2000)
    args = caller.status(queued["transactionId"])["events"][0]["args"]
    assert args == {"from": caller.address(ALICE), "to": ZERO, "value": str(4 * 10**18)}
    assert caller.balance(ALICE) == "6"


def test_more_than_the_balance_is_accepted_and_fails_on_chain(caller: Caller) -> None:
    """Insufficient balance is no API error: the contract reverts, and its reason is told."""
    queued = caller.ok(BURN, {"coin": caller.coin(), "from": {"email": ALICE}, "amount": "4"})
    caller.tell("/clock", advance_ms=2000)
    view = caller.status(queued["transactionId"])
    assert (view["status"], view["events"]) == ("FAILED", [])
    assert view["failureReason"] == "erc20: burn amount exceeds balance"


def test_locked_coins_count_but_do_not_move(caller: Caller) -> None:
    """Lock, unlock and a mint that locks."""
    holder = {"coin": caller.coin(), "from": {"email": ALICE}}
    caller.ok(MINT, {"coin": caller.coin(), "to": {"email": ALICE}, "amount": "10", "locked": True})
    caller.tell("/clock", advance_ms=2000)
    failed = caller.ok(BURN, holder | {"amount": "1"})
    caller.tell("/clock", advance_ms=2000)
    assert "unlocked balance" in caller.status(failed["transactionId"])["failureReason"]
    caller.ok("/v2/app/coin/unlock", holder | {"amount": "4"})
    caller.tell("/clock", advance_ms=2000)
    locked = caller.ok("/v2/app/coin/lock", holder | {"amount": "1"})
    caller.tell("/clock", advance_ms=2000)
    assert caller.status(locked["transactionId"])["events"][0]["name"] == "LockedChanged"
    body = {"coins": {"currencies": [caller.facts["token_address"]]}, "of": {"email": ALICE}}
    view = caller.ok(BALANCE, body)["balances"][0]
    assert (view["balance"], view["locked"]) == ("10", "7")


def test_a_currency_is_known_at_once_and_usable_when_mined(caller: Caller) -> None:
    """createCurrency gives the address of a contract of the app's own."""
    reply = caller.ok("/v2/app/coin/createCurrency", {"coin": {"name": "Badge Coin", "symbol": "BDG"}})
    coin, currency = {"currency": reply["currency"].lower()}, reply["currency"]
    of_alice = {"coins": {"currencies": [currency]}, "of": {"email": ALICE}}
    assert caller.refused(BALANCE, of_alice) == (400, "INVALID_REQUEST")
    caller.tell("/clock", advance_ms=2000)
    assert caller.status(reply["transactionId"])["status"] == "COMPLETED"
    caller.ok(MINT, {"coin": coin, "to": {"email": ALICE}, "amount": "2"})
    caller.tell("/clock", advance_ms=2000)
    view = caller.ok(BALANCE, of_alice)["balances"][0]
    assert (view["balance"], view["name"], view["symbol"]) == ("2", "Badge Coin", "BDG")
    other = caller.ok("/v2/app/coin/createCurrency", {"coin": {"name": "Other", "symbol": "OTH"}})
    assert other["currency"] != currency


def test_a_call_before_the_currency_exists_fails(caller: Caller) -> None:
    """A cancelled creation leaves an address without a contract."""
    caller.tell("/faults", path="/v2/app/coin/createCurrency", kind="cancelled")
    reply = caller.ok("/v2/app/coin/createCurrency", {"coin": {"name": "Never", "symbol": "NVR"}})
    queued = caller.ok(MINT, {"coin": {"currency": reply["currency"]}, "to": {"email": ALICE}, "amount": "2"})
    caller.tell("/clock", advance_ms=2000)
    assert caller.status(queued["transactionId"])["failureReason"] == "there is no contract at this address yet"


def test_the_native_coin_has_a_balance_too(caller: Caller) -> None:
    """Polygon's own coin is asked for by its fixed address; nobody has any here."""
    native = "0x0000000000000000000000000000000000001010"
    view = caller.ok(BALANCE, {"coins": {"currencies": [native]}, "of": {"email": ALICE}})["balances"][0]
    assert (view["currency"], view["balance"]) == (native, "0")


GOOD: Json = {"coin": {"currency": "TOKEN"}, "to": {"email": ALICE}, "amount": "1"}


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"to": {"email": ALICE, "phone": "1"}},
        {"to": {}},
        {"to": {"email": ALICE, "ethAddress": "0x" + "ab" * 20}},
        {"to": {"ethAddress": "0x12"}},
        {"to": {"ethAddress": "0xABababababababababababababababababababab"}},
        {"to": ALICE},
        {"coin": None},
        {"coin": {"currency": "0x" + "ab" * 20}},
        {"coin": {"currency": 5}},
        {"amount": 1},
        {"amount": "0"},
        {"amount": "-1"},
        {"amount": "1e3"},
        {"amount": "1,5"},
        {"amount": ".5"},
        {"amount": "1."},
        {"amount": "٣"},
        {"amount": "0.0000000000000000001"},
        {"amount": "9" * 70},
        {"locked": "yes"},
    ],
)
def test_a_malformed_mint_is_refused(caller: Caller, change: Json) -> None:
    """Unknown fields, wrong types and impossible values are INVALID_REQUEST, and nothing is queued."""
    body = GOOD | {"coin": caller.coin()} | change
    assert caller.refused(MINT, body, "a-key") == (400, "INVALID_REQUEST")
    assert caller.see("/info")["transactions"] == {}


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b"null", b'"text"'])
def test_a_body_that_is_no_object_of_the_shape_is_refused(caller: Caller, raw: bytes) -> None:
    """Whatever the bytes are, the answer is INVALID_REQUEST with a reason for people in a header."""
    reply = caller.send(MINT, raw, caller.headers(MINT, raw, None))
    assert (reply.status_code, reply.json()) == (400, {"status": "INVALID_REQUEST"})
    assert reply.headers["X-Sandbox-Reason"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v3/getWallet", {"user": {"email": "nobody"}}, "INVALID_EMAIL"),
        ("/v3/getWallet", {"user": {"email": "a b@example.com"}}, "INVALID_EMAIL"),
        ("/v3/getWallet", {"user": {"email": f"{'a' * 60}@{'b' * 200}.com"}}, "INVALID_EMAIL"),
        ("/v3/getWallet", {"user": {}}, "INVALID_REQUEST"),
        ("/v3/getWallet/multiple", {"users": [{"email": "nobody"}]}, "INVALID_EMAIL"),
        (STATUS, {"transactionId": "unknown"}, "INVALID_REQUEST"),
        (BALANCE, {"coins": {"currencies": []}, "of": {"email": ALICE}}, "INVALID_REQUEST"),
        (BALANCE, {"coins": {"currencies": ["0x" + "ab" * 20]}, "of": {"email": ALICE}}, "INVALID_REQUEST"),
        ("/v2/app/coin/createCurrency", {"coin": {"name": "N" * 26, "symbol": "OK"}}, "INVALID_REQUEST"),
        ("/v2/app/coin/createCurrency", {"coin": {"name": "Name", "symbol": ""}}, "INVALID_REQUEST"),
        (BURN, {"coin": {"currency": ZERO}, "holder": {"email": ALICE}, "amount": "1"}, "INVALID_REQUEST"),
    ],
)
def test_other_requests_are_refused_with_their_status(caller: Caller, path: str, body: Json, status: str) -> None:
    """The words are those of the provider's error table."""
    assert caller.refused(path, body) == (400, status)


def test_unknown_paths_and_methods_have_answers(caller: Caller) -> None:
    """404 and 405 in the provider's form, on a connection that stays usable."""
    base = caller.facts["base_url"]
    assert caller.session.post(f"{base}/v2/app/nothing", data=b"x" * 100_000).json() == {"status": "NOT_FOUND"}
    reply = caller.session.get(base + MINT)
    assert (reply.status_code, reply.json()) == (405, {"status": "METHOD_NOT_ALLOWED"})


def test_connections_are_kept_alive(caller: Caller) -> None:
    """A client may send many calls over one connection."""
    headers = caller.headers("/v3/getDeveloperWallet", b"", None)
    connection = HTTPConnection(caller.facts["base_url"].removeprefix("http://"), timeout=10)
    with closing(connection):
        for _ in range(3):
            connection.request("POST", "/v3/getDeveloperWallet", b"", headers)
            first = connection.sock
            assert connection.getresponse().read()
            assert connection.sock is first
