"""The product's story over HTTP, from a stranger's first call to the balance on chain."""

import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.acceptance.conftest import System
from tests.support import unique

pytestmark = pytest.mark.timeout(300)
SERVE = ()  # as a stranger starts it: functions isolated


@pytest.fixture
def wallet(running: System) -> dict[str, Any]:
    """A fresh wallet."""
    return running.wallet(f"{unique('walker')}@example.com")


@pytest.mark.parametrize("seconds", [60.0, pytest.param(5.0, marks=pytest.mark.long)], ids=["60", "5"])
def test_badge_claim_becomes_gets_on_chain(running: System, wallet: dict[str, Any], seconds: float) -> None:
    """Claimed, confirmed in under 5 s through the signed webhook, and the chain says what the books say.

    Beside other tests the five seconds would be about the machine, which has just started the system.
    """
    body = {"wallet_id": wallet["wallet_id"], "badge_claim": {"badge_id": "rust-101", "claimant": unique("ada")}}
    started = time.monotonic()
    key = unique("claim")
    minted = running.answered(lambda: running.post("tokens/mint", body, key=key))
    assert minted.status_code == 202
    confirmed = running.reaches(minted.json()["data"]["transaction_id"], "confirmed", seconds)
    assert time.monotonic() - started < seconds
    assert confirmed["block_number"] >= 1
    assert running.posted(wallet["wallet_id"]) == "1000"
    assert running.provider.balance_of(running.token(), wallet["address"]) == 1000 * 10**18

    def is_noted() -> bool:  # by the sandbox, once it has our answer
        deliveries = running.provider.read("webhooks")["deliveries"]
        return any(delivery["transactionId"] == confirmed["metakeep_transaction_id"] for delivery in deliveries)

    running.wait_for(is_noted, 60)


def test_same_key_same_bytes(running: System, wallet: dict[str, Any]) -> None:
    """A replay is the stored reply, byte for byte; the request id differs."""
    body, key = {"wallet_id": wallet["wallet_id"], "amount": "2.5"}, unique("replay")
    first, second = (running.post("tokens/mint", body, key=key) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.content == second.content
    assert [reply.headers["Idempotent-Replayed"] for reply in (first, second)] == ["false", "true"]
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]


def test_32_parallel_mints_under_one_key_mint_once(running: System, wallet: dict[str, Any]) -> None:
    """One transaction, one Transfer log; every caller is answered 202 or told that the first still runs.

    Half of them start a process each: who is told to come again for that, does.
    """
    body, key = {"wallet_id": wallet["wallet_id"], "amount": "7"}, unique("parallel")

    def call(_: int) -> requests.Response:
        return running.answered(lambda: running.post("tokens/mint", body, key=key), 90)

    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(call, range(32)))
    codes = {reply.status_code for reply in replies}
    assert codes <= {202, 409}, codes
    accepted = {reply.content for reply in replies if reply.status_code == 202}
    assert len(accepted) == 1
    assert {r.json()["error"]["code"] for r in replies if r.status_code == 409} <= {"idempotency_in_progress"}
    again = running.answered(lambda: running.post("tokens/mint", body, key=key))
    assert {again.content} == accepted
    running.reaches(again.json()["data"]["transaction_id"], "confirmed")
    assert len(running.provider.transfers_to(running.token(), wallet["address"])) == 1


def test_treasury_transfer_and_burn(running: System, wallet: dict[str, Any]) -> None:
    """A transfer from the treasury arrives, a burn of part of it leaves the rest, on chain and in the books."""
    to_wallet = {"to_wallet_id": wallet["wallet_id"], "amount": "10", "reason": "prize"}
    key = unique("pay")
    paid = running.answered(lambda: running.post("tokens/transfer", to_wallet, key=key)).json()["data"]
    running.reaches(paid["transaction_id"], "confirmed")
    burn = {"wallet_id": wallet["wallet_id"], "amount": "4", "reason": "mistake"}
    burned = running.answered(lambda: running.post("tokens/burn", burn, key=f"{key}-burn")).json()["data"]
    running.reaches(burned["transaction_id"], "confirmed")
    found = running.answered(lambda: running.get("wallets/balance", wallet_id=wallet["wallet_id"]))
    balance = found.json()["data"]
    assert (balance["posted"], balance["available"]) == ("6", "6")
    assert running.provider.balance_of(running.token(), wallet["address"]) == 6 * 10**18


def test_health_has_every_check(running: System) -> None:
    """200 with each check, once the tick has looked around."""
    health = running.health()
    assert health.status_code == 200
    names = {
        "database",
        "provider",
        "chain",
        "oldest_queued",
        "oldest_submitted",
        "tick_age",
        "I2",
        "I3",
        "I7",
        "oldest_undelivered",
        "money",
    }
    assert set(health.json()["data"]["checks"]) == names


def test_forged_webhook_is_refused(running: System) -> None:
    """A delivery without a genuine signature is 401 and says no more."""
    forged = requests.post(f"{running.facts['gateway']}/v1/webhooks/metakeep", json={"type": "x"}, timeout=10)
    assert (forged.status_code, forged.json()["error"]["code"]) == (401, "signature_invalid")


def test_curl_lines_of_the_readme(running: System, repository: Path) -> None:
    """What README tells to type works as it stands there."""
    blocks = re.findall(r"```sh\n(curl.*?)```", (repository / "README.md").read_text(), re.DOTALL)
    commands = blocks[0].strip().split("\n\n")
    assert len(commands) == 4
    names = {"API": running.facts["gateway"] + "/v1", "KEY": running.facts["api_key"]}
    answers = []
    for command in commands:
        done = subprocess.run(
            ["sh", "-c", command], env=names | {"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
        )
        assert '"status":"success"' in done.stdout, (command, done.stdout, done.stderr)
        answers.append(done.stdout)
        for name, form in (("WALLET_ID", r"wlt_[0-9A-Z]{26}"), ("TRANSACTION_ID", r"txn_[0-9A-Z]{26}")):
            if found := re.search(form, done.stdout):
                names[name] = found.group()
