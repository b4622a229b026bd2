"""Is the service well: database, what the tick saw of provider and chain, queues, books (I2, I3) and chain (I7)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal

import pymongo
from pymongo.errors import PyMongoError

from getsmart import clock, config
from getsmart.machine import invariants
from getsmart.models import RECOVERY
from getsmart.mongo import Document
from getsmart.stores import breaks, controls, deliveries, endpoints, progress, transactions

Verdict = Literal["pass", "warn", "fail"]
Check = dict[str, Any]

_DATABASE_SECONDS = 2.0
_QUEUED_WARN, _QUEUED_FAIL = timedelta(minutes=1), timedelta(minutes=20)
_SUBMITTED_WARN = timedelta(minutes=5)
_TICK_WARN, _TICK_FAIL = timedelta(minutes=3), timedelta(minutes=30)
_SEEN_WARN = timedelta(minutes=3)
_RECONCILED_WARN, _MOST_BREAKS = timedelta(minutes=10), 1_000
_UNDELIVERED_WARN, _MOST_ENDPOINTS = timedelta(minutes=5), 50


def report() -> dict[str, Any]:
    """`{status, version, colour, schema_version, checks{name: {status, observed, message}}}` within 3 s.

    The status is the worst check's; the schema's version is the number of the newest migration that the code knows.
    """
    deployment = config.read(config.DeploymentSettings)
    checks = _checks()
    verdicts = [check["status"] for check in checks.values()]
    worst: Verdict = "fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "pass"
    said = {"version": deployment.version, "colour": deployment.colour, "schema_version": controls.SCHEMA}
    return {"status": worst, **said, "checks": checks}


def _checks() -> dict[str, Check]:
    try:
        with pymongo.timeout(_DATABASE_SECONDS):
            singles = controls.read_all()
            queued = transactions.find_oldest("queued")
            submitted = transactions.find_oldest("submitted")
            undelivered = _oldest_undelivered()
            opened = breaks.count_open(_MOST_BREAKS)
    except PyMongoError as error:
        return {"database": _check("fail", type(error).__name__, "the database does not answer")}
    tick = singles.get(controls.TICK, {})
    return {
        "database": _check("pass", "answers", "reads with majority concern"),
        "provider": _seen(tick.get("provider_ok_at"), "MetaKeep last answered the tick"),
        "chain": _chain(tick),
        "oldest_queued": _age(queued, _QUEUED_WARN, _QUEUED_FAIL, "the oldest transaction not yet sent"),
        "oldest_submitted": _age(submitted, _SUBMITTED_WARN, None, "the oldest transaction not yet final"),
        "oldest_undelivered": _age(
            undelivered, _UNDELIVERED_WARN, None, "the oldest event an answering endpoint awaits"
        ),
        "tick_age": _tick_age(tick),
        "money": _money(singles.get(RECOVERY, {})),
        "I2": _guarded(invariants.supply, singles, "supply"),
        "I3": _guarded(invariants.books, singles, "books"),
        "I7": _reconciled(singles.get(progress.NAME, {}), opened),
    }


def _oldest_undelivered() -> datetime | None:
    """An endpoint that fails is its owner's business: only what others wait for is ours."""
    active = endpoints.find_active(_MOST_ENDPOINTS)
    return deliveries.find_oldest_pending([row["_id"] for row in active if not row["failures"]])


def _check(status: Verdict, observed: str | None, message: str) -> Check:
    return {"status": status, "observed": observed, "message": message}


def _seconds(since: datetime) -> float:
    return round((clock.now() - since).total_seconds(), 1)


def _age(since: datetime | None, warn: timedelta, fail: timedelta | None, message: str) -> Check:
    if since is None:
        return _check("pass", None, message)
    age = clock.now() - since
    verdict: Verdict = "fail" if fail is not None and age > fail else "warn" if age > warn else "pass"
    return _check(verdict, f"{_seconds(since)} s", message)


def _seen(at: datetime | None, message: str) -> Check:
    """Other parties' outages never take us out of service: they warn."""
    if at is None:
        return _check("warn", None, message + ": never")
    return _age(at, _SEEN_WARN, None, message)


def _chain(tick: Document) -> Check:
    """A node of another chain is our mistake and not its outage: nothing is confirmed until it is mended."""
    wanted, found = config.read(config.TokenSettings).chain_id, tick.get("chain_id")
    if found is not None and found != wanted:
        return _check("fail", f"chain {found}", f"the node of CHAIN_RPC_URL is not of the chain of CHAIN_ID, {wanted}")
    return _seen(tick.get("chain_ok_at"), "the chain's node last answered the tick")


def _tick_age(tick: Document) -> Check:
    if "ran_at" not in tick:
        return _check("warn", None, "the tick has not run yet")
    return _age(tick["ran_at"], _TICK_WARN, _TICK_FAIL, "the tick's last pass")


def _money(recovery: Document) -> Check:
    """It stands still on purpose, so the service is well; who stopped it and why is the operators' alone to read."""
    if recovery.get("stopped"):
        return _check("warn", "stopped", "money was stopped by hand: money calls answer 503 recovering")
    if controls.stands_still(recovery):
        return _check("warn", "recovering", "a restore is not reconciled yet: money calls answer 503 recovering")
    return _check("pass", None, "money moves")


def _guarded(
    check: Callable[[dict[str, Document]], invariants.Verdict], singles: dict[str, Document], what: str
) -> Check:
    try:
        verdict = check(singles)
    except KeyError:
        return _check("fail", None, f"no {what} in the database; migrations are missing")
    return _check("pass" if verdict.holds else "fail", verdict.observed, f"{what}, base units")


def _reconciled(place: Document, opened: dict[str, int]) -> Check:
    """I7: every Transfer has its transaction or its break; a break waits for a person, and warns until it is closed."""
    message = "open breaks between ledger and chain, and the block up to which they were compared"
    if "to_block" not in place:
        return _check("pass", None, f"{message}: not compared yet")
    breaks_ = ", ".join(f"{count} {type_}" for type_, count in sorted(opened.items())) or "none"
    observed = f"{breaks_}; block {place['to_block']} of {place.get('head', place['to_block'])}"
    is_late = "at" not in place or clock.now() - place["at"] > _RECONCILED_WARN
    return _check("warn" if opened or is_late else "pass", observed, message)
