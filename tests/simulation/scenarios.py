"""What is going on in a run: every endpoint that changes something, in the company it may meet."""

from collections.abc import Callable

from local.sandbox import faults
from tests.simulation.actors import Cast, Op, attempt
from tests.simulation.world import HOOK

Scenario = Callable[[Cast], None]
UNIT = 10**18
LONG_REST_SECONDS = 30 * 60.0  # nobody looks for longer than anything may be sent again


def _wallet(cast: Cast, name: str) -> str:
    return str(cast.world.wallets[name]["wallet_id"])


def _mint(cast: Cast, name: str, key: str, amount: str = "10", *, wallet: str = "a", client: str = "app") -> Op:
    body = {"wallet_id": _wallet(cast, wallet), "amount": amount}
    return cast.op(name, client, "tokens/mint", body, key=key)


def mint(cast: Cast) -> None:
    """One mint, wanted by two callers under one key."""
    cast.caller("caller-1", _mint(cast, "mint-1", "k1"))
    cast.caller("caller-2", _mint(cast, "mint-2", "k1"))
    cast.ticks()
    cast.courier()


def mints(cast: Cast) -> None:
    """Two mints into one wallet, and one that uses the first one's key for something else."""
    cast.caller("caller-1", _mint(cast, "mint-1", "k1"))
    cast.caller("caller-2", _mint(cast, "mint-2", "k2", "7"))
    cast.caller("caller-3", _mint(cast, "mint-3", "k1", "8"))
    cast.ticks()


def away(cast: Cast) -> None:
    """One mint; then its caller and the clockwork are away for longer than anything may be sent again."""
    cast.caller("caller-1", _mint(cast, "mint-1", "k1"), tries=1)
    cast.rest_seconds = LONG_REST_SECONDS


def badge(cast: Cast) -> None:
    """One badge, claimed under two keys, and once more by another client."""
    claim = {"badge_id": "algebra", "claimant": "ada"}
    for number, (client, wallet) in enumerate((("app", "a"), ("app", "b"), ("capped", "a"))):
        body = {"wallet_id": _wallet(cast, wallet), "badge_claim": claim}
        key = f"k{number}"
        if client == "capped":
            body = {"wallet_id": _wallet(cast, wallet), "amount": "1"}
        cast.caller(f"caller-{number}", cast.op(f"badge-{number}", client, "tokens/mint", body, key=key))
    cast.ticks()
    cast.courier(2)


def cap(cast: Cast) -> None:
    """The last of the supply, wanted twice."""
    cast.gone = cast.world.leave_of_supply(15 * UNIT)
    cast.caller("caller-1", _mint(cast, "mint-1", "k1"))
    cast.caller("caller-2", _mint(cast, "mint-2", "k2"))
    cast.ticks(count=4)


def ceiling(cast: Cast) -> None:
    """A key's daily ceiling of 25, wanted three times by 10."""
    for number in range(3):
        op = _mint(cast, f"mint-{number}", f"k{number % 3}", client="capped")
        cast.caller(f"caller-{number}", op)
    cast.ticks(count=2)


def treasury(cast: Cast) -> None:
    """The treasury pays a wallet, and addresses that are and are not one of ours."""
    known, stranger = cast.world.wallets["b"]["address"], "0x" + "ab" * 20
    for number, target in enumerate(
        ({"to_wallet_id": _wallet(cast, "a")}, {"to_address": known}, {"to_address": stranger})
    ):
        body = {"amount": str(number + 1), **target}
        cast.caller(f"caller-{number}", cast.op(f"pay-{number}", "app", "tokens/transfer", body, key=f"k{number}"))
    cast.ticks()


def burn(cast: Cast) -> None:
    """A wallet's balance, burned by two who want more than there is."""
    for number in range(2):
        body = {"wallet_id": _wallet(cast, "a"), "amount": "60", "reason": "spent"}
        cast.caller(f"caller-{number}", cast.op(f"burn-{number}", "app", "tokens/burn", body, key=f"k{number}"))
    cast.ticks()
    cast.courier(2)


