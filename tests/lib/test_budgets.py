"""How many round trips to the database and calls of MetaKeep a call costs: the budget that latency is made of."""

from collections.abc import Callable, Iterator
from typing import Any

import bson
import pytest
import requests
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from getsmart import auth, mongo
from getsmart.machine import told
from getsmart.services import views
from tests.money import Bench
from tests.support import Answer, Client, unique

LIMITED = {"per_second": 1_000, "per_hour": 100_000}


class Trips(CommandListener):
    """The commands that were sent, by name and collection, and the requests to MetaKeep, by path."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.sent: list[str] = []
        self.asked: list[str] = []
        self.received = 0  # bytes

    def started(self, event: CommandStartedEvent) -> None:
        """One round trip begins."""
        self.sent.append(f"{event.command_name} {event.command.get(event.command_name)}")

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """It is over, and brought so much."""
        self.received += len(bson.encode(event.reply))

    def failed(self, event: CommandFailedEvent) -> None:
        """It is over."""


@pytest.fixture
def trips(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trips]:
    """A connection that counts, warm: server and key are known."""
    listener = Trips()
    mongo.forget()
    monkeypatch.setattr(mongo, "Meter", lambda: listener)
    send = requests.Session.send

    def noted(self: requests.Session, request: Any, **options: Any) -> requests.Response:
        listener.asked.append(request.path_url)
        return send(self, request, **options)

    monkeypatch.setattr(requests.Session, "send", noted)
    # However long a test takes: what a warm process knows it goes on knowing.
    monkeypatch.setattr(auth, "CACHE_SECONDS", 600.0)
    monkeypatch.setattr(told, "_KNOWN_SECONDS", 600.0)
    auth.forget()
    told.forget()
    told._has_endpoints("app")
    bench.balance()
    yield listener
    mongo.forget()


@pytest.fixture
def limited(trips: Trips, make_client: Callable[..., Client], bench: Bench) -> Client:
    """An application with a rate limit, known already."""
    client = make_client(limits=LIMITED)
    client.get("wallets/balance", f"wallet_id={bench.wallet['wallet_id']}")
    return client


def within(most: int, trips: Trips, work: Callable[[], Answer], asks: int = 0) -> None:
    """Fail unless the call makes at most so many round trips and asks MetaKeep that often; what it did is named."""
    trips.sent.clear()
    trips.asked.clear()
    answer = work()
    assert answer.status in (200, 201, 202), answer.text
    if len(trips.sent) > most:
        pytest.fail(f"{len(trips.sent)} round trips are over {most}: {', '.join(trips.sent)}")
    if len(trips.asked) > asks:
        pytest.fail(f"{len(trips.asked)} calls of MetaKeep are over {asks}: {', '.join(trips.asked)}")


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
    within(1, trips, lambda: bench.app.get(what.partition(" ")[0], query))


@pytest.mark.parametrize("what", ["wallets/balance", "tokens/transaction", *LISTS])
def test_a_rate_limit_costs_one_more(bench: Bench, trips: Trips, limited: Client, what: str) -> None:
    """Exactly counted, in one update."""
    query = reads(bench)[what]
    within(2, trips, lambda: limited.get(what.partition(" ")[0], query))


def test_a_mint_is_submitted_within_seven(bench: Bench, trips: Trips, limited: Client) -> None:
    """Key, recovery, wallet, reserve, claim, submission; and the limit."""
    bench.mint()
    within(6, trips, bench.mint, asks=1)
    within(7, trips, lambda: bench.mint(client=limited), asks=1)
    within(6, trips, lambda: bench.claim_badge("b", unique("c")), asks=1)


def test_transfer_and_burn_cost_no_more(bench: Bench, trips: Trips) -> None:
    """The same path, another reserve."""
    bench.funded("100")
    bench.transfer("1")
    within(6, trips, lambda: bench.transfer("1"), asks=1)
    within(6, trips, lambda: bench.burn("1"), asks=1)


def test_a_replay_is_one_round_trip(bench: Bench, trips: Trips) -> None:
    """The stored reply is found with the key."""
    key = unique("key")
    bench.mint(key=key)
    within(1, trips, lambda: bench.mint(key=key))


def test_a_known_wallet_is_two(bench: Bench, trips: Trips) -> None:
    """Found by its owner, and read again as its client sees it."""
    body = {"owner": {"email": bench.wallet["owner"]["email"]}}
    within(2, trips, lambda: bench.app.post("wallets/create", body))


def test_a_query_too_many_is_named(bench: Bench, trips: Trips, monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget, broken on purpose: by a look at the database, and by a call of MetaKeep."""
    balance = views.balance

    def looked_up_again(caller: Any, wallet_id: str) -> Any:
        mongo.database().wallets.find_one({"_id": wallet_id})
        return balance(caller, wallet_id)

    query = f"wallet_id={bench.wallet['wallet_id']}"
    monkeypatch.setattr(views, "balance", looked_up_again)
    with pytest.raises(pytest.fail.Exception, match="2 round trips are over 1: find wallets, aggregate wallets"):
        within(1, trips, lambda: bench.app.get("wallets/balance", query))
    with pytest.raises(pytest.fail.Exception, match="1 calls of MetaKeep are over 0: /v2/"):
        within(6, trips, bench.mint)


def test_a_balance_costs_as_much_however_many_are_on_their_way(trips: Trips, bench: Bench) -> None:
    """An airdrop may pay one wallet ten thousand times: the database sums them, and sends one number."""
    sizes = []
    for _ in range(2):
        bench.mint()
        trips.received = 0
        assert bench.balance()["pending_in"] == str(10 * (len(sizes) + 1))
        sizes.append(trips.received)
    assert sizes[0] == sizes[1]
