"""Each alert fires when its fault is injected, no sooner than it may, and with no other; a normal run fires none.

What is scraped is what the running functions answer; promtool evaluates the real rules over an hour of it.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from bson import Decimal128

from getsmart import chain, clock, config, mongo
from getsmart.amounts import UNIT
from getsmart.machine import number, repair
from getsmart.services import tick
from getsmart.stores import controls, failures, ledger
from tests.chainbook import ZERO, on_chain
from tests.hooks import happen, post, subscribe
from tests.money import MINT_PATH, Bench
from tests.receiver import Receiver
from tests.watch import API_UP, GATEWAY_UP, Scrape, alerts, assert_fires, gateway, scrape
from tests.wire import free_url

PROBE_PATH = "/v3/getDeveloperWallet"
READ_SECONDS = 'getsmart_database_read_seconds{job="getsmart-api"}'
_LOOKS = 4
_A_LOOK = 35.0  # seconds: the tick asks its neighbours every 30
_EACH_SECONDS = 0.6


@dataclass
class Watched:
    """A system that is well, and its parts to be broken."""

    bench: Bench
    receiver: Receiver
    patch: pytest.MonkeyPatch

    def goes_on(self, seconds: float) -> None:
        """Time passes, and the tick runs a few times in it."""
        for _ in range(_LOOKS):
            self.bench.time.advance(seconds / _LOOKS)
            tick.call()
            self.save()

    def save(self, **age: float) -> None:
        """A backup was finished just now, or some time ago."""
        at = clock.now() - timedelta(**age)
        self.bench.raw.controls.update_one({"_id": "backup"}, {"$set": {"finished_at": at}}, upsert=True)

    def scrape(self, *, is_timed: bool = False, **from_gateway: object) -> Scrape:
        """What Prometheus sees of functions and gateway.

        How long the database took is about the machine that tests run on, and counts where `is_timed` alone.
        """
        seen = {**scrape(self.bench.app), **gateway(**from_gateway)}  # type: ignore[arg-type]
        return seen if is_timed or READ_SECONDS not in seen else {**seen, READ_SECONDS: "0.01"}

    def set(self, **variables: str) -> None:
        """Other variables, as after a deployment."""
        for name, value in variables.items():
            self.patch.setenv(name, value)
        self.patch.setattr(failures, "SECONDS", 0.25)
        config.forget()
        chain.forget()
        mongo.forget()


@pytest.fixture
def watched(
    bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> Iterator[Watched]:
    """A system that has minted, paid and delivered, looked after by its tick, with a backup."""
    made = Watched(bench, receiver, monkeypatch)
    bench.catch_up()
    bench.funded("50")
    made.goes_on(_A_LOOK)
    yield made
    monkeypatch.undo()
    mongo.forget()
    chain.forget()
    config.forget()


def tick_stopped(watched: Watched) -> Scrape:
    """Nobody runs it for four minutes."""
    watched.bench.time.advance(240)
    return watched.scrape()


def tick_failing(watched: Watched) -> Scrape:
    """A step of it has a bug."""

    def broken(_limit: int) -> int:
        raise RuntimeError("a bug")

    watched.patch.setattr(ledger, "sum_confirmed", broken)
    watched.goes_on(_A_LOOK)
    return watched.scrape()


def reserve_unmendable(watched: Watched) -> Scrape:
    """The sum of a reserve cannot be found out."""

    def broken(_reserve: object, _before: object) -> int:
        raise RuntimeError("a bug")

    watched.patch.setattr(repair, "_repair", broken)
    watched.bench.mint()
    watched.goes_on(400)
    return watched.scrape()


def queue_old(watched: Watched) -> Scrape:
    """MetaKeep refuses to take mints, and answers all else."""
    watched.bench.provider.fault(MINT_PATH, "500", 10_000)
    watched.bench.mint()
    watched.goes_on(400)
    return watched.scrape()


def submitted_old(watched: Watched) -> Scrape:
    """MetaKeep takes a mint and comes to no end with it."""
    watched.bench.provider.fault(MINT_PATH, "stuck")
    watched.bench.mint()
    watched.goes_on(650)
    return watched.scrape()


def unknown_transactions(watched: Watched) -> Scrape:
    """... for more than a quarter of an hour."""
    watched.bench.provider.fault(MINT_PATH, "stuck")
    watched.bench.mint()
    watched.goes_on(1000)
    return watched.scrape()


def provider_down(watched: Watched) -> Scrape:
    """MetaKeep answers with 500s for four minutes."""
    watched.bench.provider.fault(PROBE_PATH, "500", 10_000)
    watched.goes_on(250)
    return watched.scrape()


def chain_down(watched: Watched) -> Scrape:
    """Nobody listens where the node was, for four minutes."""
    watched.set(CHAIN_RPC_URL=free_url())
    watched.goes_on(250)
    return watched.scrape()


def reconciliation_lagging(watched: Watched) -> Scrape:
    """The node answers, and refuses to show logs."""

    def refused(*_where: object) -> list[object]:
        raise chain.ChainUnavailable("eth_getLogs: refused")

    watched.patch.setattr(chain, "read_transfers", refused)
    on_chain(watched.bench, (ZERO, watched.bench.wallet["address"], UNIT))
    watched.goes_on(1000)
    return watched.scrape()


def never_compared(watched: Watched) -> Scrape:
    """... and has never shown any."""
    seen = reconciliation_lagging(watched)
    watched.bench.raw.controls.update_one({"_id": "reconciliation"}, {"$unset": {"at": ""}})
    assert watched.scrape() != seen
    return watched.scrape()


def provider_never_seen(watched: Watched) -> Scrape:
    """A key that MetaKeep has never known."""
    watched.bench.raw.controls.update_one({"_id": "tick"}, {"$unset": {"provider_ok_at": ""}})
    watched.bench.provider.fault(PROBE_PATH, "500", 10_000)
    watched.goes_on(_A_LOOK)
    return watched.scrape()


def chain_never_seen(watched: Watched) -> Scrape:
    """A node that was mistyped on the first day."""
    watched.bench.raw.controls.update_one({"_id": "tick"}, {"$unset": {"chain_ok_at": ""}})
    watched.set(CHAIN_RPC_URL=free_url())
    watched.goes_on(_A_LOOK)
    return watched.scrape()


def reconciliation_break(watched: Watched) -> Scrape:
    """Somebody mints on the chain, past us."""
    on_chain(watched.bench, (ZERO, watched.bench.wallet["address"], UNIT))
    watched.goes_on(_A_LOOK)
    return watched.scrape()


def undelivered_old(watched: Watched) -> Scrape:
    """A courier holds the lease of an endpoint that answers, and does nothing."""
    made = subscribe(watched.bench.app, watched.receiver.url)
    happen(watched.bench.raw)
    number.number_events(10)
    held = {"lease_holder": "a courier", "lease_until": clock.now() + timedelta(days=1)}
    watched.bench.raw.endpoints.update_one({"_id": made["endpoint_id"]}, {"$set": held})
    watched.goes_on(350)
    return watched.scrape()


def dead_letters(watched: Watched) -> Scrape:
    """An endpoint says that it is gone."""
    subscribe(watched.bench.app, watched.receiver.url)
    watched.receiver.status = 410
    happen(watched.bench.raw, 3)
    post()
    return watched.scrape()


def supply_invariant_broken(watched: Watched) -> Scrape:
    """A reserve is given back twice."""
    change = {"$inc": {"available": Decimal128(str(1_000 * UNIT))}}
    watched.bench.raw.controls.update_one({"_id": "supply"}, change)
    return watched.scrape()


def books_unbalanced(watched: Watched) -> Scrape:
    """A hand changes a sum."""
    watched.bench.raw.controls.update_one({"_id": "books"}, {"$inc": {"treasury": Decimal128("1")}})
    return watched.scrape()


def recovering(watched: Watched) -> Scrape:
    """A restore begins."""
    controls.set_recovering(is_recovering=True)
    return watched.scrape()


def stopped(watched: Watched) -> Scrape:
    """A person stops money; ticks run, and do not end it."""
    controls.stop("ada", "a test")
    watched.goes_on(_A_LOOK)
    return watched.scrape()


def backup_old(watched: Watched) -> Scrape:
    """Backups stop."""
    watched.save(hours=1)
    return watched.scrape()


def no_backup(watched: Watched) -> Scrape:
    """There never was one."""
    watched.bench.raw.controls.delete_one({"_id": "backup"})
    return watched.scrape()


def database_slow(watched: Watched) -> Scrape:
    """What reads the controls waits for them."""
    with slow_controls(config.read(config.DatabaseSettings).uri) as uri:
        watched.set(MONGODB_URI=uri)
        seen = watched.scrape(is_timed=True)
        mongo.forget()
    return seen


def database_unavailable(watched: Watched) -> Scrape:
    """Nobody listens where the database was, for ops/metrics; the gateway's check of health goes well."""
    watched.set(MONGODB_URI="mongodb://127.0.0.1:9")
    return watched.scrape()


