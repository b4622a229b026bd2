"""`kill -9` at the worst moments: what was answered 202 ends well, once, and the books balance."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.acceptance.conftest import System

pytestmark = pytest.mark.timeout(240)

_MINT = "/v2/app/coin/mint"


def checks(system: System) -> dict[str, Any]:
    """What health says of each part, once it had an answer of the database: without one it has no more to say."""

    def all_of_them() -> dict[str, Any] | None:
        found: dict[str, Any] = system.health().json().get("data", {}).get("checks", {})
        return found if "I2" in found else None

    found: dict[str, Any] = system.wait_for(all_of_them, 60)
    return found


def books_balance(system: System) -> bool:
    """I2 and I3 pass."""
    found = checks(system)
    return bool(found["I2"]["status"] == "pass" and found["I3"]["status"] == "pass")


def is_idle(system: System) -> bool:
    """Nothing waits to be sent or to become final."""
    found = checks(system)
    return all(found[name]["observed"] is None for name in ("oldest_queued", "oldest_submitted"))


def test_killed_between_effect_and_write(fresh_system: System) -> None:
    """MetaKeep has minted, we never heard of it: after a restart each is confirmed, with one Transfer log."""
    system = fresh_system
    kinds = {"hold": "11", "reply_lost": "12"}
    wallets = {kind: system.wallet(f"{kind}@example.com") for kind in kinds}
    bodies = {kind: {"wallet_id": wallets[kind]["wallet_id"], "amount": amount} for kind, amount in kinds.items()}

    def minted() -> int:
        return sum(request["path"] == _MINT for request in system.provider.read("requests")["requests"])

    with ThreadPoolExecutor(2) as pool:
        calls = []
        for number, kind in enumerate(kinds):
            system.provider.fault(_MINT, kind)
            calls.append(pool.submit(system.post, "tokens/mint", bodies[kind], kind))
            system.wait_for(lambda number=number: minted() > number, 10)
        system.kill()
        for call in calls:
            with contextlib.suppress(requests.RequestException):
                call.result(30)
    system.start()
    for kind, body in bodies.items():
        system.wait_for(lambda kind=kind, body=body: system.post("tokens/mint", body, kind).status_code == 202, 75)
        again = system.answered(lambda kind=kind, body=body: system.post("tokens/mint", body, kind))
        transaction_id = again.json()["data"]["transaction_id"]
        system.reaches(transaction_id, "confirmed", 40)
        assert len(system.provider.transfers_to(system.token(), wallets[kind]["address"])) == 1
        assert system.posted(wallets[kind]["wallet_id"]) == kinds[kind]


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
    posted = [system.posted(wallet["wallet_id"]) for wallet in wallets]
    assert logs == sum(int(amount) for amount in posted)
    assert len(accepted) <= logs <= 200
    assert books_balance(system)
