"""Who acts in a run: callers that retry, ticks, MetaKeep's webhooks, and persons who are asked for their consent."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.money import Killed
from tests.simulation.plan import Boundary
from tests.simulation.scheduler import Process
from tests.simulation.world import Row, World

INBOUND = "webhooks/metakeep"
_AGAIN = frozenset({"idempotency_in_progress", "rate_limited"})
MOST_SKEW = 14.0  # seconds that a clock is wrong, so that two may be 28 apart; hosts that keep time are much better
_SKEWS = (*([0.0] * 6), 1.0, -3.0, MOST_SKEW, -MOST_SKEW)


class Reply(NamedTuple):
    """What a function answered, whether or not its caller came to see it."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def code(self) -> str:
        """The code of an error, or nothing."""
        content = json.loads(self.body)
        return str(content["error"]["code"]) if content["status"] == "error" else ""

    @property
    def data(self) -> Row:
        """The data of a success."""
        found: Row = json.loads(self.body)["data"]
        return found

    @property
    def is_definite(self) -> bool:
        """Whether a caller stops here: anything but an outage, or a twin at work."""
        return self.status < 500 and self.code not in _AGAIN


@dataclass
class Op:
    """One thing that a client wants, however many calls it takes."""

    name: str
    client: str
    path: str
    body: Any
    key: str | None = None
    method: str = "POST"
    query: str = ""
    replies: list[Reply] = field(default_factory=list)
    final: Reply | None = None
    tries: int = 0

    @property
    def is_money(self) -> bool:
        """Whether it claims an idempotency key."""
        return self.key is not None


@dataclass
class Cast:
    """The actors of one run, made by a scenario; chance is the seed's."""

    world: World
    seed: int
    chance: random.Random
    roles: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    before: dict[str, set[str]] = field(default_factory=dict)  # events that were there when an endpoint was first seen
    gone: int = 0  # base units that left the supply before the run
    rest_seconds: float = 5.0  # between the end of the chaos and the first look of the calm

    def op(self, name: str, client: str, path: str, body: Any, **more: Any) -> Op:
        """Something wanted, to be looked at in the end."""
        made = Op(name, client, path, body, **more)
        self.ops.append(made)
        return made

    def caller(self, name: str, *ops: Op, tries: int = 3, first_pause: float | None = None) -> None:
        """An actor that wants these, one after the other, and tries again for a while."""
        pause = self.chance.choice((0.0, 0.0, 0.0, 0.5, 4.0)) if first_pause is None else first_pause
        pauses = [self.chance.choice((0.1, 2.0, 16.0, 50.0)) for _ in range(tries)]

        def work() -> None:
            self.world.scheduler.sleep(pause)
            for op in ops:
                for rest in pauses:
                    if op.final is not None:
                        break
                    attempt(self, op)
                    if op.final is None:
                        self.world.scheduler.sleep(rest)

        self.roles.append((name, work))

    def ticks(self, name: str = "tick", count: int = 3) -> None:
        """An actor that is the platform's trigger."""
        pauses = [self.chance.choice((0.05, 1.0, 3.0, 20.0, 45.0, 70.0)) for _ in range(count)]

        def work() -> None:
            for number, pause in enumerate(pauses):
                self.world.scheduler.sleep(pause)
                in_process(self, f"{name}#{number}", self.world.tick)

        self.roles.append((name, work))

    def courier(self, count: int = 3) -> None:
        """An actor that is MetaKeep's sender of webhooks: late, repeated and out of order as it pleases."""
        pauses = [self.chance.choice((0.05, 2.5, 6.0, 30.0)) for _ in range(count)]
        moods = [(self.chance.random() < 0.3, self.chance.random() < 0.3) for _ in range(count)]

        def work() -> None:
            for pause, (is_twice, is_reversed) in zip(pauses, moods, strict=True):
                self.world.scheduler.sleep(pause)
                deliver_webhooks(self, is_twice=is_twice, is_reversed=is_reversed)

        self.roles.append(("courier", work))

    def person(self, action: str, client: str, *, tells: bool) -> None:
        """An actor that answers each consent it is asked for; its browser tells us of an approval, or not."""
        pauses = [self.chance.choice((0.05, 3.0, 20.0)) for _ in range(4)]

        def work() -> None:
            for pause in pauses:
                self.world.scheduler.sleep(pause)
                with self.world.scheduler.aside():
                    tokens = self.world.sandbox.pending_consents()
                for token in tokens:
                    self._answer(token, action, client, tells=tells)

        self.roles.append(("person", work))

    def _answer(self, token: str, action: str, client: str, *, tells: bool) -> None:
        answer = self.world.sandbox.answer_consent(token, is_approved=action == "approve")
        if not tells or "transactionId" not in answer:
            return
        with self.world.scheduler.aside():
            row = self.world.raw.transactions.find_one({"consent_token": token}, {"_id": 1})
        if row is not None:
            body = {"transaction_id": row["_id"], "metakeep_transaction_id": answer["transactionId"]}
            op = self.op(f"report-{len(self.ops)}", client, "tokens/consent", body)
            for pause in (1.0, 5.0):
                if op.final is None:
                    attempt(self, op)
                    self.world.scheduler.sleep(pause)

    def skew(self, process: str) -> float:
        """How wrong the clock of a process is."""
        return random.Random(f"{self.seed}:{process}").choice(_SKEWS)


