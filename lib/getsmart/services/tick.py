"""The clockwork: for up to 50 s, every 2 s, whatever is due: send, poll, reconcile, sum, number and deliver events.

Idempotent and safe to run twice at once: every step is decided by a guarded update. One lease keeps two ticks from
doing the same work; only the active colour works.
"""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

from getsmart import calls, chain, clock, config, log, trace
from getsmart.errors import GetSmartError
from getsmart.ids import new_id
from getsmart.machine import airdrop, consent, deliver, number, pace, reconcile, repair, replay, retain, send, settle
from getsmart.metakeep import client, protocol
from getsmart.models import SYSTEM_ACCOUNTS, TransactionRow
from getsmart.stores import batches, controls, failures, ledger, transactions

LEASE = "tick"
_PROVIDER_THREADS = 16
_BATCH = 200
_FAILED_AGAIN = timedelta(seconds=10)
_MANY = 20  # more than come one by one
_PROBE_EVERY_SECONDS = 30.0
_LEASE_SECONDS = 10.0  # renewed every pass; short, so that a killed tick is soon followed by another
_PROBE_SECONDS = 5.0
_SHORTEST_PASS_SECONDS = 0.05
_STEP_SECONDS = 3.0
_POST_EVERY_SECONDS = 0.25  # events wait no longer for their number and their way while a run rests
_LIFE_SECONDS = (20.0, 58.0)  # what is under way may go on for so long: the platform ends the function at 60


def call() -> dict[str, Any]:
    """One run, told in one log line: what `run` returns, or the type of the error that ended it (`failed`)."""
    started, current = clock.monotonic(), calls.Call(new_id("req"), "ops/tick", trace.follow(""))
    calls.enter(current)
    try:
        done = run()
        log.event("tick", **done, duration_ms=round((clock.monotonic() - started) * 1000, 1), **current.costs())
    except Exception as error:  # noqa: BLE001 - the platform would keep only a mute failure
        log.failure("tick.failed", error)
        done = {"failed": type(error).__name__}
    _keep_failures()
    calls.enter(None)
    return done


def _keep_failures() -> None:
    current = calls.current()
    if current is not None and current.failures:
        failures.keep(current.take_failures())


def run() -> dict[str, Any]:
    """Work until the time is up; returns counts of what was done, or why nothing was (`skipped`)."""
    settings = config.read(config.TickSettings)
    deployed = config.read(config.DeploymentSettings)
    mine = deployed.colour
    if controls.report(mine, deployed.version) != mine:
        return {"skipped": f"colour {mine} is not active"}
    holder = new_id("req")
    totals: dict[str, int] = {"passes": 0}
    end = clock.monotonic() + settings.run_seconds
    courier = deliver.Courier(life_seconds(settings.run_seconds))
    with ThreadPoolExecutor(_PROVIDER_THREADS, **calls.shared()) as pool:
        while controls.active_colour() == mine and controls.take_lease(LEASE, holder, _LEASE_SECONDS):
            counts = one_pass(pool, courier)
            _add(totals, counts)
            pause = 0.0 if is_busy(counts) else settings.interval_seconds
            if clock.monotonic() + max(pause, _SHORTEST_PASS_SECONDS) > end:
                break
            _add(totals, _rest(courier, pause))
    controls.drop_lease(LEASE, holder)
    return {**totals, "told": courier.close()}


def life_seconds(run_seconds: float) -> float:
    """How long deliveries may take that a run of so many seconds has begun with."""
    shortest, longest = _LIFE_SECONDS
    return max(shortest, min(run_seconds + deliver.CALL_SECONDS, longest))


def _rest(courier: deliver.Courier, pause: float) -> dict[str, int]:
    """Let the pause between two passes go by; what is committed meanwhile is numbered and told at once."""
    totals: dict[str, int] = {}
    left = pause
    while left > 0:
        nap = min(left, _POST_EVERY_SECONDS)
        time.sleep(nap)
        left -= nap
        _add(totals, {name: _attempt(name, step) for name, step in _posting(courier).items()})
    return totals


def _posting(courier: deliver.Courier) -> dict[str, Callable[[], int]]:
    return {"numbered": lambda: number.number_events(_BATCH), "dispatched": courier.dispatch}


def is_busy(counts: dict[str, int]) -> bool:
    """Whether a pass may have left work behind: then the next one follows at once."""
    return any(counts.get(name, 0) >= _MANY for name in ("unfolded", "sent", "polled", "reconciled"))


def one_pass(pool: ThreadPoolExecutor, courier: deliver.Courier) -> dict[str, int]:
    """Do everything that is due now, once; a step that fails is logged, and the next one runs."""
    recovery = controls.read_recovery()
    is_recovering, resend = controls.stands_still(recovery), partial(send.resend, recovery=recovery)
    moving: dict[str, Callable[[], int]] = {
        "unfolded": _unfold,
        "sent": lambda: _each(pool, transactions.find_due(("queued",), clock.now(), _BATCH), resend),
        "awaited": lambda: _each(pool, transactions.find_due(("awaiting_consent",), clock.now(), _BATCH), _await),
    }
    steps: dict[str, Callable[[], int]] = {
        **({} if is_recovering else moving),
        "polled": lambda: _each(pool, _pollable(is_recovering=is_recovering), _poll),
        "reconciled": lambda: reconcile.run(_STEP_SECONDS).blocks,
        "summed": lambda: ledger.sum_confirmed(_BATCH) + ledger.sum_corrections(_BATCH),
        "replayed": lambda: replay.work_all(_STEP_SECONDS),
        "buried": deliver.bury,
        **_posting(courier),
        "purged": retain.purge,
        "probed": _probe,
    }
    counts = {name: _attempt(name, step) for name, step in steps.items()}
    _keep_failures()
    controls.observe({"ran_at": clock.now()})
    return {**counts, "passes": 1}