def database_away(watched: Watched) -> Scrape:
    """... and for the check too: no namespace is well."""
    watched.set(MONGODB_URI="mongodb://127.0.0.1:9")
    return watched.scrape(active=0, says="L7RSP")


def api_down(watched: Watched) -> Scrape:
    """No namespace takes a connection."""
    return {API_UP: "0", **gateway(active=0, says="L4CON")}


def gateway_down(watched: Watched) -> Scrape:
    """The gateway itself does not answer: nothing is known of anything."""
    return {API_UP: "0", GATEWAY_UP: "0"}


def error_rate_high(watched: Watched) -> Scrape:
    """One answer in ten is 5xx."""
    return watched.scrape(per_minute=(270, 30))


def latency_high(watched: Watched) -> Scrape:
    """Answers take three seconds."""
    return watched.scrape(seconds=3)


@contextmanager
def slow_controls(uri: str) -> Iterator[str]:
    """The address of a relay to the database, through which what reads the controls takes its time."""
    host, _, port = uri.removeprefix("mongodb://").partition("/")[0].partition(":")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    wire, _ = listening.accept()
                    far = socket.create_connection((host, int(port)))
                    for source, target in ((wire, far), (far, wire)):
                        threading.Thread(target=relay, args=(source, target), daemon=True).start()

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield f"mongodb://127.0.0.1:{listening.getsockname()[1]}/?directConnection=true"
        finally:
            over.set()
            serving.join()