def consent(cast: Cast) -> None:
    """A transfer that its owner approves or denies, or never hears of; an equal one may be asked for beside it."""
    body = {"from_wallet_id": _wallet(cast, "a"), "to_wallet_id": _wallet(cast, "b"), "amount": "30"}
    for number in range(cast.chance.choice((1, 1, 2))):
        cast.caller(f"caller-{number}", cast.op(f"give-{number}", "app", "tokens/transfer", body, key=f"k{number}"))
    action = cast.chance.choice(("approve", "approve", "deny", "ignore"))
    if action != "ignore":
        cast.person(action, "app", tells=cast.chance.random() < 0.6)
    cast.ticks()
    cast.courier(2)


def airdrop(cast: Cast) -> None:
    """Rows for three wallets under one reference and two keys; somebody tries to cancel one of them."""
    rows = [{"wallet_id": _wallet(cast, name), "amount": str(number + 1)} for number, name in enumerate("abc")]
    body = {"reference": "june", "rows": rows}
    for number in range(2):
        cast.caller(f"caller-{number}", cast.op(f"drop-{number}", "app", "tokens/airdrop", body, key=f"k{number}"))
    cast.roles.append(("canceller", lambda: _cancel(cast)))
    cast.ticks(count=4)


def _cancel(cast: Cast) -> None:
    """Cancel whatever was not sent yet, as far as one sees."""
    scheduler = cast.world.scheduler
    for _ in range(3):
        scheduler.sleep(2.0)
        with scheduler.aside():
            row = cast.world.raw.transactions.find_one({"status": "queued", "send_started_at": {"$exists": False}})
        if row is not None:
            body = {"transaction_id": row["_id"], "action": "cancel"}
            op = cast.op(f"cancel-{len(cast.ops)}", "app", "tokens/transaction", body)
            attempt(cast, op)


def wallets(cast: Cast) -> None:
    """One person's wallet, wanted by two clients at once, erased, and wanted again."""
    body = {"owner": {"email": "new-learner@example.com"}, "label": "pupil"}
    made = [cast.op(f"create-{client}", client, "wallets/create", body) for client in ("app", "other")]
    for op in made:
        cast.caller(f"caller-{op.client}", op)
    cast.roles.append(("eraser", lambda: _erase(cast)))
    cast.caller("caller-again", cast.op("create-again", "app", "wallets/create", body), first_pause=6.0)
    cast.ticks(count=2)


def _erase(cast: Cast) -> None:
    scheduler = cast.world.scheduler
    scheduler.sleep(3.0)
    with scheduler.aside():
        row = cast.world.raw.wallets.find_one({"email": "new-learner@example.com"})
    if row is not None:
        op = cast.op("erase", "app", "wallets/erase", {"wallet_id": row["_id"]})
        for _ in range(2):
            if op.final is None:
                attempt(cast, op)
                scheduler.sleep(1.0)


def erase(cast: Cast) -> None:
    """A person is erased while somebody mints for them."""
    erased = cast.op("erase", "app", "wallets/erase", {"wallet_id": _wallet(cast, "c")})
    cast.caller("eraser", erased)
    cast.caller("caller", _mint(cast, "mint", "k1", wallet="c"))
    cast.ticks()


