"""`kill -9` at the worst moments: what was answered 202 ends well, once, and the books balance."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.acceptance.conftest import System

pytestmark = pytest.mark.timeout(240)

_MINT = "/v2/app/coin/mint"


def books_balance(system: System) -> bool:
    """I2 and I3 pass."""
    checks = system.health().json()["data"]["checks"]
    return bool(checks["I2"]["status"] == "pass" and checks["I3"]["status"] == "pass")


def is_idle(system: System) -> bool:
    """Nothing waits to be sent or to become final."""
    checks = system.health().json()["data"]["checks"]
    return all(checks[name]["observed"] is None for name in ("oldest_queued", "oldest_submitted"))


@pytest.mark.parametrize("kind", ["hold", "reply_lost"])
def test_killed_between_effect_and_write(fresh_system: System, kind: str) -> None:
    """MetaKeep has minted, we never heard of it: after a restart it is confirmed, with one Transfer log."""
    system = fresh_system
    wallet = system.wallet("killed@example.com")
    body = {"wallet_id": wallet["wallet_id"], "amount": "11"}
    system.provider.fault(_MINT, kind)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(system.post, "tokens/mint", body, "killed-1")
        system.wait_for(lambda: system.provider.read("requests"), 10)
        system.wait_for(lambda: any(r["path"] == _MINT for r in system.provider.read("requests")["requests"]), 10)
        system.kill()
        with contextlib.suppress(requests.RequestException):
            call.result(30)
    system.start()
    system.wait_for(lambda: system.post("tokens/mint", body, "killed-1").status_code == 202, 75)
    transaction_id = system.post("tokens/mint", body, "killed-1").json()["data"]["transaction_id"]
    system.reaches(transaction_id, "confirmed", 40)
    assert len(system.provider.transfers_to(system.token(), wallet["address"])) == 1
    assert system.get("wallets/balance", wallet_id=wallet["wallet_id"]).json()["data"]["posted"] == "11"


def test_killed_under_load(fresh_system: System) -> None:
    """Everything dies in the middle of many mints: each accepted one is final after a restart, and minted once."""
    system = fresh_system
    wallets = [system.wallet(f"load{number}@example.com") for number in range(4)]
    accepted: dict[str, str] = {}

    def mint(number: int) -> None:
        body = {"wallet_id": wallets[number % 4]["wallet_id"], "amount": "1"}
        with contextlib.suppress(requests.RequestException):
            reply = system.post("tokens/mint", body, f"load-{number}")
            if reply.status_code == 202:
                accepted[f"load-{number}"] = reply.json()["data"]["transaction_id"]

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(mint, number) for number in range(200)]
        system.wait_for(lambda: len(accepted) >= 40, 30)
        system.kill()
        for call in calls:
            call.cancel()
    assert 40 <= len(accepted) < 200
    system.start()
    for transaction_id in accepted.values():
        system.reaches(transaction_id, "confirmed", 90)
    token = system.token()
    # A mint whose reply was lost may be among the logs too; it is finished by the tick like any other.
    system.wait_for(lambda: is_idle(system), 90)
    logs = sum(len(system.provider.transfers_to(token, wallet["address"])) for wallet in wallets)
    posted = [system.get("wallets/balance", wallet_id=w["wallet_id"]).json()["data"]["posted"] for w in wallets]
    assert logs == sum(int(amount) for amount in posted)
    assert len(accepted) <= logs <= 200
    assert books_balance(system)
