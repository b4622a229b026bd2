"""Warm calls: a read against its bare database commands, a mint against what the database and MetaKeep take of it.

The bare commands are those that the call itself sends, caught by command monitoring and sent again through the driver.
A call is what our code does of it: the platform's own part, the context and the check of the result, is not in it.
A mint cannot be repeated: there the time between each command and its answer, and each request to MetaKeep and its
answer, is summed up within the call.
"""

import contextlib
import io
import os
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import requests
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent, register

from local.bench import cold
from local.bench.measure import Row, Samples, Section, best_of, compared, interleaved, timed
from local.bench.stage import DATABASE, Stage
from serving.worker import anonymous_bytes

_DRIVERS_OWN = frozenset({"lsid", "$clusterTime", "$db", "maxTimeMS", "txnNumber"})
_CALLS = 20  # a sample is so many calls, and the least of so many tries: what others do on the machine only adds
_BEST_OF = 7
_MEGABYTE = 1_048_576
_PAGE = resource.getpagesize()


class Commands(CommandListener):
    """What was sent, and how long the answers took."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.sent: list[dict[str, Any]] = []
        self.seconds = 0.0

    def started(self, event: CommandStartedEvent) -> None:
        """A command leaves."""
        self.sent.append({name: value for name, value in event.command.items() if name not in _DRIVERS_OWN})

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Its answer is there."""
        self.seconds += event.duration_micros / 1_000_000

    def failed(self, event: CommandFailedEvent) -> None:
        """So is a refusal."""
        self.seconds += event.duration_micros / 1_000_000


def run(stage: Stage, folder: Path, rounds: int, progress: Callable[[], object]) -> Section:
    """Measure reads, with and without a rate limit, and mints."""
    from getsmart import mongo

    commands = Commands()
    register(commands)
    mongo.forget()
    wallet = stage.wallet(1)
    stage.mint(wallet, "first")
    reads = {
        "read": stage.event(f"wallet_id={wallet}"),
        "limited read": stage.event(f"wallet_id={wallet}", token=stage.limited),
    }
    with MongoClient[dict[str, Any]](stage.uri, tz_aware=True) as bare, quiet():
        database = bare[DATABASE]
        timers = {}
        for name, event in reads.items():
            stage.call("wallets/balance", event)
            commands.sent.clear()
            stage.call("wallets/balance", event)
            again = partial(_again, database, list(commands.sent))
            timers[name] = best_of(_BEST_OF, timed(often(_CALLS, stage.bare_call("wallets/balance", event))))
            timers[f"{name}, bare"] = best_of(_BEST_OF, timed(often(_CALLS, again)))
        found = interleaved(timers, rounds, progress)
        samples = {name: [one / _CALLS for one in values] for name, values in found.items()}
        samples |= _mints(stage, wallet, commands, rounds * 2)
    rows = [
        compared("read over its bare command", samples["read"], samples["read, bare"], "x bare", (1.25, 1.10)),
        compared("read with rate limit over both", samples["limited read"], samples["limited read, bare"], "x bare"),
        compared("mint over database + MetaKeep", samples["mint"], samples["mint, outside"], "x", (1.30, 1.15)),
        *_memory(stage, folder, wallet),
    ]
    return Section("Warm calls", rows, samples)


def _again(database: Database[dict[str, Any]], commands: list[dict[str, Any]]) -> None:
    for one in commands:
        database.command(one)


def often(number: int, action: Callable[[], object]) -> Callable[[], None]:
    """The action, so many times."""

    def do() -> None:
        for _ in range(number):
            action()

    return do


def _mints(stage: Stage, wallet: str, commands: Commands, number: int) -> Samples:
    """How long mints take, and how much of it is spent outside."""
    outside = [0.0]
    send = requests.Session.send

    def timed_send(self: requests.Session, request: Any, **options: Any) -> requests.Response:
        started = time.perf_counter()
        try:
            return send(self, request, **options)
        finally:
            outside[0] += time.perf_counter() - started

    requests.Session.send = timed_send  # type: ignore[method-assign]
    keys = count()
    found: Samples = {"mint": [], "mint, outside": []}
    try:
        for _ in range(number):
            commands.seconds = outside[0] = 0.0
            started = time.perf_counter()
            stage.mint(wallet, f"bench-{next(keys)}")
            found["mint"].append(time.perf_counter() - started)
            found["mint, outside"].append(commands.seconds + outside[0])
    finally:
        requests.Session.send = send  # type: ignore[method-assign]
    return found


def _memory(stage: Stage, folder: Path, wallet: str) -> Iterator[Row]:
    """What a function holds after a call: its process, and the files that the platform keeps in memory beside it."""
    bed = cold.Bed(folder)
    order = {"wallet_id": wallet, "amount": "1"}
    for name, route, event in (
        ("memory, warm read", "wallets/balance", stage.event(f"wallet_id={wallet}")),
        ("memory, warm mint", "tokens/mint", stage.event(body=order, key="memory")),
    ):
        with cold.Started(bed.packed(route), dict(os.environ)) as function:
            reply = function.call(event["http"])
            if reply["statusCode"] >= 400:
                raise RuntimeError(f"{route} answered {reply['statusCode']}")
            held = resident_bytes(function.pid) / _MEGABYTE
            own = anonymous_bytes(function.pid) / _MEGABYTE
        yield Row(name, f"{held:.0f} MB", held, None, "MB", 80, 50, note=f"{own:.0f} MB of its own")


def resident_bytes(pid: int) -> int:
    """All memory that a process holds, mapped files too."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The functions' log lines go nowhere."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
