"""What an operator watches, in Prometheus's text format, from bounded and indexed reads only.

The format is a line a value, so it is written here: the library for it keeps counters in a process, which a function
loses with its container. https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from getsmart import clock, config
from getsmart.amounts import MAX_SUPPLY, format_units
from getsmart.breaks import BREAK_TYPES
from getsmart.errors import Internal
from getsmart.hooks import EndpointRow
from getsmart.machine import invariants
from getsmart.models import BURNED, EXTERNAL, ISSUANCE, RECOVERY, SUPPLY, SYSTEM_ACCOUNTS, TREASURY, Status
from getsmart.mongo import Document, to_units
from getsmart.stores import (
    breaks,
    controls,
    deliveries,
    endpoints,
    events,
    failures,
    keys,
    ledger,
    progress,
    transactions,
)

MOST = 10_000  # counting ends here: a queue this long is an alarm whatever its length
_OPEN: tuple[Status, ...] = ("queued", "awaiting_consent", "submitted", "unknown")
_ENDED: tuple[Status, ...] = ("confirmed", "failed", "cancelled", "expired")
_RECENT, _JUST_NOW = timedelta(hours=1), timedelta(minutes=5)
_CALLED, _MOST_ENDPOINTS = timedelta(days=1), 1_000
_BACKUP = "backup"  # in the controls: ./doit backup
_SEEN = {"tick": "ran_at", "provider": "provider_ok_at", "chain": "chain_ok_at"}


class Metric(NamedTuple):
    """One metric: its values by label, as text, so that amounts keep all their digits."""

    name: str
    kind: Literal["gauge", "counter"]
    what: str
    label: str
    values: Mapping[str, str]


def text() -> str:
    """Every metric. Raises Internal when the database was never migrated."""
    started = clock.monotonic()
    singles = controls.read_all()
    took = clock.monotonic() - started
    if not {SUPPLY, TREASURY, ledger.BOOKS} <= singles.keys():
        raise Internal("the database has no genesis; migrations are missing")
    read = _one("database_read_seconds", "What it took to read the few documents of the controls.", round(took, 4))
    found = [*_of_deployment(singles), read, *_of_failures(), *_of_transactions(singles), *_of_books(singles)]
    found += _of_chain(singles)
    found += [*_of_queues(), *_of_webhooks()]
    return "".join(line for metric in found for line in _render(metric))


def _render(metric: Metric) -> Iterator[str]:
    name = f"getsmart_{metric.name}"
    yield f"# HELP {name} {metric.what}\n# TYPE {name} {metric.kind}\n"
    for value, number in metric.values.items():
        labels = f'{{{metric.label}="{value}"}}' if metric.label else ""
        yield f"{name}{labels} {number}\n"


def _one(name: str, what: str, value: object, kind: Literal["gauge", "counter"] = "gauge") -> Metric:
    return Metric(name, kind, what, "", {"": str(value)})


def _age(since: datetime) -> str:
    return str(round((clock.now() - since).total_seconds(), 3))


def _of_deployment(singles: dict[str, Document]) -> Iterator[Metric]:
    mine, active = config.read(config.DeploymentSettings), singles.get(controls.COLOUR, {}).get("active")
    yield Metric("build_info", "gauge", "The version that answers.", "version", {_label(mine.version): "1"})
    yield Metric("is_active", "gauge", "Whether this colour is the active one.", "colour", {
        mine.colour: str(int(mine.colour == active))
    })  # fmt: skip
    tick = singles.get(controls.TICK, {})
    ages = {name: _age(tick[field]) for name, field in _SEEN.items() if field in tick}
    compared = singles.get(progress.NAME, {}).get("at")
    ages |= {} if compared is None else {"reconciliation": _age(compared)}
    what = "Since the tick last ran, others last answered it, and ledger and chain were last compared."
    yield Metric("seen_age_seconds", "gauge", what, "of", ages)
    saved = singles.get(_BACKUP, {}).get("finished_at")
    age = {} if saved is None else {"": _age(saved)}
    yield Metric(
        "backup_age_seconds", "gauge", "Since the newest backup was finished; nothing before the first.", "", age
    )


def _label(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _of_failures() -> Iterator[Metric]:
    counts = {code: str(count) for code, count in failures.count_by_code(clock.now() - _JUST_NOW).items()}
    what = "Kept in the last five minutes (./doit logs), by code."
    yield Metric("failures_recent", "gauge", what, "code", counts)


def _of_transactions(singles: dict[str, Document]) -> Iterator[Metric]:
    counts: dict[str, str] = {status: str(transactions.count(status, MOST)) for status in _OPEN}
    yield Metric("transactions_open", "gauge", f"Not final, by status, up to {MOST}.", "status", counts)
    oldest = {status: transactions.find_oldest(status) for status in _OPEN}
    ages: dict[str, str] = {status: _age(at) for status, at in oldest.items() if at is not None}
    yield Metric("transactions_oldest_age_seconds", "gauge", "Of the oldest that is not final.", "status", ages)
    since = clock.now() - _RECENT
    ended: dict[str, str] = {status: str(transactions.count(status, MOST, since)) for status in _ENDED}
    yield Metric("transactions_recent", "gauge", f"Made in the last hour and final, up to {MOST}.", "status", ended)
    booked = singles[ledger.BOOKS]["transactions"]
    yield _one("transactions_booked_total", "Transactions in the books, genesis included.", booked, "counter")


def _of_books(singles: dict[str, Document]) -> Iterator[Metric]:
    books: Any = {name: to_units(singles[ledger.BOOKS][name]) for name in (*SYSTEM_ACCOUNTS, ledger.WALLETS)}
    minted, free = -books[ISSUANCE], to_units(singles[SUPPLY]["available"])
    supply = {"minted": minted, "reserved": MAX_SUPPLY - free - minted, "free": free, "burned": books[BURNED]}
    yield Metric("supply_gets", "gauge", "The supply in whole GETS.", "part", _amounts(supply))
    treasury = {"posted": books[TREASURY], "available": to_units(singles[TREASURY]["available"])}
    yield Metric("treasury_gets", "gauge", "The treasury in whole GETS.", "balance", _amounts(treasury))
    yield _one(
        "external_gets", "Booked against the world outside; other than 0 is a break.", format_units(books[EXTERNAL])
    )
    holds = {"I2": invariants.supply(singles).holds, "I3": invariants.books(singles).holds}
    verdicts = {name: str(int(value)) for name, value in holds.items()}
    yield Metric("invariant_holds", "gauge", "Whether an invariant holds.", "invariant", verdicts)
    yield _one("books_sum_gets", "The sum of all accounts; other than 0 breaks I3.", format_units(sum(books.values())))


def _of_chain(singles: dict[str, Document]) -> Iterator[Metric]:
    opened = breaks.count_open(MOST)
    what = f"Open breaks between ledger and chain, by type, up to {MOST}."
    yield Metric("breaks_open", "gauge", what, "type", {type_: str(opened.get(type_, 0)) for type_ in BREAK_TYPES})
    place = singles.get(progress.NAME, {})
    blocks = {part: str(place[name]) for part, name in (("reconciled", "to_block"), ("head", "head")) if name in place}
    yield Metric("chain_block", "gauge", "How far the chain is reconciled, and its head then.", "part", blocks)
    has_node = int(bool(singles.get(controls.TICK, {}).get("has_node")))
    yield _one("chain_configured", "Whether the tick has a node of the chain to ask.", has_node)
    recovery = singles.get(RECOVERY, {})
    still = int(controls.stands_still(recovery))
    yield _one("is_recovering", "Whether money stands still: after a restore, or as a person stopped it.", still)
    stopped = int("stopped" in recovery)
    yield _one("is_stopped", "Whether a person has stopped money: only a person lets it go on.", stopped)


def _amounts(units: Mapping[str, int]) -> dict[str, str]:
    return {name: format_units(value) for name, value in units.items()}


def _of_queues() -> Iterator[Metric]:
    yield _one(
        "transactions_unsummed", f"Confirmed, not yet in the books, up to {MOST}.", transactions.count_unsummed(MOST)
    )
    yield _one(
        "events_unnumbered",
        f"Rows with events that have no number yet, up to {MOST} a kind.",
        events.count_unnumbered(MOST),
    )
    yield _one("calls_rate_limited_total", "Calls that a key's rate limit refused.", keys.count_refused(), "counter")


def _of_webhooks() -> Iterator[Metric]:
    active = endpoints.find_active(_MOST_ENDPOINTS)
    waiting = {
        "answering": deliveries.find_oldest_pending([row["_id"] for row in active if not _is_failing(row)]),
        "failing": deliveries.find_oldest_pending([row["_id"] for row in active if _is_failing(row)]),
    }
    ages = {name: _age(oldest) if oldest else "0" for name, oldest in waiting.items()}
    what = "Of the oldest delivery that enabled endpoints still wait for; 0 for none."
    yield Metric("webhook_oldest_undelivered_seconds", "gauge", what, "endpoints", ages)
    yield _one("webhook_endpoints_failing", "Enabled endpoints that do not answer.", sum(map(_is_failing, active)))
    yield _one("webhook_deliveries_dead", f"Dead letters, up to {MOST}.", deliveries.count_dead_all(MOST))
    called = endpoints.find_called_since(clock.now() - _CALLED, _MOST_ENDPOINTS)
    shares = {row["_id"]: str(round(sum(row["outcomes"]) / len(row["outcomes"]), 4)) for row in called}
    what = "Of the last 100 calls of an endpoint, if it was called within a day."
    yield Metric("webhook_success_share", "gauge", what, "endpoint_id", shares)


def _is_failing(row: EndpointRow) -> bool:
    return row["failures"] > 0
