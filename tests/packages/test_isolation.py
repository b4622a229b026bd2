"""Two applications with equal scopes: nothing that one of them can send shows or touches what is the other's.

Every method of every function of project.yml is walked, by the models that validate its input. A function or a field
that is new has to be taught here (MINE, THEIRS or HARMLESS), or the test fails. Per field that can name something, the
stranger names what is Alice's; it has to read like a name that never was. What is left to share is the shared wallet:
its e-mail and chain address, and amounts and balances of its account.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import urlencode

import pytest
from pydantic import BaseModel

from getsmart.web import Contract
from ops import functions
from tests.edge import MakeClient, Raw
from tests.money import Bench
from tests.support import Answer, Client, call, event, load, unique

ROUTES = [f"{function.package}/{function.name}" for function in functions.load() if function.web]
# What only reads comes first: what the stranger writes on the way, naming what is Alice's, is then the stranger's own.
CONTRACTS = sorted(
    ((route, contract) for route in ROUTES for contract in load(route).main().contracts()),
    key=lambda one: one[1].method != "GET",
)
MONEY = ("tokens/mint", "tokens/transfer", "tokens/burn", "tokens/airdrop")

# Fields that name nothing: whatever stands in them, they select or describe the caller's own.
HARMLESS = {
    *("amount", "reason", "metadata", "limit", "format", "kind", "status", "created_after", "created_before", "at"),
    *("source", "rows", "action", "asset", "mode", "scopes", "allowed_ips", "expires_at", "overlap_seconds", "limits"),
    *(
        "per_second",
        "per_hour",
        "mint_per_day",
        "treasury_per_day",
        "url",
        "event_types",
        "type",
        "from",
        "to",
        "after",
    ),
    "all_failed",
}
# Where a field means something else than elsewhere.
NAMING = {("tokens/airdrop", "rows")}
UNKNOWN_ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@dataclass
class World:
    """What Alice has (`theirs`), what the stranger has (`mine`), and names that nobody has (`nobody`), by field."""

    alice: Client
    stranger: Client
    theirs: dict[str, Any] = field(default_factory=dict)
    mine: dict[str, Any] = field(default_factory=dict)
    nobody: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every field of a model, those of inner models as `owner.email`."""
    for name, info in model.model_fields.items():
        inner = [kind for kind in (info.annotation, *get_args(info.annotation)) if isinstance(kind, type)]
        models = [kind for kind in inner if issubclass(kind, BaseModel)]
        if models:
            yield from leaves(models[0], f"{prefix}{name}.")
        else:
            yield prefix + name


def names_something(route: str, path: str) -> bool:
    """Whether a field of an endpoint can name what belongs to somebody."""
    leaf = path.rpartition(".")[2]
    return leaf not in HARMLESS or (route, leaf) in NAMING


def groups(model: type[BaseModel]) -> list[tuple[str, ...]]:
    """The fields of which exactly one has to be given."""
    validators = model.__pydantic_decorators__.model_validators.values()
    return [names for validator in validators if (names := getattr(validator.func, "exactly_one_of", ()))]


def filled(world: World, route: str, model: type[BaseModel], path: str, value: Any) -> dict[str, Any]:
    """Input that the endpoint takes from the stranger, with `value` at `path` (empty: all of it the stranger's own)."""
    top = path.partition(".")[0]
    chosen = {top if top in names else names[0] for names in groups(model)}
    wanted = {name for name, info in model.model_fields.items() if info.is_required()} | chosen | ({top} - {""})
    content = {name: own(world, route, name) for name in wanted if name != path}
    if path:
        *parents, leaf = path.split(".")
        inner = content
        for parent in parents:
            inner[parent] = inner = dict(inner[parent])
        inner[leaf] = value
    return {**content, **fitting(model, content)}


def fitting(model: type[BaseModel], content: dict[str, Any]) -> dict[str, Any]:
    """What a model asks for beside the fields that are filled."""
    if model.__name__ == "EndpointChange":
        return {"status": "enabled"}
    if model.__name__ != "ReplayBody":
        return {}
    named = {} if content.keys() - {"action"} else {"all_failed": True}
    span = {"created_after": "2020-01-01T00:00:00Z"} if "endpoint_id" in content else {}
    return {"action": "replay", **named, **span}


