"""What reads cost as the collections grow, where the database has an index for them."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from bson import Decimal128
from pymongo import MongoClient

from local.bench.measure import Row, Samples, Section, Series, best_of, interleaved, milliseconds, ratios, timed
from local.bench.stage import DATABASE, Stage
from local.bench.warm import often, quiet

_SIZES = (1_000, 10_000, 100_000, 1_000_000)
_CALLS = 20
_CHUNK = 5_000
_START = datetime(2026, 1, 1, tzinfo=UTC)


def run(stage: Stage, rounds: int, most: int, progress: Callable[[], object]) -> Section:
    """Reads of the oldest wallet with so many others beside it, up to `most`."""
    wallet = stage.wallet(0)
    stage.mint(wallet, "growth")
    events = {
        "wallets/balance": stage.event(f"wallet_id={wallet}"),
        "wallets/get": stage.event(f"wallet_id={wallet}"),
        "wallets/statement": stage.event(f"wallet_id={wallet}"),
        "tokens/transactions": stage.event(f"wallet_id={wallet}"),
    }
    found: dict[int, Samples] = {}
    with MongoClient[dict[str, Any]](stage.uri) as client, quiet():
        done = 0
        for size in (one for one in _SIZES if one <= most):
            for first in range(done, size, _CHUNK):
                _insert(client[DATABASE], first, min(first + _CHUNK, size))
                progress()
            done = size
            timers = {
                route: best_of(3, timed(often(_CALLS, partial(stage.call, route, event))))
                for route, event in events.items()
            }
            found[size] = interleaved(timers, rounds)
    least, largest = min(found), max(found)
    return Section(
        "Growth",
        [_row(route, found[largest][route], found[least][route], largest, least) for route in events],
        series=[Series(route, tuple(_points(found, route))) for route in events],
        axes=("rows", "ms a call"),
    )


def _row(route: str, large: list[float], small: list[float], largest: int, least: int) -> Row:
    ratio, spread = ratios(large, small)
    each = [one / _CALLS for one in large]
    return Row(f"{route} at {largest:,} rows", milliseconds(each), ratio, spread, f"x {least:,} rows", 1.3, 1.1)


def _points(found: dict[int, Samples], route: str) -> Iterator[tuple[float, float]]:
    for size, samples in found.items():
        yield float(size), sorted(samples[route])[len(samples[route]) // 2] / _CALLS * 1_000


def _insert(database: Any, first: int, last: int) -> None:
    """People with a wallet, a ledger entry and an account each, a transaction for each tenth."""
    numbers = range(first, last)
    database.wallets.insert_many([_wallet(number) for number in numbers], ordered=False)
    database.accounts.insert_many([_account(number) for number in numbers], ordered=False)
    database.entries.insert_many([_entry(number) for number in numbers], ordered=False)
    database.transactions.insert_many([_transaction(number) for number in numbers if number % 10 == 0], ordered=False)


def _id(prefix: str, number: int) -> str:
    return f"{prefix}_01BENCH{number:019d}"


def _at(number: int) -> datetime:
    return _START + timedelta(milliseconds=number)


def _wallet(number: int) -> dict[str, Any]:
    link: dict[str, Any] = {
        "client_id": f"client{number % 50}",
        "label": None,
        "metadata": {},
        "linked_at": _at(number),
        "audit": [],
    }
    address = f"0x{number:040x}"
    row = {"_id": _id("wlt", number), "email": f"grown{number}@example.com", "address": address, "address_key": address}
    return {**row, "created_at": _at(number), "links": [link], "outbox": []}


def _account(number: int) -> dict[str, Any]:
    one = Decimal128("1000")
    return {"_id": _id("wlt", number), "posted": one, "available": one, "sequence": 1, "updated_at": _at(number)}


def _entry(number: int) -> dict[str, Any]:
    one = Decimal128("1000")
    line = {"_id": f"{_id('txn', number)}:credit", "transaction_id": _id("txn", number), "account": _id("wlt", number)}
    return {
        **line,
        "direction": "credit",
        "amount": one,
        "at": _at(number),
        "account_sequence": 1,
        "balance_after": one,
    }


def _transaction(number: int) -> dict[str, Any]:
    target = {"account": _id("wlt", number), "wallet_id": _id("wlt", number), "address": f"0x{number:040x}"}
    row: dict[str, Any] = {
        "_id": _id("txn", number),
        "version": 1,
        "client_id": f"client{number % 50}",
        "route": "/v1/tokens/mint",
        "kind": "mint",
    }
    known = {"idempotency_key": f"grown-{number}", "metakeep_transaction_id": f"grown-{number}", "status": "confirmed"}
    times = {"created_at": _at(number), "updated_at": _at(number), "due_at": _at(number)}
    row |= {"origin": {"account": "issuance"}, "target": target, "amount": Decimal128("1000")}
    return {**row, **known, **times}
