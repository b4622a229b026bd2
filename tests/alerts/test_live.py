"""A real Prometheus beside the whole running system: each alert fires in it when its fault is injected there.

The rules are the real ones in a hurry: they wait for seconds where they wait for minutes, and look back as far.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from bson import Decimal128
from pymongo import MongoClient

from getsmart.amounts import UNIT
from local.ports import free_port
from tests.bluegreen import Load, Town, town
from tests.chainbook import ZERO
from tests.local import programs
from tests.money import MINT_PATH
from tests.receiver import Receiver, receiving
from tests.support import unique
from tests.watch import RULES, alerts, require

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
_NORMAL_SECONDS = 30.0
_SECONDS = 120.0
_HURRY = (
    (r"for: \d+m", "for: 2s"),
    (r"\[5m\]", "[20s]"),
    (r"\[1h\]", "[1m]"),
    (r"> 180", "> 45"),  # the tick asks its neighbours every 30 s
    (r"response_time_average_seconds\{proxy=\"api\"\} > 2", 'response_time_average_seconds{proxy="api"} > 0.5'),
    (r"> (300|600|900)\b", "> 20"),
    (r"> 1200", "> 100000"),  # a backup is made at once, and then aged by hand
)


@dataclass
class Watch:
    """The system, its database by a connection of the test's own, and the Prometheus that looks at it."""

    town: Town
    database: Any
    url: str
    receiver: Receiver

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        found = requests.get(f"{self.url}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
        return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}

    def ever(self, seconds: float) -> set[str]:
        """The alerts that fired within so many seconds."""
        query = f'max_over_time(ALERTS{{alertstate="firing"}}[{round(seconds)}s])'
        found = requests.get(f"{self.url}/api/v1/query", {"query": query}, timeout=10).json()["data"]["result"]
        return {one["metric"]["alertname"] for one in found}

    def wait(self, *names: str, do: Callable[[], object] = lambda: None) -> None:
        """Until each of them has fired, doing something again and again; how long it took is printed."""
        began, missing = time.monotonic(), set(names)
        while missing:
            do()
            for name in sorted(missing & self.firing()):
                print(f"{name} fires after {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201 - a figure
                missing.discard(name)
            assert time.monotonic() - began < _SECONDS, f"silent: {missing}; fire: {self.firing()}"
            time.sleep(0.5)

    def control(self, name: str, change: dict[str, Any]) -> None:
        """Change a singleton."""
        self.database.controls.update_one({"_id": name}, change, upsert=True)

    def mint(self) -> requests.Response:
        """A mint into a wallet."""
        body = {"wallet_id": self.town.wallets[0]["wallet_id"], "amount": "1"}
        return self.town.call("POST", "tokens/mint", json=body, headers={"Idempotency-Key": unique("live")})


@contextmanager
def prometheus(folder: Path, running: Town) -> Iterator[str]:
    """A Prometheus with our rules in a hurry; its URL."""
    require("prometheus")
    rules = RULES.read_text()
    for pattern, fast in _HURRY:
        assert re.search(pattern, rules), pattern
        rules = re.sub(pattern, fast, rules)
    (folder / "rules.yml").write_text(rules)
    public = running.both.there.public.removeprefix("http://")
    jobs = [
        {
            "job_name": "getsmart-api",
            "metrics_path": "/v1/ops/metrics",
            "scrape_interval": "3s",
            "scrape_timeout": "3s",
            "authorization": {"credentials": running.key},
            "static_configs": [{"targets": [public]}],
        },
        {"job_name": "getsmart-gateway", "static_configs": [{"targets": [running.both.there.gateway.internal]}]},
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (folder / "prometheus.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _ready(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        assert process.poll() is None
        try:
            if requests.get(f"{url}/-/ready", timeout=1).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    pytest.fail("Prometheus was not ready")


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """The system with two colours and HAProxy, and a Prometheus."""
    with (
        town() as running,
        receiving() as receiver,
        MongoClient[dict[str, Any]](running.facts["database"], tz_aware=True) as client,
    ):
        database = client["getsmart"]
        database.controls.update_one({"_id": "backup"}, {"$set": {"finished_at": datetime.now(UTC)}}, upsert=True)
        deadline = time.monotonic() + 60
        while "chain_ok_at" not in (database.controls.find_one({"_id": "tick"}) or {}):
            assert time.monotonic() < deadline, "the tick did not run"
            time.sleep(0.2)
        with prometheus(tmp_path, running) as url:
            yield Watch(running, database, url, receiver)


def pids(words: str) -> list[int]:
    """The processes of this test whose command line has the words, but for the leashes."""
    found = []
    for pid in programs.descendants(os.getpid()):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if words in line and "leash.py" not in line:
            found.append(pid)
    assert found, words
    return found


@contextmanager
def stopped(*processes: int) -> Iterator[None]:
    """They stand still, as a machine that hangs does."""
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


def part(watch: Watch, name: str) -> list[int]:
    """The processes of one part of the system."""
    return list(programs.descendants(watch.town.both.parts[name].leash_pid))


def hiccup(processes: list[int], seconds: float) -> None:
    """They stand still for a while, and go on for a moment."""
    with stopped(*processes):
        time.sleep(seconds)
    time.sleep(0.15)


def test_each_alert_fires_in_a_running_system(watch: Watch) -> None:
    """Half a minute under load is silent; then one fault after the other, until each alert has fired."""
    with Load(watch.town, 10, "live") as load:
        time.sleep(_NORMAL_SECONDS)
    print(load.said())  # noqa: T201 - a figure
    assert load.errors == []
    assert watch.ever(_NORMAL_SECONDS + 10) == set()
    database = pids("secantusd-py")
    _books(watch)
    _money(watch)
    _tick_stands_still(watch)
    _neighbours(watch)
    with stopped(*pids("-m local.sandbox")):
        watch.wait("ProviderDown", "ChainDown", "ReconciliationLagging")
    with Load(watch.town, 10, "slow") as load:
        watch.wait("DatabaseSlow", "LatencyHigh", do=lambda: hiccup(database, 2.0))
    with stopped(*database):
        watch.wait("DatabaseUnavailable")
    with stopped(*part(watch, "blue-1"), *part(watch, "green-1")):
        watch.wait("ApiDown")
    fired = watch.ever(900)
    assert fired == alerts().keys()


def _books(watch: Watch) -> None:
    """A reserve is given back twice; a hand changes a sum; both are put right."""
    watch.control("supply", {"$inc": {"available": Decimal128(str(1_000 * UNIT))}})
    watch.control("books", {"$inc": {"treasury": Decimal128("1")}})
    watch.wait("SupplyInvariantBroken", "BooksUnbalanced")
    watch.control("supply", {"$inc": {"available": Decimal128(str(-1_000 * UNIT))}})
    watch.control("books", {"$inc": {"treasury": Decimal128("-1")}})


def _money(watch: Watch) -> None:
    """MetaKeep comes to no end with a mint, and somebody mints past us."""
    watch.town.provider.fault(MINT_PATH, "stuck")
    row = watch.mint().json()["data"]["transaction_id"]
    order = {"sender": ZERO, "recipient": watch.town.wallets[1]["address"], "amount": str(UNIT)}
    watch.town.provider.private("transfers", transfers=[order])
    watch.wait("SubmittedOld", "ReconciliationBreak")
    long_ago = datetime.now(UTC) - timedelta(minutes=16)
    watch.database.transactions.update_one({"_id": row}, {"$set": {"submitted_at": long_ago}})
    watch.wait("UnknownTransactions")


def _tick_stands_still(watch: Watch) -> None:
    """... while an endpoint is too slow for a first attempt, another is gone, a mint waits, and a restore begins."""
    for status, seconds in ((410, 0.0), (200, 1.5)):
        watch.receiver.status, watch.receiver.wait = status, seconds
        made = watch.town.call("POST", "webhooks/endpoints", json={"url": watch.receiver.url})
        assert made.status_code == 201, made.text
        if status == 410:
            watch.mint()
            watch.wait("DeadLetters")
    with stopped(*part(watch, "tick-blue")):
        watch.town.provider.fault(MINT_PATH, "500", 1_000)
        watch.mint()
        watch.wait("QueueOld", "UndeliveredOld", "TickStopped")
        watch.control("recovery", {"$set": {"is_recovering": True, "at": datetime.now(UTC)}})
        watch.control("backup", {"$set": {"finished_at": datetime.now(UTC) - timedelta(days=2)}})
        watch.wait("Recovering", "BackupOld", "ErrorRateHigh", do=watch.mint)
    watch.town.provider.clear()
    watch.control("recovery", {"$set": {"is_recovering": False}})


def _neighbours(watch: Watch) -> None:
    """A row that no step of the tick can read."""
    watch.database.replays.insert_one({"_id": "rpl_broken", "client_id": "nobody", "status": "queued"})
    watch.wait("TickFailing")
    watch.database.replays.delete_one({"_id": "rpl_broken"})
