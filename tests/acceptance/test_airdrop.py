"""An airdrop against the whole running system: accepted in one call, killed three times, paid once, receipt and all."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.acceptance.conftest import System
from tests.acceptance.test_killed import books_balance

_ACCEPT_SECONDS = 20.0


def root_of(leaves: list[bytes]) -> bytes:
    """The Merkle tree hash of RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root_of(leaves[:left]) + root_of(leaves[left:])).digest()


def batch(system: System, batch_id: str, **query: str) -> dict[str, Any]:
    """GET tokens/batch."""
    reply = system.answered(lambda: system.get("tokens/batch", batch_id=batch_id, **query))
    found: dict[str, Any] = reply.json()["data"]
    return found


def listed(system: System, batch_id: str) -> list[dict[str, Any]]:
    """Every row of the batch, page by page."""
    items: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        page = batch(system, batch_id, rows="true", limit="200", **more)["rows"]
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        more = {"cursor": page["next_cursor"]}


def drop_and_kill(system: System, count: int, wallets_count: int, patience: float, *, kills: int = 3) -> None:
    """Accept `count` rows in one call, kill the system on the way, and look at everything in the end."""
    with ThreadPoolExecutor(8) as pool:
        wallets = list(pool.map(lambda n: system.wallet(f"drop{n}@example.com"), range(wallets_count)))
    rows = [{"wallet_id": wallets[n % wallets_count]["wallet_id"], "amount": str(n % 7 + 1)} for n in range(count)]
    body = {"reference": "autumn", "rows": rows}
    started = time.monotonic()
    accepted = system.post("tokens/airdrop", body, "drop-1")
    took = time.monotonic() - started
    assert accepted.status_code == 202, accepted.text
    assert took < _ACCEPT_SECONDS
    batch_id = accepted.json()["data"]["batch_id"]
    every = count / 2_000  # counting a batch reads its rows: asked too often, the questions are most of the work
    for part in range(1, kills + 1):
        system.wait_for(lambda part=part: _begun(system, batch_id) >= count * part // 4, patience, every)
        system.kill()
        system.start()
    repeated = system.answered(lambda: system.post("tokens/airdrop", body, "drop-1"))
    assert repeated.content == accepted.content
    system.wait_for(lambda: batch(system, batch_id)["status"] == "completed", patience, every)
    done = batch(system, batch_id)
    assert done["counts"]["confirmed"] == count
    token = system.token()
    logs = [log for wallet in wallets for log in system.provider.transfers_to(token, wallet["address"])]
    assert len(logs) == count
    assert sum(int(log["data"], 16) for log in logs) == sum(int(row["amount"]) for row in rows) * 10**18
    items = listed(system, batch_id)
    assert [(item["wallet_id"], item["amount"]) for item in items] == [(r["wallet_id"], r["amount"]) for r in rows]
    leaves = [json.dumps(item, separators=(",", ":"), ensure_ascii=False).encode() for item in items]
    assert root_of(leaves).hex() == done["merkle_root"]
    system.wait_for(lambda: books_balance(system), 60)


def _begun(system: System, batch_id: str) -> int:
    reply = system.get("tokens/batch", batch_id=batch_id)
    if reply.status_code != requests.codes.ok:
        return 0  # just restarted, and busy: asked again
    counts = reply.json()["data"]["counts"]
    return int(counts["submitted"] + counts["confirmed"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("count", "kills"), [(120, 1), pytest.param(300, 3, marks=pytest.mark.long)], ids=["120", "300"]
)
def test_rows_killed(fresh_system: System, count: int, kills: int) -> None:
    """So many Transfer logs, the right sums, and a receipt that its rows verify."""
    drop_and_kill(fresh_system, count, 30, 120.0, kills=kills)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_10_000_rows_killed_three_times(fresh_system: System) -> None:
    """The same at the size it is made for, accepted in one call in under 20 s."""
    drop_and_kill(fresh_system, 10_000, 200, 1_500.0)
