"""A ledger of some length for the tests of history: random movements booked as confirmations book them."""

import random
from datetime import timedelta
from typing import Any

from getsmart import clock, mongo
from getsmart.ids import new_id
from getsmart.models import TransactionRow
from getsmart.mongo import to_decimal, to_units
from getsmart.stores import ledger, reserves
from tests.rows import make_row
from tests.support import Time

Row = dict[str, Any]


def wallet_row(*clients: str) -> Row:
    """A wallet that these clients are linked to."""
    wallet_id, at = new_id("wlt"), clock.now()
    links = [{"client_id": name, "label": None, "metadata": {}, "linked_at": at} for name in clients]
    address = "0x" + wallet_id[-26:].lower().encode().hex()[:40]
    row = {"_id": wallet_id, "email": f"{wallet_id.lower()}@example.com", "address": address, "address_key": address}
    return {**row, "created_at": at, "links": links}


def side(account: str) -> dict[str, str]:
    """A party: a wallet or a system account."""
    return {"account": account, "wallet_id": account} if account.startswith("wlt") else {"account": account}


def book(origin: str, target: str, units: int, **changes: Any) -> TransactionRow:
    """Book a confirmed movement as `machine.conclude` does; a wallet that pays had its amount held before."""
    if origin.startswith("wlt"):
        assert reserves.take(origin, units)
    row = make_row(status="confirmed", amount=to_decimal(units), origin=side(origin), target=side(target), **changes)
    row["hold"] = {"name": origin if origin.startswith("wlt") else "supply", "state": "settled"}
    del row["incoming_wallet_id"]
    mongo.database().transactions.insert_one({**row})
    mongo.transact(lambda session: ledger.post(row, session=session))
    return row


def book_at_random(wallets: list[str], count: int, time: Time, chance: random.Random) -> None:
    """So many movements between wallets and the world, some in the same millisecond, some by a clock that is behind."""
    for _ in range(count):
        time.advance(chance.choice((0, 0, 0.001, 0.5, 3600)))
        late = timedelta(milliseconds=chance.choice((0, 0, 0, 40)))
        account: Any = mongo.database().accounts.find_one({"_id": (origin := chance.choice(wallets))})
        held = to_units(account["posted"]) if account else 0
        others = [name for name in (*wallets, "burned", "external") if name != origin]
        target = chance.choice(others)
        units = chance.randint(1, 10**21)
        if held >= units:
            book(origin, target, units, updated_at=clock.now() - late)
        else:
            book("issuance", origin, units, updated_at=clock.now() - late)