def own(world: World, route: str, name: str) -> Any:
    """The stranger's own value for a field."""
    known = {**world.mine, **world.mine.get(route, {})}
    assert name in known, f"{route}: teach this test what the stranger's own `{name}` is"
    return known[name]


def send(client: Client, route: str, contract: Contract[Any], content: dict[str, Any], key: str = "") -> Answer:
    """Call an endpoint with input, as a query or as a body."""
    headers = {"authorization": f"Bearer {client.token}"}
    if route in MONEY:
        headers["idempotency-key"] = key or unique("fresh")
    if contract.method in ("GET", "DELETE"):
        return call(route, event(contract.method, query=urlencode(content), headers=headers))
    headers["content-type"] = "application/json"
    return call(route, event(contract.method, body=json.dumps(content), headers=headers))


def seen(answer: Answer, named: Any) -> Any:
    """What a reply says, but for the name that was sent and what differs from call to call.

    Of an accepted order no more than that it was.
    """
    if not answer.text.startswith("{") or answer.status == 202:
        return answer.status
    body = json.loads(answer.text.replace(str(named), "<named>"))
    if body["status"] == "error":
        return answer.status, {**body["error"], "request_id": None}
    return answer.status, {**body["data"], "as_of": None}


def told(world: World, answer: Answer, content: dict[str, Any]) -> list[str]:
    """What of Alice's a reply gives away, beyond what was sent."""
    sent, text = json.dumps(content), answer.text + json.dumps(answer.headers)
    return [mark for mark in world.marks if mark in text and mark not in sent]


def alices(raw: Raw, world: World) -> dict[Any, Any]:
    """Every document that is Alice's alone, and her links to what is shared; without the counts of her calls."""
    kept: dict[Any, Any] = {}
    for name in raw.list_collection_names():
        for row in raw[name].find({}, {"usage": 0, "last_used_at": 0}):
            links = [link for link in row.get("links", []) if link["client_id"] == "alice"]
            is_hers = row.get("client_id") == "alice" or any(
                row.get(owner) == world.theirs["wallet_id"] for owner in ("_id", "account", "wallet_id")
            )
            if is_hers or links:
                kept[name, row["_id"]] = row if is_hers else links
    return kept


def texts(value: Any) -> Iterator[str]:
    """Every text inside a document."""
    if isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(texts, value.values()))
    elif isinstance(value, list):
        yield from itertools.chain.from_iterable(map(texts, value))
    elif isinstance(value, str):
        yield value


def wallet(client: Client, **more: Any) -> dict[str, Any]:
    """A new person's wallet."""
    return client.post("wallets/create", {"owner": {"email": f"{unique('person')}@example.com"}, **more}).data


def ordered(client: Client, path: str, body: dict[str, Any], key: str) -> dict[str, Any]:
    """Order and be accepted."""
    answer = client.post(path, body, key=key)
    assert answer.status == 202, answer.text
    return answer.data


@pytest.fixture
def world(bench: Bench, make_client: MakeClient) -> World:
    """Alice and the stranger, each with a wallet, transactions in all states, an airdrop; one wallet is shared."""
    made = World(make_client("alice"), make_client("stranger"))
    alice, shared = furnish(made.alice, "alice", made.keys, {"owner": {"email": f"{unique('shared')}@example.com"}})
    stranger, _ = furnish(made.stranger, "stranger", {}, {"owner": shared["owner"]})
    for name, client in (("alice", made.alice), ("stranger", made.stranger)):
        ordered(
            client,
            "tokens/mint",
            {"wallet_id": shared["wallet_id"], "amount": "5", "reason": f"{name} gave"},
            unique(name),
        )
    bench.settle()
    for client, has in ((made.alice, alice), (made.stranger, stranger)):
        open_ones(client, has, made.keys if has is alice else {})
    made.theirs = {**alice, "owner": shared["owner"]}
    made.mine = {
        **stranger,
        "wallets/erase": {"wallet_id": wallet(made.stranger)["wallet_id"]},
        "owner": shared["owner"],
    }
    made.nobody = nobody()
    made.mine["shared_wallet_id"] = shared["wallet_id"]
    made.marks = marks(bench.raw, made, shared)
    return made


