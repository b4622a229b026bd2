"""The container under load while its workers are replaced: no caller notices, and nothing happens twice."""

import os
import random
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.acceptance.conftest import System
from tests.local.programs import descendants


@pytest.fixture
def container(tmp_path: Path) -> Iterator[System]:
    """The system with its functions in two workers of the container."""
    system = System(tmp_path / "data", "--in-process", "--workers", "2").start()
    yield system
    assert system.stop() == 0


def gateway_processes(system: System) -> list[int]:
    """The container's own process, then its workers, however the kernel has numbered them."""
    assert system.process is not None
    family = descendants(system.process.pid)
    return [pid for pid in family if command_of(pid)[1:3] == ["-m", "serving"]]


def command_of(pid: int) -> list[str]:
    """The words that a process was started with; none of one that has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


class Load:
    """Callers that call until they are told to stop: reads, and one in twenty a mint under a key of its own."""

    def __init__(self, system: System, wallets: list[str]) -> None:
        self._url = f"{system.facts['gateway']}/v1"
        self._headers = {"Authorization": f"Bearer {system.facts['api_key']}"}
        self._wallets = wallets
        self.over = threading.Event()
        self.minted: dict[str, str] = {}
        self.statuses: Counter[int] = Counter()
        self.errors: list[str] = []
        self.seconds: list[float] = []

    def call(self, number: int) -> None:
        """One caller, on a connection that it keeps."""
        chance = random.Random(number)
        with requests.Session() as http:
            http.headers.update(self._headers)
            turn = 0
            while not self.over.is_set():
                turn += 1
                key = f"mint-{number}-{turn}" if chance.random() < 0.05 else None
                started = time.monotonic()
                try:
                    reply = self._one(http, chance, key)
                except requests.RequestException as error:
                    self.errors.append(repr(error))
                    continue
                self.seconds.append(time.monotonic() - started)
                self.statuses[reply.status_code] += 1
                if key is not None and reply.status_code == 202:
                    self.minted[key] = reply.json()["data"]["transaction_id"]

    def _one(self, http: requests.Session, chance: random.Random, key: str | None) -> requests.Response:
        wallet = {"wallet_id": chance.choice(self._wallets)}
        if key is None:
            return http.get(f"{self._url}/wallets/balance", params=wallet, timeout=40)
        return http.post(
            f"{self._url}/tokens/mint", json={**wallet, "amount": "1"}, headers={"Idempotency-Key": key}, timeout=40
        )


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("callers", "seconds"), [(10, 8.0), pytest.param(50, 60.0, marks=pytest.mark.long)], ids=["10", "50"]
)
def test_workers_replaced_under_load(container: System, callers: int, seconds: float) -> None:
    """Every call is answered, and every mint that was accepted is one transfer."""
    wallets = [container.wallet(f"caller{number}@example.com") for number in range(4)]
    load = Load(container, [wallet["wallet_id"] for wallet in wallets])
    before = gateway_processes(container)
    began = time.monotonic()

    def are_replaced() -> bool:
        after = gateway_processes(container)
        assert after[0] == before[0]
        return len(after) == len(before) and set(after[1:]).isdisjoint(before[1:])

    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(load.call, number) for number in range(callers)]
        try:
            time.sleep(seconds / 2)
            os.kill(before[0], signal.SIGHUP)
            time.sleep(seconds / 2)
            container.wait_for(are_replaced, 60)  # a worker ends what it has begun, and keeps connections a while
        finally:
            load.over.set()
        for call in calls:
            call.result(60)
    print(said(load, time.monotonic() - began))  # noqa: T201
    assert load.errors == []
    assert set(load.statuses) <= {200, 202}
    assert load.minted
    for transaction_id in load.minted.values():
        container.reaches(transaction_id, "confirmed", 120)
    token = container.token()
    logs = sum(len(container.provider.transfers_to(token, wallet["address"])) for wallet in wallets)
    assert logs == len(load.minted)


def said(load: Load, seconds: float) -> str:
    """The figures."""
    times: list[Any] = sorted(load.seconds)
    return (
        f"{len(times)} calls in {seconds:.1f} s ({len(load.minted)} mints): {dict(load.statuses)}, "
        f"{len(load.errors)} errors; median {statistics.median(times):.3f} s, p99 {times[int(len(times) * 0.99)]:.3f} s"
    )