def endpoints(cast: Cast) -> None:
    """An endpoint is made, its secret changed, tested, paused, resumed and removed, while events happen."""
    url = f"{HOOK}/second"
    with cast.world.scheduler.aside():
        known = cast.world.raw.endpoints.find_one({"url": HOOK})
    assert known is not None
    name = {"endpoint_id": known["_id"]}
    path = "webhooks/endpoints"
    cast.caller("caller-1", _mint(cast, "mint", "k1"))
    cast.caller("maker", cast.op("subscribe", "app", path, {"url": url, "event_types": ["transaction.confirmed"]}))
    changes = [{"action": "rotate"}, {"action": "test"}, {"status": "paused"}, {"status": "enabled"}]
    first = cast.chance.randrange(len(changes))
    ops = [
        cast.op(f"change-{number}", "app", path, {**name, **change}, method="PATCH")
        for number, change in enumerate([*changes[first:], *changes[:first]])
    ]
    if cast.chance.random() < 0.3:
        ops.append(cast.op("remove", "app", path, None, method="DELETE", query=f"endpoint_id={known['_id']}"))
    cast.caller("owner", *ops, tries=2)
    cast.ticks(count=4)


def replay(cast: Cast) -> None:
    """What was told is told again, by event, by delivery and by span, while more happens."""
    raw = cast.world.raw
    with cast.world.scheduler.aside():
        delivery = raw.deliveries.find_one({}, sort=[("sequence", 1)])
    assert delivery is not None
    orders = [
        {"action": "replay", "event_id": delivery["event_id"]},
        {"action": "replay", "delivery_id": delivery["_id"]},
        {
            "action": "replay",
            "endpoint_id": delivery["endpoint_id"],
            "created_after": "2031-01-01T00:00:00Z",
            "created_before": "2032-01-01T00:00:00Z",
        },
        {"action": "replay", "all_failed": True},
    ]
    ops = [cast.op(f"replay-{number}", "app", "webhooks/deliveries", order) for number, order in enumerate(orders)]
    cast.caller("owner", *ops, tries=2)
    cast.caller("caller", _mint(cast, "mint", "k1"))
    cast.ticks()


def failing(cast: Cast) -> None:
    """A receiver that answers badly for a while."""
    codes = [cast.chance.choice((500, 500, 200, 429)) for _ in range(6)]

    def answer(_: str) -> int:
        return codes.pop() if codes else 200

    cast.world.receivers.answer = answer
    cast.caller("caller", _mint(cast, "mint", "k1"))
    cast.caller("caller-2", _mint(cast, "mint-2", "k2", wallet="b"))
    cast.ticks(count=4)


def fated(cast: Cast) -> None:
    """MetaKeep takes what it is given, and then it reverts, is never mined, or stays queued for long."""
    sandbox = cast.world.sandbox.world
    with cast.world.scheduler.aside(), sandbox.change():
        for path in ("mint", "burn", "transfer"):
            fate = cast.chance.choice(("failed", "cancelled", "stuck"))
            faults.order(sandbox, f"/v2/app/coin/{path}", fate, 1, {})
    cast.caller("caller-1", _mint(cast, "mint", "k1"))
    burned = {"wallet_id": _wallet(cast, "a"), "amount": "60", "reason": "spent"}
    cast.caller("caller-2", cast.op("burn", "app", "tokens/burn", burned, key="k2"))
    paid = {"to_wallet_id": _wallet(cast, "b"), "amount": "5"}
    cast.caller("caller-3", cast.op("pay", "app", "tokens/transfer", paid, key="k3"))
    cast.ticks()
    cast.courier()


def api_keys(cast: Cast) -> None:
    """A key is made in place of another, which is then revoked."""
    with cast.world.scheduler.aside():
        old = cast.world.raw.api_keys.find_one({"client_id": "other"})
    assert old is not None
    body = {"client_id": "other", "scopes": ["tokens:read"], "replaces": old["_id"]}
    cast.caller("admin", cast.op("replace", "admin", "ops/keys", body), tries=2)
    op = cast.op("revoke", "admin", "ops/keys", None, method="DELETE", query=f"key_id={old['_id']}")
    cast.caller("admin-2", op, tries=2)
    cast.ticks(count=1)


SCENARIOS: dict[str, Scenario] = {
    work.__name__: work
    for work in (
        *(mint, mints, away, badge, cap, ceiling, treasury, burn, consent, airdrop),
        *(wallets, erase, endpoints, replay, failing, fated, api_keys),
    )
}