def furnish(
    client: Client, name: str, keys: dict[str, str], shared: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Wallets, a badge, an airdrop; (what `client` has by the names of fields, the shared wallet)."""
    private = wallet(client, label=f"{name}s-label", metadata={"note": f"{name}s-note"})
    wallet_id, badge = private["wallet_id"], {"badge_id": f"{name}s-badge", "claimant": f"{name}s-claimant"}
    joint = client.post("wallets/create", {**shared, "label": f"{name}s-shared", "metadata": {"n": f"{name}s-n"}}).data
    keys |= {path: f"{name}-{path}" for path in MONEY}
    minted = ordered(
        client,
        "tokens/mint",
        {"wallet_id": wallet_id, "amount": "50", "reason": f"{name}s-reason"},
        f"{name}-tokens/mint",
    )
    rewarded = ordered(client, "tokens/mint", {"wallet_id": wallet_id, "badge_claim": badge}, unique("badge"))
    rows = [{"wallet_id": wallet_id, "amount": "1"}, {"wallet_id": joint["wallet_id"], "amount": "1"}]
    reference = f"{name}s-reference"
    batch = ordered(client, "tokens/airdrop", {"reference": reference, "rows": rows}, f"{name}-tokens/airdrop")
    key_id = f"key_{(client.token or '').split('_')[2]}"
    has = dict.fromkeys(("wallet_id", "from_wallet_id", "to_wallet_id"), wallet_id) | {
        "address": private["address"],
        "to_address": private["address"],
        "email": private["owner"]["email"],
        "email_prefix": private["owner"]["email"],
        "label": f"{name}s-shared",
        "transaction_id": minted["transaction_id"],
        "metakeep_transaction_id": rewarded["metakeep_transaction_id"],
        "badge_claim": badge,
        **badge,
        "batch_id": batch["batch_id"],
        "reference": reference,
        "rows": rows,
        "client_id": name,
        "key_id": key_id,
        "replaces": key_id,
        "amount": "1",
        "reason": f"{name}s",
        "action": "cancel",
        "scopes": ["tokens:read"],
        "tokens/airdrop": {"reference": unique("reference")},
        "tokens/batch": {"rows": "true"},
        **hooked(client),
    }
    return has, joint


def hooked(client: Client) -> dict[str, Any]:
    """Endpoints that nobody answers at, and what waits for them."""
    url = {"url": "http://127.0.0.1:9/hook"}
    made = [client.post("webhooks/endpoints", url).data["endpoint_id"] for _ in range(3)]
    change = {"endpoint_id": made[0], "action": "test"}
    headers = {"authorization": f"Bearer {client.token}", "content-type": "application/json"}
    assert call("webhooks/endpoints", event("PATCH", body=json.dumps(change), headers=headers)).status == 200
    waiting = client.get("webhooks/deliveries", f"endpoint_id={made[0]}").data["items"][0]
    selection = {"action": "replay", "delivery_id": waiting["delivery_id"]}
    replay = client.post("webhooks/deliveries", selection).data
    named = {name: waiting[name] for name in ("delivery_id", "event_id")}
    return {
        **named,
        "endpoint_id": made[1],
        "replay_id": replay["replay_id"],
        "url": url["url"],
    }


def open_ones(client: Client, has: dict[str, Any], keys: dict[str, str]) -> None:
    """A mint on its way, a transfer out of the treasury, a burn, and a transfer that waits for consent."""
    wallet_id = has["wallet_id"]
    ordered(
        client,
        "tokens/burn",
        {"wallet_id": wallet_id, "amount": "1", "reason": "x"},
        keys.get("tokens/burn", unique("b")),
    )
    body = {"to_wallet_id": wallet_id, "amount": "1"}
    ordered(client, "tokens/transfer", body, keys.get("tokens/transfer", unique("t")))
    away = {"from_wallet_id": wallet_id, "to_address": "0x" + "ab" * 20, "amount": "1"}
    waiting = ordered(client, "tokens/transfer", away, unique("c"))
    assert waiting["status"] == "awaiting_consent"
    has["tokens/consent"] = {"transaction_id": waiting["transaction_id"]}


def nobody() -> dict[str, Any]:
    """A name of each kind that nobody has."""
    wallet_id, key_id = f"wlt_{UNKNOWN_ULID}", f"key_{UNKNOWN_ULID}"
    return dict.fromkeys(("wallet_id", "from_wallet_id", "to_wallet_id"), wallet_id) | {
        "address": "0x" + "cd" * 20,
        "to_address": "0x" + "cd" * 20,
        "email": "nobody@example.com",
        "email_prefix": "nobody@",
        "label": "nobody",
        "transaction_id": f"txn_{UNKNOWN_ULID}",
        "metakeep_transaction_id": "00000000-0000-4000-8000-000000000000",
        "badge_id": "none",
        "claimant": "none",
        "batch_id": f"bat_{UNKNOWN_ULID}",
        "reference": "none",
        "rows": [{"wallet_id": wallet_id, "amount": "1"}],
        "client_id": "nobody",
        "key_id": key_id,
        "replaces": key_id,
        "endpoint_id": f"whe_{UNKNOWN_ULID}",
        "event_id": f"evt_{UNKNOWN_ULID}",
        "delivery_id": f"dlv_{UNKNOWN_ULID}",
        "replay_id": f"rpl_{UNKNOWN_ULID}",
    }


def marks(raw: Raw, world: World, shared: dict[str, Any]) -> set[str]:
    """Every text of Alice's documents that tells something and is neither the stranger's nor the shared wallet's."""
    hers = {text for row in alices(raw, world).values() for text in texts(row)}
    theirs = [row for name in raw.list_collection_names() for row in raw[name].find({"client_id": "stranger"})]
    common = {text for row in theirs for text in texts(row)} | set(texts(shared))
    return {
        text for text in hers - common if len(text) > 6 and not text.startswith(("/v", "{")) and text != "alice gave"
    }


def probes(world: World, route: str, contract: Contract[Any]) -> Iterator[tuple[str, str]]:
    """(path, name) of each field that can name something."""
    for path in leaves(contract.takes) if contract.takes else ():
        leaf = path.rpartition(".")[2]
        # Cursors have a test of their own. Who knows a person's address may share their wallet: that is what it is for.
        if leaf == "cursor" or path == "owner.email" or not names_something(route, path):
            continue
        assert leaf in world.theirs, f"{route}: teach this test what Alice's `{leaf}` is, or that it names nothing"
        assert leaf in world.nobody, f"{route}: teach this test what nobody's `{leaf}` is"
        yield path, leaf


def test_nothing_of_another_client_is_shown_or_touched(world: World, system: Raw, subtests: pytest.Subtests) -> None:
    """By no field and no idempotency key of any endpoint; what is hers reads like what never was, and stays."""
    before = alices(system, world)
    for route, contract in CONTRACTS:
        with subtests.test(f"{contract.method} {route}"):
            walk_own(world, route, contract)
        for path, leaf in probes(world, route, contract):
            with subtests.test(f"{contract.method} {route} {path}"):
                walk_foreign(world, route, contract, path, leaf)
        with subtests.test(f"{contract.method} {route} touched nothing"):
            assert alices(system, world) == before


def walk_own(world: World, route: str, contract: Contract[Any]) -> None:
    """The stranger's own call, under a key that Alice has used for the same."""
    content = filled(world, route, contract.takes, "", None) if contract.takes else {}
    answer = send(world.stranger, route, contract, content, world.keys.get(route, ""))
    # An operator's metrics are labelled with endpoints, whose ids say nothing.
    assert [mark for mark in told(world, answer, content) if route != "ops/metrics" or mark[:4] != "whe_"] == []
    assert answer.headers.get("Idempotent-Replayed", "false") == "false"
    if contract.scope == "admin":
        assert answer.code == "forbidden_scope"
    elif contract.scope is not None:
        assert answer.status in (200, 201, 202, 409), answer.text


def walk_foreign(world: World, route: str, contract: Contract[Any], path: str, leaf: str) -> None:
    """A call that names what is Alice's, beside one that names what nobody has."""
    assert contract.takes is not None
    none, hers = (filled(world, route, contract.takes, path, having[leaf]) for having in (world.nobody, world.theirs))
    unknown, answer = (send(world.stranger, route, contract, content) for content in (none, hers))
    assert told(world, answer, hers) == []
    assert seen(answer, world.theirs[leaf]) == seen(unknown, world.nobody[leaf])
    assert answer.status != 400 or (route, path) in NAMING, f"this probe never got to what it is about: {answer.text}"


LISTS = [(route, c) for route, c in CONTRACTS if c.takes and "cursor" in c.takes.model_fields and c.scope != "admin"]


def test_a_cursor_is_its_clients(world: World, subtests: pytest.Subtests) -> None:
    """Alice's cursor is no cursor to anybody else, also where both may read the list; and it works for her."""
    for route, contract in LISTS:
        with subtests.test(route):
            walk_cursor(world, route, contract)


def walk_cursor(world: World, route: str, contract: Contract[Any]) -> None:
    """The cursor of Alice's first page, in her hand and in another's."""
    assert contract.takes is not None
    required = {name for name, info in contract.takes.model_fields.items() if info.is_required()}
    shared = {**world.theirs, "wallet_id": world.mine["shared_wallet_id"]}
    asked = {name: shared[name] for name in required} | world.theirs.get(route, {}) | {"limit": "1"}
    first = send(world.alice, route, contract, asked)
    cursor = first.data.get("next_cursor") or next(
        part["next_cursor"] for part in first.data.values() if isinstance(part, dict) and "next_cursor" in part
    )
    assert send(world.alice, route, contract, {**asked, "cursor": cursor}).status == 200
    for content in (asked, {**asked, **{name: world.mine[name] for name in required}}):
        answer = send(world.stranger, route, contract, {**content, "cursor": cursor})
        assert (answer.status, answer.fields) == (400, ["cursor"]), answer.text
        assert told(world, answer, content) == []


def test_what_is_shared_is_the_wallet_and_its_amounts(world: World) -> None:
    """Both see the person, the address, every line's amount and balance; causes and notes are each one's own."""
    query = f"wallet_id={world.mine['shared_wallet_id']}"
    hers, mine = (client.get("wallets/get", query).data for client in (world.alice, world.stranger))
    assert {**hers, "label": None, "metadata": None} == {**mine, "label": None, "metadata": None}
    assert (hers["label"], mine["label"]) == ("alices-shared", "strangers-shared")
    lines: list[list[dict[str, Any]]] = [
        client.get("wallets/statement", query).data["items"] for client in (world.alice, world.stranger)
    ]
    for by_alice, by_stranger in zip(*lines, strict=True):
        same: Callable[[dict[str, Any]], tuple[Any, ...]] = lambda line: (line["amount"], line["balance"], line["at"])  # noqa: E731
        assert same(by_alice) == same(by_stranger)
        assert (by_alice["transaction_id"] is None) != (by_stranger["transaction_id"] is None)


def test_a_new_field_has_to_be_taught(world: World) -> None:
    """A list that could be filtered by something nobody has thought of here does not pass unseen."""

    class Query(BaseModel):
        shoe_size: str | None = None

    route, contract = next((route, c) for route, c in CONTRACTS if route == "wallets/list")
    odd = Contract(contract.method, contract.scope, Query, contract.handler)
    with pytest.raises(AssertionError, match="shoe_size"):
        list(probes(world, route, odd))
    assert list(leaves(Query)) == ["shoe_size"]


def test_a_leak_would_be_seen(world: World) -> None:
    """The check bites: Alice's own replies are full of what is hers."""
    for path, query in (
        ("wallets/list", ""),
        ("tokens/transactions", ""),
        ("wallets/export", f"wallet_id={world.theirs['wallet_id']}"),
        ("tokens/batch", f"batch_id={world.theirs['batch_id']}&rows=true"),
    ):
        assert told(world, world.alice.get(path, query), {}) != [], path
