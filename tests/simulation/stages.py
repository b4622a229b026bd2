"""Every endpoint that changes something, alone on the stage: what is prepared, its one call, and who comes next.

The call is killed at one boundary after the other; so is whoever comes next: the same caller's retry, the tick, or
MetaKeep's webhook. Then all calms down, and it has to have happened once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from getsmart.machine import airdrop
from getsmart.stores import batches, transactions
from tests.simulation.actors import Cast, Op, attempt, deliver_webhooks, in_process
from tests.simulation.scenarios import Scenario
from tests.simulation.world import HOOK

NEXT = ("retry", "tick", "webhook")
FIRST, SECOND = "first#1", "next"
_LEASE_SECONDS = transactions.LEASE_SECONDS + 1.0
Act = Callable[[str], Any]  # in a process of that name


@dataclass(frozen=True)
class Stage:
    """An endpoint's one call; `prepare` is done before, and nobody is killed there.

    `again` are the parts of the outcome where a call shows as often as it is made: it has no idempotency key. A call
    that `may_be_late` is one that the tick can overtake: then the end is what there is without the call.
    """

    prepare: Callable[[Cast], Act]
    again: tuple[str, ...] = ()
    may_be_late: bool = False

    def __call__(self, following: str) -> Scenario:
        """The scenario: the call, then who comes next."""
        return partial(self._play, following)

    def _play(self, following: str, cast: Cast) -> None:
        act = self.prepare(cast)
        scheduler, world = cast.world.scheduler, cast.world

        def work() -> None:
            act(FIRST)
            scheduler.sleep(_LEASE_SECONDS)
            if following == "retry":
                act(SECOND)
            elif following == "tick":
                in_process(cast, SECOND, world.tick)
            else:
                deliver_webhooks(cast, named=SECOND)

        cast.roles.append(("caller", work))


def _once(cast: Cast, op: Op) -> Act:
    """A caller who has its reply does not call again."""

    def act(name: str) -> None:
        if op.final is None:
            attempt(cast, op, named=name)

    return act


def _wallet(cast: Cast, name: str) -> str:
    return str(cast.world.wallets[name]["wallet_id"])


def _money(path: str, body: Callable[[Cast], Any]) -> Stage:
    return Stage(lambda cast: _once(cast, cast.op("first", "app", path, body(cast), key="k")))


def _consent(cast: Cast) -> Act:
    """A transfer waits, its owner has approved, and the browser's id is about to be told."""
    body = {"from_wallet_id": _wallet(cast, "a"), "to_wallet_id": _wallet(cast, "b"), "amount": "30"}
    asked = cast.op("ask", "app", "tokens/transfer", body, key="k")
    attempt(cast, asked)
    (token,) = cast.world.sandbox.pending_consents()
    answer = cast.world.sandbox.answer_consent(token, is_approved=True)
    cast.world.scheduler.advance(3)
    assert asked.final is not None
    told = {
        "transaction_id": asked.final.data["transaction_id"],
        "metakeep_transaction_id": answer["transactionId"],
    }
    return _once(cast, cast.op("first", "app", "tokens/consent", told))


def _cancel(cast: Cast) -> Act:
    """A row of an airdrop that has become a transaction and was not sent yet."""
    body = {"reference": "june", "rows": [{"wallet_id": _wallet(cast, "a"), "amount": "1"}]}
    attempt(cast, cast.op("drop", "app", "tokens/airdrop", body, key="k"))
    (batch,) = batches.find_open()
    airdrop.work(batch)
    row = cast.world.raw.transactions.find_one({"batch_id": batch["_id"]})
    assert row is not None
    order = {"transaction_id": row["_id"], "action": "cancel"}
    return _once(cast, cast.op("first", "app", "tokens/transaction", order))


def _submitted(cast: Cast) -> None:
    """A mint that MetaKeep has mined, and we have not heard of."""
    body = {"wallet_id": _wallet(cast, "a"), "amount": "10"}
    attempt(cast, cast.op("mint", "app", "tokens/mint", body, key="k"))
    cast.world.scheduler.advance(4)


def _inbound(cast: Cast) -> Act:
    _submitted(cast)
    return lambda name: deliver_webhooks(cast, named=name)


