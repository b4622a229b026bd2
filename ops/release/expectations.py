"""What a smoke asks and what has to come back: every read, and each write only in a form that is refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from getsmart.amounts import MAX_SUPPLY, parse_units
from ops import described

Json = dict[str, Any]
Found = dict[str, str]
"""What earlier replies have shown: `wallet_id`, `transaction_id` and so on; made up where there is none."""

_NOBODY = "0" * 26
MADE_UP: Found = {
    "wallet_id": f"wlt_{_NOBODY}",
    "transaction_id": f"txn_{_NOBODY}",
    "batch_id": f"bat_{_NOBODY}",
}
_REFUSED_READ = frozenset({(200, None), (403, "forbidden_scope")})


@dataclass(frozen=True)
class Call:
    """One call and the answers that are right: statuses, with their codes for errors. `query` names what was found."""

    method: str
    path: str
    right: frozenset[tuple[int, str | None]]
    query: tuple[str, ...] = ()
    body: Json | None = None
    key: str = "ours"
    """Whose key it bears: `ours`, `none`, or `unknown`, one of the right form."""
    headers: Mapping[str, str] = field(default_factory=dict)
    look: Callable[[Any, Found], str | None] = lambda _data, _found: None
    """What is wrong with the data of an answer with success, and what it shows for later calls."""
    suffix: str = ""
    is_public: bool = False
    """Only said by the gateway: a namespace called directly would answer otherwise."""

    @property
    def name(self) -> str:
        """How the report calls it."""
        extra = {"none": " without a key", "unknown": " with an unknown key"}.get(self.key, "")
        return f"{self.method} {self.path}{self.suffix}{extra}"


def _ok(method: str, path: str, **more: Any) -> Call:
    return Call(method, path, frozenset({(200, None)}), **more)


def _known(path: str, name: str, **more: Any) -> Call:
    """A read of one thing: it is there, or nobody has ever made one."""
    return Call("GET", path, frozenset({(200, None), (404, "not_found")}), query=(name,), **more)


def _refused(method: str, path: str, *right: tuple[int, str], **more: Any) -> Call:
    return Call(method, path, frozenset(right), **more)


def _first(items: str, *names: str) -> Callable[[Any, Found], str | None]:
    """Remember of the first item of a list what later calls ask for."""

    def look(data: Any, found: Found) -> str | None:
        for item in data[items][:1]:
            found.update({name: item[name] for name in names if item.get(name)})
        return None

    return look


def _is_ours(name: str) -> Callable[[Any, Found], str | None]:
    """The reply speaks of what was asked for."""

    def look(data: Any, found: Found) -> str | None:
        return None if data[name] == found[name] else f"{name} is {data[name]}"

    return look


def _units(text: str) -> int:
    return 0 if text == "0" else parse_units(text)


def _balances(data: Any, found: Found) -> str | None:
    posted, out, available = (_units(data[name]) for name in ("posted", "pending_out", "available"))
    if posted - out != available:
        return "available is not posted less pending_out"
    return _is_ours("wallet_id")(data, found)


def _is_gets(data: Any, _found: Found) -> str | None:
    if (data["symbol"], data["decimals"], parse_units(data["max_supply"])) != ("GETS", 18, MAX_SUPPLY):
        return f"it is {data['symbol']} with {data['decimals']} decimals, at most {data['max_supply']}"
    minted, reserved = (_units(data[name]) for name in ("minted", "reserved"))
    return None if minted + reserved <= MAX_SUPPLY else "more is minted and reserved than may be"


def _is_this_description(data: Any, _found: Found) -> str | None:
    ours = described.description()
    if data["info"]["version"] != ours["info"]["version"]:
        return f"it describes version {data['info']['version']}, here is {ours['info']['version']}"
    different = sorted(
        path
        for path in data["paths"].keys() | ours["paths"].keys()
        if data["paths"].get(path) != ours["paths"].get(path)
    )
    return f"it describes {', '.join(different[:3])} otherwise than the code here" if different else None


def _is_well(colour: str | None, version: str | None) -> Callable[[Any, Found], str | None]:
    def look(data: Any, _found: Found) -> str | None:
        wrong = [
            f"{name} is {data[name]}"
            for name, wanted in (("colour", colour), ("version", version))
            if wanted is not None and data[name] != wanted
        ]
        failing = [name for name, check in data["checks"].items() if check["status"] == "fail"]
        return "; ".join(wrong + [f"{name} fails" for name in failing]) or None

    return look


def calls(colour: str | None = None, version: str | None = None) -> list[Call]:
    """The calls of a smoke in their order; the colour and version that have to answer, where that is known."""
    return [*_reads(colour, version), *_refusals()]


def _reads(colour: str | None, version: str | None) -> list[Call]:
    return [
        _ok("GET", "ops/health", key="none", look=_is_well(colour, version)),
        _ok("GET", "ops/openapi", key="none", look=_is_this_description),
        *(_ok("GET", "ops/openapi", key="none", suffix=f"?asset={name}") for name in _files_of_the_page()),
        Call("GET", "ops/metrics", _REFUSED_READ),
        Call("GET", "ops/keys", _REFUSED_READ),
        _ok("GET", "tokens/info", look=_is_gets),
        _ok("GET", "wallets/list", look=_first("items", "wallet_id")),
        _known("wallets/get", "wallet_id", look=_is_ours("wallet_id")),
        _known("wallets/balance", "wallet_id", look=_balances),
        _known("wallets/statement", "wallet_id"),
        _known("wallets/export", "wallet_id"),
        _ok("GET", "tokens/transactions", look=_first("items", "transaction_id", "batch_id")),
        _known("tokens/transaction", "transaction_id", look=_is_ours("transaction_id")),
        _known("tokens/batch", "batch_id", look=_is_ours("batch_id")),
        _ok("GET", "webhooks/endpoints"),
        _ok("GET", "webhooks/deliveries"),
        _ok("GET", "webhooks/events"),
    ]


def _files_of_the_page() -> list[str]:
    """The script and style of the reference page, by the names that the description gives them."""
    parameters = described.description()["paths"]["/ops/openapi"]["get"]["parameters"]
    names: list[str] = next(one["schema"]["enum"] for one in parameters if one["name"] == "asset")
    return names


def _refusals() -> list[Call]:
    """Nothing here is claimed, made or moved, whatever the key may do."""
    no_key, no_scope = (401, "unauthenticated"), (403, "forbidden_scope")
    writes = [
        *(("POST", path) for path in ("wallets/create", "wallets/erase", "ops/keys", "webhooks/endpoints")),
        *(("POST", f"tokens/{name}") for name in ("mint", "transfer", "burn", "airdrop", "consent", "transaction")),
        *(("POST", "webhooks/deliveries"), ("PATCH", "webhooks/endpoints")),
    ]
    incomplete = (400, "invalid_request")
    return [
        *(_refused(method, path, no_key, key="none", body={}) for method, path in writes),
        *(_refused("DELETE", path, no_key, key="none") for path in ("webhooks/endpoints", "ops/keys")),
        _refused("GET", "tokens/info", no_key, key="unknown"),
        *(
            _refused(method, path, incomplete, no_scope, (400, "idempotency_key_missing"), body={})
            for method, path in writes
        ),
        _refused("GET", "tokens/info", incomplete, suffix="?surprise=1"),
        _refused("PUT", "tokens/info", (405, "method_not_allowed")),
        _refused("POST", "webhooks/metakeep", (401, "signature_invalid"), key="none", body={"forged": True}),
        _refused("GET", "tokens/info", (404, "not_found"), suffix=".json", is_public=True),
        _refused("GET", "tokens/info", (404, "not_found"), suffix="/further"),
    ]