def relay(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, what speaks of the controls a little later."""
    with suppress(OSError), source, target:
        while data := source.recv(65_536):
            if b"controls" in data:
                time.sleep(_EACH_SECONDS)
            target.sendall(data)


FAULTS: dict[str, tuple[Callable[[Watched], Scrape], ...]] = {
    "ApiDown": (api_down, gateway_down),
    "ErrorRateHigh": (error_rate_high,),
    "LatencyHigh": (latency_high,),
    "DatabaseUnavailable": (database_unavailable, database_away),
    "DatabaseSlow": (database_slow,),
    "BackupOld": (backup_old, no_backup),
    "TickStopped": (tick_stopped,),
    "TickFailing": (tick_failing, reserve_unmendable),
    "QueueOld": (queue_old,),
    "SubmittedOld": (submitted_old,),
    "UnknownTransactions": (unknown_transactions,),
    "ProviderDown": (provider_down, provider_never_seen),
    "ChainDown": (chain_down, chain_never_seen),
    "UndeliveredOld": (undelivered_old,),
    "DeadLetters": (dead_letters,),
    "SupplyInvariantBroken": (supply_invariant_broken,),
    "BooksUnbalanced": (books_unbalanced,),
    "ReconciliationBreak": (reconciliation_break,),
    "ReconciliationLagging": (reconciliation_lagging, never_compared),
    "Recovering": (recovering, stopped),
}
# Where one fault is, truly, two.
TOO = {database_away: ("ApiDown",)}


def test_every_alert_has_its_fault() -> None:
    """None is left out."""
    assert FAULTS.keys() == alerts().keys()


@pytest.mark.parametrize(
    ("alert", "fault"),
    [(alert, fault) for alert, faults in FAULTS.items() for fault in faults],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_an_alert_fires_when_its_fault_is_injected(
    watched: Watched, tmp_path: Path, alert: str, fault: Callable[[Watched], Scrape]
) -> None:
    """After its time and not before, and no other does; half an hour of a system that is well fires none."""
    before = watched.scrape()
    assert_fires(tmp_path, before, fault(watched), alert, *TOO.get(fault, ()))


def test_a_normal_run_is_silent(watched: Watched, tmp_path: Path) -> None:
    """Mints, payments, burns and deliveries, fire nothing at any moment."""
    before = watched.scrape()
    subscribe(watched.bench.app, watched.receiver.url)
    for _ in range(4):
        watched.bench.mint("3")
        watched.bench.transfer("2")
        watched.bench.burn("1")
        watched.goes_on(120)
        assert_fires(tmp_path, before, watched.scrape(per_minute=(300, 1)))
