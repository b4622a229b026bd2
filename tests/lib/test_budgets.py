"""How many round trips to the database a call costs: the budget that latency is made of."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from getsmart import mongo
from tests.money import Bench
from tests.support import Answer, Client, unique

LIMITED = {"per_second": 1_000, "per_hour": 100_000}


class Trips(CommandListener):
    """The commands that were sent, by name and collection."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.sent: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        """One round trip begins."""
        self.sent.append(f"{event.command_name} {event.command.get(event.command_name)}")

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """It is over."""

    def failed(self, event: CommandFailedEvent) -> None:
        """It is over."""


@pytest.fixture
def trips(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trips]:
    """A connection that counts, warm: server and key are known."""
    listener = Trips()
    mongo.forget()
    monkeypatch.setattr(mongo, "MongoClient", partial(MongoClient, event_listeners=[listener]))
    bench.balance()
    yield listener
    mongo.forget()


@pytest.fixture
def limited(trips: Trips, make_client: Callable[..., Client], bench: Bench) -> Client:
    """An application with a rate limit, known already."""
    client = make_client(limits=LIMITED)
    client.get("wallets/balance", f"wallet_id={bench.wallet['wallet_id']}")
    return client


def cost(trips: Trips, work: Callable[[], Answer]) -> int:
    """How many round trips the call made; printed, so that a change shows what it costs."""
    trips.sent.clear()
    answer = work()
    assert answer.status in (200, 201, 202), answer.text
    print(f"{len(trips.sent)} round trips: {', '.join(trips.sent)}")  # noqa: T201
    return len(trips.sent)


def reads(bench: Bench) -> dict[str, Any]:
    """Reading calls: path and query."""
    minted = bench.mint()
    wallet = f"wallet_id={bench.wallet['wallet_id']}"
    return {
        "wallets/balance": wallet,
        "wallets/balance at": f"{wallet}&at=2026-01-01T00:00:00Z",
        "wallets/get": wallet,
        "wallets/list": "email_prefix=learner&created_after=2026-01-01T00:00:00Z",
        "wallets/statement": f"{wallet}&format=csv",
        "tokens/transactions": "kind=mint&status=submitted",
        "tokens/transactions of a wallet": wallet,
        "tokens/transaction": f"transaction_id={minted.data['transaction_id']}",
        "tokens/info": "",
    }


LISTS = (
    *("wallets/balance at", "wallets/list", "wallets/statement", "tokens/transactions"),
    "tokens/transactions of a wallet",
)


@pytest.mark.parametrize("what", ["wallets/balance", "wallets/get", "tokens/transaction", "tokens/info", *LISTS])
def test_a_warm_read_is_one_round_trip(bench: Bench, trips: Trips, what: str) -> None:
    """The key is cached; what is asked for comes at once, also where there is nothing yet."""
    query = reads(bench)[what]
    assert cost(trips, lambda: bench.app.get(what.partition(" ")[0], query)) == 1


@pytest.mark.parametrize("what", ["wallets/balance", "tokens/transaction", *LISTS])
def test_a_rate_limit_costs_one_more(bench: Bench, trips: Trips, limited: Client, what: str) -> None:
    """Exactly counted, in one update."""
    query = reads(bench)[what]
    assert cost(trips, lambda: limited.get(what.partition(" ")[0], query)) == 2


def test_a_mint_is_submitted_within_seven(bench: Bench, trips: Trips, limited: Client) -> None:
    """Key, recovery, wallet, reserve, claim, submission; and the limit."""
    bench.mint()
    assert cost(trips, bench.mint) <= 6
    assert cost(trips, lambda: bench.mint(client=limited)) <= 7
    badge = cost(trips, lambda: bench.claim_badge("b", unique("c")))
    assert badge <= 6


def test_transfer_and_burn_cost_no_more(bench: Bench, trips: Trips) -> None:
    """The same path, another reserve."""
    bench.funded("100")
    bench.transfer("1")
    assert cost(trips, lambda: bench.transfer("1")) <= 6
    assert cost(trips, lambda: bench.burn("1")) <= 6


def test_a_replay_is_one_round_trip(bench: Bench, trips: Trips) -> None:
    """The stored reply is found with the key."""
    key = unique("key")
    bench.mint(key=key)
    assert cost(trips, lambda: bench.mint(key=key)) == 1


def test_a_known_wallet_is_two(bench: Bench, trips: Trips) -> None:
    """Found by its owner, and read again as its client sees it."""
    body = {"owner": {"email": bench.wallet["owner"]["email"]}}
    assert cost(trips, lambda: bench.app.post("wallets/create", body)) <= 2