def _tick(cast: Cast) -> Act:
    _submitted(cast)
    return lambda name: in_process(cast, name, cast.world.tick)


def _endpoint(cast: Cast) -> dict[str, Any]:
    row = cast.world.raw.endpoints.find_one({"url": HOOK})
    assert row is not None
    return row


def _change(*again: str, **change: str) -> Stage:
    def prepare(cast: Cast) -> Act:
        body = {"endpoint_id": _endpoint(cast)["_id"], **change}
        return _once(cast, cast.op("first", "app", "webhooks/endpoints", body, method="PATCH"))

    return Stage(prepare, again)


def _remove(cast: Cast) -> Act:
    query = f"endpoint_id={_endpoint(cast)['_id']}"
    return _once(cast, cast.op("first", "app", "webhooks/endpoints", None, method="DELETE", query=query))


def _replay(cast: Cast) -> Act:
    event = cast.world.raw.events.find_one({"client_id": "app"}, sort=[("sequence", 1)])
    assert event is not None
    order = {"action": "replay", "event_id": event["_id"]}
    return _once(cast, cast.op("first", "app", "webhooks/deliveries", order))


def _key(cast: Cast) -> str:
    row = cast.world.raw.api_keys.find_one({"client_id": "other"})
    assert row is not None
    return str(row["_id"])


def _replace(cast: Cast) -> Act:
    body = {"client_id": "other", "scopes": ["tokens:read"], "replaces": _key(cast)}
    return _once(cast, cast.op("first", "admin", "ops/keys", body))


def _revoke(cast: Cast) -> Act:
    return _once(cast, cast.op("first", "admin", "ops/keys", None, method="DELETE", query=f"key_id={_key(cast)}"))


def _plain(path: str, body: Callable[[Cast], Any], *again: str) -> Stage:
    return Stage(lambda cast: _once(cast, cast.op("first", "app", path, body(cast))), again)


STAGES: dict[str, Stage] = {
    "wallets/create": _plain("wallets/create", lambda _: {"owner": {"email": "new@example.com"}, "label": "pupil"}),
    "wallets/erase": _plain("wallets/erase", lambda cast: {"wallet_id": _wallet(cast, "c")}),
    "tokens/mint": _money("tokens/mint", lambda cast: {"wallet_id": _wallet(cast, "a"), "amount": "10"}),
    "tokens/mint for a badge": _money(
        "tokens/mint",
        lambda cast: {"wallet_id": _wallet(cast, "a"), "badge_claim": {"badge_id": "algebra", "claimant": "ada"}},
    ),
    "tokens/transfer": _money("tokens/transfer", lambda cast: {"to_wallet_id": _wallet(cast, "b"), "amount": "5"}),
    "tokens/transfer with consent": _money(
        "tokens/transfer",
        lambda cast: {"from_wallet_id": _wallet(cast, "a"), "to_wallet_id": _wallet(cast, "b"), "amount": "30"},
    ),
    "tokens/consent": Stage(_consent),
    "tokens/burn": _money(
        "tokens/burn", lambda cast: {"wallet_id": _wallet(cast, "a"), "amount": "60", "reason": "spent"}
    ),
    "tokens/airdrop": _money(
        "tokens/airdrop",
        lambda cast: {
            "reference": "june",
            "rows": [{"wallet_id": _wallet(cast, name), "amount": "2"} for name in "abc"],
        },
    ),
    "tokens/transaction": Stage(_cancel, may_be_late=True),
    "webhooks/metakeep": Stage(_inbound),
    "webhooks/endpoints POST": _plain("webhooks/endpoints", lambda _: {"url": f"{HOOK}/second"}, "endpoints"),
    "webhooks/endpoints rotate": _change(action="rotate"),
    "webhooks/endpoints test": _change("events", action="test"),
    "webhooks/endpoints pause": _change(status="paused"),
    "webhooks/endpoints DELETE": Stage(_remove),
    "webhooks/deliveries": Stage(_replay),
    "ops/keys POST": Stage(_replace, ("api_keys",)),
    "ops/keys DELETE": Stage(_revoke),
    "ops/tick": Stage(_tick),
}
