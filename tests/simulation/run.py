"""One run: chaos by the plan, then calm until all is at rest, then the judges."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from getsmart.models import is_final
from tests.simulation import checkers, checkers_told
from tests.simulation.actors import Cast, attempt, deliver_webhooks
from tests.simulation.checkers import Check, is_at_rest
from tests.simulation.facts import WITH_OUTBOX, Facts, gather
from tests.simulation.plan import Plan
from tests.simulation.scenarios import LONG_REST_SECONDS, SCENARIOS, Scenario
from tests.simulation.scheduler import Process, Stuck
from tests.simulation.stages import STAGES
from tests.simulation.world import Row, World

# Seconds between the looks of the calm: leases, a repair's quiet time, polls, the life of a consent, back-off.
_PAUSES = (20, 40, 62, 62, 62, 130, 300, 400, 600, 900, 900, 2000, 7300, 19_000, 44_000, 44_000, 90_000, 90_000)
_RELEASED = 9  # the look before which MetaKeep goes on with what it has left lying
_ALWAYS = (*checkers.ALWAYS, *checkers_told.ALWAYS)
_IN_THE_END = (*_ALWAYS, *checkers.IN_THE_END, *checkers_told.IN_THE_END)

_WATCHED = ("timeline", "status", "lease_until")


@dataclass
class Report:
    """What came of a run: broken promises, a digest of what happened, and the boundaries with what met them there."""

    seed: int
    scenario: str
    violations: list[str]
    trace: str
    crossings: int
    sites: dict[str, list[int]]
    faults: dict[str, int]
    plan: dict[str, Any]
    seconds: float
    paths: dict[str, list[str]]
    actors: list[str]
    outcome: dict[str, list[str]]
    story: list[str] = field(default_factory=list)


def scenario_of(seed: int) -> str:
    """The scenario of a seed: all of them in turn."""
    return list(SCENARIOS)[seed % len(SCENARIOS)]


def _scene(name: str) -> Scenario:
    """The scenario of that name, or a stage and who comes next on it: `tokens/mint then tick`."""
    stage, _, following = name.partition(" then ")
    return STAGES[stage](following) if following else SCENARIOS[name]


def run(world: World, seed: int, plan: Plan | None = None, scenario: str | None = None) -> Report:
    """The run of a seed, or the same actors under a plan that is given."""
    started = time.perf_counter()
    plan = plan or Plan(drawn_from=seed)
    plan.log = []
    name = scenario or scenario_of(seed)
    world.begin(plan, seed)
    cast = Cast(world, seed, random.Random(f"{seed}:cast"))
    cast.rest_seconds = cast.chance.choice((5.0, 5.0, 5.0, 5.0, 5.0, LONG_REST_SECONDS))
    _scene(name)(cast)
    watch = Watch(world, cast)
    world.wire.watch = watch.look
    try:
        violations = _judged(world, cast, watch, plan)
    finally:
        world.wire.watch = None
    return Report(
        seed=seed,
        scenario=name,
        violations=list(dict.fromkeys(violations)),
        trace=world.scheduler.trace,
        crossings=world.scheduler.crossings,
        sites=world.scheduler.sites,
        faults=dict(Counter(fault.kind for fault in plan.met)),
        plan=plan.dump(),
        seconds=time.perf_counter() - started,
        paths=world.scheduler.paths,
        actors=[name for name, _ in cast.roles],
        outcome=outcome(gather(world, cast)),
        story=plan.log,
    )


def _judged(world: World, cast: Cast, watch: "Watch", plan: Plan) -> list[str]:
    for name, work in cast.roles:
        if name not in plan.dropped:
            world.scheduler.spawn(name, work)
    try:
        world.scheduler.run()
    except Stuck as stuck:
        return [f"stuck: {stuck}"]
    violations = [f"crash: {crash}" for crash in world.scheduler.crashes]
    violations += judge(gather(world, cast), _ALWAYS)
    violations += calm(world, cast, watch)
    return [*violations, *watch.seen_wrong, *judge(gather(world, cast), _IN_THE_END)]


def outcome(facts: Facts) -> dict[str, list[str]]:
    """What there is in the end, without ids, secrets and times: equal in two runs that had the same effect."""
    rows = facts.rows
    names = {row["address_key"]: row["_id"] for row in rows["wallets"]}
    names = {address: str(number) for number, address in enumerate(sorted(names, key=names.__getitem__))}
    names |= {facts.treasury_address.lower(): "treasury", "0x" + "0" * 40: "nobody"}
    found = {
        "chain": [f"{names.get(one.sender)} {names.get(one.recipient)} {one.units}" for one in facts.transfers],
        "transactions": [f"{row['kind']} {row['amount']} {row['status']}" for row in facts.transactions],
        "accounts": [f"{row['posted']} {row['sequence']}" for row in rows["accounts"]],
        "wallets": [f"{row.get('email')} {[one['label'] for one in row['links']]}" for row in rows["wallets"]],
        "batches": [f"{row['reference']} {row['status']} {row['unfolded']}" for row in rows["batches"]],
        "endpoints": [f"{row['url']} {row['status']}" for row in rows["endpoints"]],
        "api_keys": [f"{row['client_id']} {row['scopes']} {row['revoked_at'] is None}" for row in rows["api_keys"]],
        "breaks": [f"{row['type']} {row['status']}" for row in rows["breaks"]],
        "events": [f"{row['client_id']} {row['type']}" for row in rows["events"]],
    }
    return {name: sorted(lines) for name, lines in found.items()}


def judge(facts: Facts, checks: tuple[Check, ...]) -> list[str]:
    """What is broken."""
    return [sentence for check in checks for sentence in check(facts)]


def calm(world: World, cast: Cast, watch: "Watch") -> list[str]:
    """No faults any more: callers retry, webhooks come, ticks run and time passes until all is at rest."""
    violations = []
    world.scheduler.run_out()
    for number, pause in enumerate((cast.rest_seconds, *_PAUSES)):
        world.scheduler.advance(pause)
        if number == _RELEASED:
            world.sandbox.release()
        for op in list(cast.ops):
            if op.final is None:
                attempt(cast, op)
                watch.look("endpoints")
        deliver_webhooks(cast)
        world.tick()
        facts = gather(world, cast)
        violations += judge(facts, (checkers.not_too_much, checkers.nobody_is_forgotten))
        if is_quiet(facts):
            break
    for op in cast.ops:
        if op.is_money and op.final is not None and op.final.status < 300:
            attempt(cast, op)  # it repeats what it was answered, also now
    return violations


def is_quiet(facts: Facts) -> bool:
    """Whether nothing is left to be done."""
    return (
        all(op.final is not None for op in facts.ops)
        and all(is_at_rest(row) and not row.get("is_unsummed") for row in facts.transactions)
        and not any(row.get("outbox") for name in WITH_OUTBOX for row in facts.rows[name])
        and all(batch["status"] in ("completed", "accepting") for batch in facts.rows["batches"])
        and all(available == expected for available, expected in facts.reserves().values())
        and not _awaited(facts)
        and not any(checkers.each_transfer_is_known(facts))
    )


def _awaited(facts: Facts) -> bool:
    waiting = {row["_id"] for row in facts.rows["endpoints"] if row["status"] == "paused"}
    return any(row["status"] == "pending" and row["endpoint_id"] not in waiting for row in facts.rows["deliveries"])


class Watch:
    """Looks at every transaction after each write: what is final stays, no lease is broken, no mark is too early.

    It also sees which events were there before an endpoint was.
    """

    def __init__(self, world: World, cast: Cast) -> None:
        self._world, self._cast = world, cast
        self._known: dict[str, Row] = {}
        self._holders: dict[str, Process | None] = {}
        self.seen_wrong: list[str] = []
        self.look("endpoints")

    def look(self, collection: str, process: Process | None = None) -> None:
        """After a write was committed by a process, or by the simulation."""
        if collection in ("transactions", "commitTransaction"):
            for row in self._world.raw.transactions.find({}, dict.fromkeys(_WATCHED, 1)):
                before = self._known.get(row["_id"])
                if before is not None and before != row:
                    self.seen_wrong += self._changed(before, row, process)
                if before is None or row["lease_until"] > before["lease_until"]:
                    self._holders[row["_id"]] = process
                self._known[row["_id"]] = row
        if collection in ("inbound_events", "commitTransaction"):
            self.seen_wrong += self._marks()
        if collection == "endpoints":
            self._meet_endpoints()

    def _meet_endpoints(self) -> None:
        before, raw = self._cast.before, self._world.raw
        new = [row["_id"] for row in raw.endpoints.find({}, {"_id": 1}) if row["_id"] not in before]
        if new:
            outboxes = [raw[name].find({}, {"outbox.event_id": 1}) for name in WITH_OUTBOX]
            waiting = {event["event_id"] for rows in outboxes for row in rows for event in row.get("outbox", ())}
            known = waiting | {row["_id"] for row in raw.events.find({}, {"_id": 1})}
            before.update(dict.fromkeys(new, known))

    def _changed(self, before: Row, row: Row, process: Process | None) -> Iterator[str]:
        """I4, and I1's rule that a claim is taken over once its holder's time is over."""
        old, new = before["timeline"], row["timeline"]
        if new[: len(old)] != old or row["status"] != new[-1]["status"]:
            yield f"I4: {row['_id']} was rewritten from {old} to {new}"
        if len(new) > len(old) and is_final(old[-1]["status"]):
            yield f"I4: {row['_id']} was {old[-1]['status']} and moved on"
        left = (before["lease_until"] - self._world.scheduler.true_now()).total_seconds()
        is_renewed = process is not None and process is self._holders.get(row["_id"])
        skew_seconds = process.skew_seconds if process else 0.0
        if row["lease_until"] > before["lease_until"] and not is_renewed and left > skew_seconds + 0.01:
            yield f"I1: {row['_id']} was taken over {left:.0f} s before its lease ended"

    def _marks(self) -> Iterator[str]:
        """I1: an inbound delivery counts as seen once its effect is there, and never before."""
        raw, sandbox = self._world.raw, self._world.sandbox.world
        seen = [row["_id"] for row in raw.inbound_events.find({}, {"_id": 1})]
        with sandbox.change():
            rows = sandbox.store.rows("SELECT event_id, transaction_id FROM outbox")
        about = {row["event_id"]: row["transaction_id"] for row in rows}
        for event_id in seen:
            row = raw.transactions.find_one({"metakeep_transaction_id": about.get(event_id)}, {"status": 1})
            if row is None or not is_final(row["status"]):
                yield f"I1: delivery {event_id} is marked as seen, and its effect is not there"