def in_process(cast: Cast, name: str, work: Callable[[], Any]) -> Any:
    """Run it in a process of its own; None when that died."""
    actor = cast.world.scheduler.current
    if actor is None:
        return work()
    before, actor.process = actor.process, Process(name, cast.skew(name))
    cast.world.scheduler.paths[name] = actor.process.crossed
    try:
        return work()
    except Killed:
        return None
    finally:
        actor.process = before


def attempt(cast: Cast, op: Op, *, named: str | None = None) -> None:
    """One call for an op. Its reply may never come, and its request may arrive twice."""
    op.tries += 1
    in_process(cast, named or f"{op.name}#{op.tries}", lambda: _call(cast, op))


def _call(cast: Cast, op: Op) -> None:
    world = cast.world
    event = world.event(op.client, op.method, op.body, key=op.key, query=op.query)
    result = world.call(op.path, event)
    reply = Reply(result["statusCode"], result["headers"], result["body"])
    op.replies.append(reply)
    for phase in ("before", "after"):
        fault = world.scheduler.cross(Boundary("reply", op.path, "the platform", phase))  # type: ignore[arg-type]
        if fault is not None and fault.kind == "lose":
            return
        if fault is not None and fault.kind == "duplicate":
            world.scheduler.spawn(f"twin {op.tries} of {op.name}", lambda: attempt(cast, op))
    if reply.is_definite and op.final is None:
        op.final = reply


def deliver_webhooks(
    cast: Cast, *, is_twice: bool = False, is_reversed: bool = False, named: str | None = None
) -> None:
    """What MetaKeep has to tell by now, each delivery in a process of its own; what is not taken is told again."""
    world = cast.world
    with world.scheduler.aside():
        world.sandbox.settle()
        due = world.sandbox.sender._due()
    for row in (due[::-1] if is_reversed else due) * (2 if is_twice else 1):
        with world.scheduler.aside():
            headers = world.sandbox.sender._headers(row, "/v1/webhooks/metakeep", row["payload"].encode())
        http = {"method": "POST", "path": "", "headers": headers, "queryString": "", "body": row["payload"]}
        event = {"http": {**http, "isBase64Encoded": False}}
        name = named or f"webhook {row['seq']}#{world.told_of.count(row['seq'])}"
        world.told_of.append(row["seq"])
        result = in_process(cast, name, lambda event=event: world.call(INBOUND, event))
        with world.scheduler.aside():
            world.sandbox.sender._note(row, result["statusCode"] if result else None)
