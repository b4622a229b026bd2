"""What tests of the doors share: a dump of the data, how a refusal reads, the refusals that doors have in common."""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from pymongo.database import Database
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from getsmart import mongo
from ops import keys
from tests.support import Answer, Client, call, event, load

Raw = Database[dict[str, Any]]
MakeClient = Callable[..., Client]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
FULL_WIDTH = "\uff11\uff10"  # "10" in digits that are not ASCII
BAD_AMOUNTS: tuple[Any, ...] = (
    *("1e3", "-1", "+1", "0", "0.0", "0.000000000000000000", "1.0000000000000000001", "", " ", " 1", "1 ", "1\n", "01"),
    *("1.", ".5", "1,000", "1_000", "0x10", "NaN", "Infinity", "one", FULL_WIDTH, "1\u0661", "1\x00"),
    *("1" * 14, "9" * 5_000, "0." + "1" * 5_000),
    *(1000, 0, -1, 1.5, 10**40, True, False, None, [], ["1"], {}, {"value": "1"}),
)
BAD_EMAILS: tuple[Any, ...] = (
    *("", "a", "a@b", "@example.com", "a@", "a@@example.com", "a b@example.com", "a@example.com, b@example.com"),
    *("a@exa_mple.com", "a@-example.com", "a@example.c", ".a@example.com", "a..b@example.com", "a@example.com."),
    *("\u00e4@example.com", "a@ex\u00e4mple.com", "\u212a@example.com", "a@example.com\n", "a@example.com\x00"),
    *("a" * 250 + "@example.com", 7, None, True, [], ["a@example.com"], {}),
)
BAD_WALLET_IDS: tuple[Any, ...] = (
    *("", "wlt", "wlt_", "wlt_1", "txn_01ARZ3NDEKTSV4RRFFQ69G5FAV", "wlt_01arz3ndektsv4rrffq69g5fav"),
    *("wlt_81ARZ3NDEKTSV4RRFFQ69G5FAV", "wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV\n", " wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    *("wlt_01ARZ3NDEKTSV4RRFFQ69G5FAVX", "wlt_01ARZ3NDEKTSV4RRFFQ69G5FAI"),
)
BAD_BADGE_TEXTS: tuple[Any, ...] = ("", "x" * 129, "nul\x00", 7, None, True, [], {})
BAD_REASONS: tuple[Any, ...] = ("", "x" * 501, "nul\x00", 7, True, [], {})
BAD_LABELS: tuple[Any, ...] = ("", "x" * 101, "nul\x00", 7, True, [], {})
BAD_METADATA: tuple[Any, ...] = (
    *("text", 7, True, [], {"": "x"}, {"a b": "x"}, {"x" * 41: "x"}, {"a.b": "x"}, {"$a": "x"}, {"\u00e4": "x"}),
    *({"a": "x" * 501}, {"a": "nul\x00"}, {str(number): "x" for number in range(51)}),
)
BAD_KEYS = ("x" * 256, "with space", "tab\t", "umlaut-\u00e4", "line\nbreak", "nul\x00", "\x7f")
UNKNOWN_WALLET = "wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV"
UNKNOWN_TRANSACTION = "txn_01ARZ3NDEKTSV4RRFFQ69G5FAV"


@dataclass(frozen=True)
class Door:
    """One method of a function: where it is, the scope it asks for (any of them), and input that it would take.

    `allow` names every method of the function, where there are more.
    """

    path: str
    method: str
    scope: str | None
    body: Mapping[str, Any] | None = None
    query: str = ""
    is_money: bool = False
    allow: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    def event(self, token: str | None, **changes: Any) -> dict[str, Any]:
        """A call that this door takes, with changes; a header that is set to None is left out."""
        headers: dict[str, str | None] = {"authorization": f"Bearer {token}" if token else None}
        if self.body is not None:
            headers["content-type"] = "application/json"
        if self.is_money:
            headers["idempotency-key"] = "refused"
        headers |= changes.pop("headers", {})
        sent = {name: value for name, value in headers.items() if value is not None}
        body = "" if self.body is None else json.dumps(self.body)
        settings = {"method": self.method, "query": self.query, "body": body, **changes}
        return event(settings.pop("method"), headers=sent, **settings)


class Case(NamedTuple):
    """One call that must be refused: how, and naming which field."""

    what: str
    event: dict[str, Any]
    status: int
    code: str
    field: str | None = None
    allow: str | None = None


class Commands(CommandListener):
    """Listens to what the library sends to the database, and what comes back."""

    def __init__(self) -> None:
        """Nothing heard yet."""
        self.sent: list[str] = []
        self.replies: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Note the command's name and its collection."""
        self.sent.append(f"{event.command_name} {event.command.get(event.command_name)}")

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Keep the reply."""
        self.replies.append(dict(event.reply))

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing: the caller sees it."""

    def forget(self) -> None:
        """Listen anew."""
        self.sent.clear()
        self.replies.clear()


def listen(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Give the library's next database client a listener; call `mongo.forget` before and after."""
    heard = Commands()
    monkeypatch.setattr(mongo, "Meter", lambda: heard)
    return heard


def dump(raw: Raw) -> dict[str, list[dict[str, Any]]]:
    """Everything the database holds, but for failures, the limiter's counts and the noted use of keys."""
    names = sorted(name for name in raw.list_collection_names() if not name.startswith(("migrations", "failures")))
    hidden = {"usage": 0, "last_used_at": 0}
    return {name: list(raw[name].find({}, hidden).sort("_id", 1)) for name in names}


def assert_refused(answer: Answer, status: int, code: str, field: str | None = None) -> None:
    """The whole contract of an error reply: envelope, code, request id, fields, headers."""
    assert (answer.status, answer.code) == (status, code), answer.text
    error = answer.json["error"]
    assert answer.json.keys() == {"status", "error"}
    assert error.keys() == {"code", "message", "request_id", "details", "docs"}
    assert error["message"].endswith((".", "gsk_..."))
    assert "\n" not in error["message"]
    assert error["request_id"] == answer.headers["X-Request-Id"]
    assert error["docs"] == f"/v1/ops/openapi#errors/{code}"
    assert all(detail.keys() == {"field", "problem"} and detail["problem"] for detail in error["details"])
    assert bool(error["details"]) == (code == "invalid_request")
    if field is not None:
        assert field in answer.fields, answer.text
    assert_headers(answer)


def assert_headers(answer: Answer) -> None:
    """What stands on every reply."""
    assert answer.headers["X-Getsmart"] == "1"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["X-Request-Id"]


def check(subtests: pytest.Subtests, raw: Raw, door: Door, cases: Iterable[Case]) -> None:
    """Every case is refused as it says, and after all of them the data is what it was."""
    listed = list(cases)
    before = dump(raw)
    for case in listed:
        with subtests.test(case.what):
            answer = call(door.path, case.event)
            assert_refused(answer, case.status, case.code, case.field)
            assert answer.headers.get("Allow") == case.allow
    assert dump(raw) == before


def common(door: Door, make_client: MakeClient) -> Iterator[Case]:
    """The refusals that this door shares with the others."""
    token = make_client("common").token
    allow = door.allow or (door.method,)
    for method in METHODS:
        if method not in allow:
            yield Case(method, door.event(token, method=method), 405, "method_not_allowed", allow=", ".join(allow))
    yield Case("extra path", door.event(token, path="/more"), 404, "not_found")
    huge = "x" * (768 * 1024 + 1)
    yield Case("too large", door.event(token, body=huge), 413, "too_large")
    yield Case("broken base64", door.event(token, body="%", is_base64=True), 400, "invalid_json")
    if door.scope is not None:
        yield from wrong_keys(door, make_client)
    yield from wrong_queries(door, token)
    if door.body is not None:
        yield from wrong_bodies(door, token)
    if door.is_money:
        yield from wrong_idempotency_keys(door, token)


def wrong_keys(door: Door, make_client: MakeClient) -> Iterator[Case]:
    """Callers that are not known, or may not."""
    token = make_client("known").token or ""
    last = "0" if token[-1] != "0" else "1"
    others = [scope for scope in keys.SCOPES if scope not in (door.scope, "admin", *door.also)]
    for what, header in (
        ("no key", None),
        ("empty key", ""),
        ("basic", "Basic Zm9vOmJhcg=="),
        ("no scheme", token),
        ("not the form", "Bearer gsk_test_1_2"),
        ("wrong secret", f"Bearer {token[:-1]}{last}"),
        ("wrong mode", f"Bearer {token.replace('gsk_test', 'gsk_live')}"),
    ):
        yield Case(what, door.event(None, headers={"authorization": header}), 401, "unauthenticated")
    stranger = make_client("stranger", scopes=others).token
    yield Case("without the scope", door.event(stranger), 403, "forbidden_scope")
    elsewhere = make_client("elsewhere", allowed_ips=["192.0.2.0/24"]).token
    yield Case("from elsewhere", door.event(elsewhere, headers={"x-forwarded-for": "203.0.113.9"}), 403, "forbidden_ip")


def wrong_queries(door: Door, token: str | None) -> Iterator[Case]:
    """Names that are not known or not readable; a door with a body takes no query at all."""
    more = f"{door.query}&" if door.query else ""
    for what, query, field in (
        ("unknown query name", f"{more}surprise=1", "surprise"),
        ("repeated query name", f"{more}twice=1&twice=2", "twice"),
        ("query without value", f"{more}surprise", "query"),
        ("query that is no UTF-8", f"{more}surprise=%ff", "query"),
    ):
        yield Case(what, door.event(token, query=query), 400, "invalid_request", field)


def wrong_bodies(door: Door, token: str | None) -> Iterator[Case]:
    """Bodies that are not one JSON object, or have a field too many."""
    good = json.dumps(door.body)
    for what, body in (
        ("empty", ""),
        ("broken", good[:-1]),
        ("a list", "[]"),
        ("a number", "7"),
        ("null", "null"),
        ("duplicate names", good[:-1] + ',"a":1,"a":2}'),
        ("NaN", good[:-1] + ',"a":NaN}'),
        ("deep", '{"a":' * 100_000),
        ("a lone surrogate", good[:-1] + ',"a":"\\ud800"}'),
    ):
        yield Case(f"body: {what}", door.event(token, body=body), 400, "invalid_json")
    yield Case("body: no UTF-8", door.event(token, body="/w==", is_base64=True), 400, "invalid_json")
    for media_type in (None, "text/plain", "application/x-www-form-urlencoded"):
        event_ = door.event(token, headers={"content-type": media_type})
        yield Case(f"media type {media_type}", event_, 415, "unsupported_media_type")
    surprise = json.dumps({**(door.body or {}), "surprise": 1})
    yield Case("body: unknown field", door.event(token, body=surprise), 400, "invalid_request", "surprise")
    yield Case("body: empty object", door.event(token, body="{}"), 400, "invalid_request")


def wrong_idempotency_keys(door: Door, token: str | None) -> Iterator[Case]:
    """No key, or one that is not 1 to 255 visible ASCII characters."""
    for key in (None, ""):
        event_ = door.event(token, headers={"idempotency-key": key})
        yield Case(f"idempotency key {key!r}", event_, 400, "idempotency_key_missing")
    for key in BAD_KEYS:
        event_ = door.event(token, headers={"idempotency-key": key})
        yield Case(f"idempotency key {key[:20]!r}", event_, 400, "idempotency_key_invalid")


def wrong_values(door: Door, token: str | None, field: str, values: Iterable[Any]) -> Iterator[Case]:
    """The door's body with each of the values in place of one field, which may be a dotted path."""
    for value in values:
        body = json.loads(json.dumps(door.body))
        *parents, name = field.split(".")
        inner = body
        for parent in parents:
            inner = inner[parent]
        inner[name] = value
        event_ = door.event(token, body=json.dumps(body))
        yield Case(f"{field}={value!r:.40}", event_, 400, "invalid_request", field)


def assert_plain_main(path: str) -> None:
    """The runtime reads `__code__.co_argcount`: `main` has to be a plain function of two arguments."""
    main = load(path).main()
    assert inspect.isfunction(main)
    assert main.__code__.co_argcount == 2
    assert not main.__code__.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
