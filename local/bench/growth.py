"""What reads cost as the collections grow, where the database has an index for them.

One database a size, all in one server, read in turn, so that a machine that drifts drifts for all of them. Filling it
takes minutes: the server does not sync each commit, as nothing is kept, and of the indexes there are those that the
reads go by, built once the rows are there. Without its index a read would be a hundred times over its must. Each client
has twenty rows of a kind whatever the size, spread over all of them: what grows is what others have.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from bson import Decimal128
from pymongo import MongoClient
from pymongo.database import Database

from local.bench.measure import Row, Samples, Section, Series, milliseconds, ratios, timed
from local.bench.stage import Stage
from local.bench.warm import often, quiet
from local.database import EmbeddedDatabase
from ops import keys, migrations

_SIZES = (1_000, 10_000, 100_000, 1_000_000)
_OWN = 20  # rows of a kind that one client has; a sample is a call for each
_BATCH = 1_000
_START = datetime(2026, 1, 1, tzinfo=UTC)
_SCOPES = ("wallets:read", "tokens:read")
_INDEXES: dict[str, tuple[str, ...]] = {
    "wallets": ("email", "address", "client_newest"),
    "accounts": (),
    "entries": ("account_order",),
    "transactions": ("incoming", "client_newest", "origin_newest", "target_newest"),
}

Tell = Callable[[str], object]


def run(stage: Stage, folder: Path, rounds: int, most: int, tell: Tell) -> Section:
    """Reads of one client's rows among so many of others, up to `most` in each collection."""
    sizes = [size for size in _SIZES if size <= most]
    server = EmbeddedDatabase(folder, is_durable=False)
    found: dict[int, Samples] = {}
    try:
        uri = server.start()
        with quiet(), _elsewhere(uri):
            grown = [Grown(stage, uri, size, tell) for size in sizes]
            found = {one.size: {name: [] for name in one.reads} for one in grown}
            for number in range(rounds):
                tell(f"round {number + 1} of {rounds}")
                for name in grown[0].reads:
                    for size, seconds in _beside(grown, name).items():
                        found[size][name].append(seconds)
    finally:
        server.stop()
    least, largest = min(found), max(found)
    names = list(found[least])
    return Section(
        "Growth",
        [_row(name, found[largest][name], found[least][name], largest, least) for name in names],
        series=[Series(name, tuple(_points(found, name))) for name in names],
        axes=("rows", "ms a call"),
    )


def _beside(grown: list["Grown"], name: str) -> dict[int, float]:
    """The shortest of three samples of a read at each size; the sizes take turns, a moment apart."""
    samples = [(one.size, one.sample(name)) for _ in range(3) for one in grown]
    return {one.size: min(seconds for size, seconds in samples if size == one.size) for one in grown}


@contextmanager
def _elsewhere(uri: str) -> Iterator[None]:
    """The functions talk to another server meanwhile."""
    from getsmart import config, mongo

    before = {name: os.environ[name] for name in ("MONGODB_URI", "MONGODB_DATABASE")}
    os.environ["MONGODB_URI"] = uri
    mongo.forget()
    try:
        yield
    finally:
        os.environ.update(before)
        mongo.forget()
        config.forget()