def _unfold() -> int:
    """Go on with the airdrops by a chunk each, until the step's time is over; how many rows became transactions.

    In no order: so each has its turn in some pass, however many there are, and however slow or broken others are.
    """
    end, moved = clock.monotonic() + _STEP_SECONDS, 0
    found = batches.find_open()
    random.shuffle(found)
    for batch in found:
        if clock.monotonic() > end:
            break
        moved += _attempt("batch", partial(airdrop.work, batch))
    return moved


def _pollable(*, is_recovering: bool) -> list[TransactionRow]:
    """What is to be asked about; a row that MetaKeep gave no id is asked about by being sent, so not in a recovery."""
    rows = transactions.find_due(("submitted", "unknown"), clock.now(), _BATCH)
    return [row for row in rows if "metakeep_transaction_id" in row or not is_recovering]


def _poll(row: TransactionRow) -> TransactionRow:
    if "metakeep_transaction_id" not in row:
        return send.ask_again(row)
    try:
        return settle.refresh(row)
    except GetSmartError as error:
        log.failure("tick.poll_failed", error, transaction_id=row["_id"])
        return settle.by_chain(row) or settle.wait(row)


def _await(row: TransactionRow) -> TransactionRow:
    try:
        return consent.look(row)
    except GetSmartError as error:
        log.failure("tick.await_failed", error, transaction_id=row["_id"])
        return consent.wait(row)


def _each(pool: ThreadPoolExecutor, rows: list[TransactionRow], work: Callable[[TransactionRow], Any]) -> int:
    """Work the rows side by side, those of one wallet in turn; one that fails is logged and has its turn again later.

    Rows of one wallet move one account document: side by side they would only conflict and be repeated. What has not
    begun when a step's time is over waits for the next pass, so that the lease is renewed in time.
    """
    end = clock.monotonic() + _STEP_SECONDS
    lines: dict[str, list[TransactionRow]] = {}
    turns = pace.Pace()
    for row in rows:
        lines.setdefault(_wallet_of(row) or row["_id"], []).append(row)

    def in_turn(line: list[TransactionRow]) -> int:
        return sum(_attempt("row", partial(_done, work, row, turns)) for row in line if clock.monotonic() < end)

    return sum(pool.map(in_turn, lines.values()))


def _done(work: Callable[[TransactionRow], Any], row: TransactionRow, turns: pace.Pace) -> int:
    turns.wait()
    try:
        return int(bool(work(row)))
    except Exception:
        # Due at once it would be the oldest again: so many of these and nobody else would ever have a turn.
        transactions.note(row, {"due_at": clock.now() + _FAILED_AGAIN})
        raise


def _wallet_of(row: TransactionRow) -> str | None:
    """The wallet whose account the row will move; a transfer to an address may lead to one of ours, too."""
    accounts = (row["target"]["account"], row["origin"]["account"])
    return next((account for account in accounts if account not in SYSTEM_ACCOUNTS), None)


def _attempt(name: str, step: Callable[[], int]) -> int:
    try:
        return step()
    except Exception as error:  # noqa: BLE001 - the clockwork must go on: whatever failed stays due and is tried again
        log.failure(f"tick.{name}_failed", error)
        return 0


def _add(totals: dict[str, int], counts: dict[str, int]) -> None:
    for name, count in counts.items():
        totals[name] = totals.get(name, 0) + count


def _probe() -> int:
    """Every 30 s mend leaked reserves, and ask provider and chain whether they are there, on behalf of `ops/health`."""
    seen = controls.read_all().get(controls.TICK, {})
    last = seen.get("probed_at")
    if last is not None and clock.now() - last < timedelta(seconds=_PROBE_EVERY_SECONDS):
        return 0
    facts: dict[str, Any] = {"probed_at": clock.now(), "has_node": chain.is_configured()}
    if _attempt("provider_probe", lambda: bool(client.call(protocol.get_developer_wallet(), seconds=_PROBE_SECONDS))):
        facts["provider_ok_at"] = clock.now()
    if not facts["has_node"] or _attempt("chain_probe", partial(_look_at_chain, facts)):
        facts["chain_ok_at"] = clock.now()
    controls.observe(facts)
    _attempt("repair", repair.repair_leaks)
    return 1


def _look_at_chain(facts: dict[str, Any]) -> int:
    """Note which chain the node is of, for whoever looks at the health, and whether it may be read."""
    facts["chain_id"] = chain.chain_id()
    return int(chain.head() >= 0)