class Grown:
    """One database with so many rows in each collection, and the reads of one of its clients."""

    def __init__(self, stage: Stage, uri: str, size: int, tell: Tell) -> None:
        """Fill it: some minutes for a million rows."""
        self.size = size
        self._stage = stage
        self._name = f"grown{size}"
        migrations.up(uri, self._name)
        with MongoClient[dict[str, Any]](uri) as client:
            _fill(client[self._name], size, tell)
        self.enter()
        self._token = keys.create(client_id=_client(0, size), scopes=_SCOPES, limits=keys.NO_LIMITS).token
        own = range(0, size, size // _OWN)
        wallets = [f"wallet_id={_id('wlt', number)}" for number in own]
        queries: dict[str, tuple[str, list[str]]] = {
            "balance": ("wallets/balance", wallets),
            "wallet by id": ("wallets/get", wallets),
            "wallet by e-mail": ("wallets/get", [f"email={_email(number)}" for number in own]),
            "wallet by address": ("wallets/get", [f"address={_address(number)}" for number in own]),
            "wallets of a client": ("wallets/list", [""]),
            "statement": ("wallets/statement", wallets),
            "transaction": ("tokens/transaction", [f"transaction_id={_id('txn', number)}" for number in own]),
            "transactions of a wallet": ("tokens/transactions", wallets),
            "transactions of a client": ("tokens/transactions", [""]),
        }
        self.reads = {name: partial(self._call, route, self._events(some)) for name, (route, some) in queries.items()}

    def enter(self) -> None:
        """Make it the one that functions read, on the connection that is there."""
        from getsmart import config

        os.environ["MONGODB_DATABASE"] = self._name
        config.forget()

    def sample(self, name: str) -> float:
        """The seconds of twenty calls, one for each row where it is of one row; one call before is for the settings."""
        self.enter()
        self.reads[name]()
        return timed(often(_OWN, self.reads[name]))()

    def _events(self, queries: list[str]) -> Iterator[dict[str, Any]]:
        return cycle([self._stage.event(query, token=self._token) for query in queries])

    def _call(self, route: str, events: Iterator[dict[str, Any]]) -> None:
        self._stage.call(route, next(events))


def _row(name: str, large: list[float], small: list[float], largest: int, least: int) -> Row:
    ratio, spread = ratios(large, small)
    each = [one / _OWN for one in large]
    return Row(f"{name}, {largest:,} rows", milliseconds(each), ratio, spread, f"x {least:,} rows", 1.3, 1.1)


def _points(found: dict[int, Samples], name: str) -> Iterator[tuple[float, float]]:
    for size, samples in found.items():
        yield float(size), sorted(samples[name])[len(samples[name]) // 2] / _OWN * 1_000


def _fill(database: Database[dict[str, Any]], size: int, tell: Tell) -> None:
    """People with a wallet, an account, a transaction and its ledger entry each; batches as the server takes them."""
    kinds: dict[str, Callable[[int, int], dict[str, Any]]] = {
        "wallets": _wallet,
        "accounts": _account,
        "entries": _entry,
        "transactions": _transaction,
    }
    for name, make in kinds.items():
        migrated = database[name].index_information()
        database[name].drop_indexes()
        for first in range(0, size, _BATCH):
            database[name].insert_many([make(number, size) for number in range(first, first + _BATCH)], ordered=False)
            tell(f"{size:,} rows: {first + _BATCH:,} {name}")
        for index in _INDEXES[name]:
            tell(f"{size:,} rows: index {index} of {name}")
            options = {option: value for option, value in migrated[index].items() if option not in {"v", "ns"}}
            database[name].create_index(options.pop("key"), name=index, **options)


def _id(prefix: str, number: int) -> str:
    return f"{prefix}_01BENCH{number:019d}"


def _client(number: int, size: int) -> str:
    return f"client{number % (size // _OWN)}"


def _email(number: int) -> str:
    return f"grown{number}@example.com"


def _address(number: int) -> str:
    return f"0x{number:040x}"


def _at(number: int) -> datetime:
    return _START + timedelta(milliseconds=number)


def _wallet(number: int, size: int) -> dict[str, Any]:
    link: dict[str, Any] = {
        "client_id": _client(number, size),
        "label": None,
        "metadata": {},
        "linked_at": _at(number),
        "audit": [],
    }
    address = _address(number)
    row = {"_id": _id("wlt", number), "email": _email(number), "address": address, "address_key": address}
    return {**row, "created_at": _at(number), "links": [link], "outbox": []}


def _account(number: int, _size: int) -> dict[str, Any]:
    one = Decimal128("1000")
    return {"_id": _id("wlt", number), "posted": one, "available": one, "sequence": 1, "moved_at": _at(number)}


def _entry(number: int, _size: int) -> dict[str, Any]:
    one = Decimal128("1000")
    line = {"_id": f"{_id('txn', number)}:credit", "transaction_id": _id("txn", number), "account": _id("wlt", number)}
    booked = {"at": _at(number), "account_sequence": 1, "balance_after": one}
    return {**line, "direction": "credit", "amount": one, **booked}


def _transaction(number: int, size: int) -> dict[str, Any]:
    wallet = _id("wlt", number)
    row = {"_id": _id("txn", number), "version": 2, "client_id": _client(number, size), "route": "/v1/tokens/mint"}
    known = {"idempotency_key": f"grown-{number}", "metakeep_transaction_id": f"grown-{number}", "kind": "mint"}
    parties = {
        "origin": {"account": "issuance"},
        "target": {"account": wallet, "wallet_id": wallet, "address": _address(number)},
        "amount": Decimal128("1000"),
    }
    state = {
        "status": "confirmed",
        "created_at": _at(number),
        "updated_at": _at(number),
        "timeline": [{"status": "confirmed", "at": _at(number)}],
        "outbox": [],
    }
    return {**row, **known, **parties, **state}
