"""A recorded mix of requests: the same seed gives the same requests, good and bad, to every gateway."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests

_ID = re.compile(r"\b(wlt|txn|bat|whe|evt|dlv|key|req)_[0-9A-HJKMNP-TV-Z]{26}\b|\b0x[0-9a-fA-F]{40,64}\b")
_UUID = re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_TRACE = re.compile(r"\b00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\b")  # a header, and so in the body of a call with .json
# When it was, on which connection, under which id: not what was answered.
_NOT_COMPARED = frozenset(
    {"date", "server", "x-request-id", "x-openwhisk-activation-id", "ratelimit-reset", "traceparent"}
)
_MOST_BYTES = 786_432


@dataclass(frozen=True)
class Call:
    """One request; `$wallet` and `$transaction` in it stand for the latest id that the gateway gave."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def recorded(number: int, seed: int = 1) -> Iterator[Call]:
    """So many requests: one in three is as it should be, the others are wrong in every way that callers find."""
    chance = random.Random(seed)
    for index in range(number):
        yield chance.choices((_good, _wrong_input, _wrong_request, _edge), (4, 3, 3, 2))[0](chance, index)


def answers(url: str, token: str, calls: Iterator[Call]) -> list[Any]:
    """What a gateway answers to each call in turn, ids by the order they first appear in and times left out."""
    latest = {"$wallet": "wlt_" + "0" * 26, "$transaction": "txn_" + "0" * 26}
    seen: dict[str, str] = {}
    found = []
    with requests.Session() as http:
        for call in calls:
            reply = _send(http, url, token, call, latest)
            found.append((call, _comparable(reply, seen)))
            for name, kind in (("$wallet", "wallet_id"), ("$transaction", "transaction_id")):
                if match := re.search(rf'"{kind}":\s*"([^"]+)"', reply.text):
                    latest[name] = match[1]
    return found


def _send(http: requests.Session, url: str, token: str, call: Call, latest: dict[str, str]) -> requests.Response:
    path, body = call.path, call.body
    for name, value in latest.items():
        path, body = path.replace(name, value), body.replace(name.encode(), value.encode())
    headers = {"Authorization": f"Bearer {token}", **call.headers}
    return http.request(call.method, url + path, data=body, headers=headers, timeout=40)


def _comparable(reply: requests.Response, seen: dict[str, str]) -> Any:
    headers = {name.lower(): value for name, value in reply.headers.items() if name.lower() not in _NOT_COMPARED}
    headers.pop("content-length", None)  # that of times with and without milliseconds may differ
    return reply.status_code, headers, _anonymous(reply.text, seen)


def _anonymous(text: str, seen: dict[str, str]) -> str:
    text = _TRACE.sub("<trace>", _TIME.sub("<time>", text))
    for pattern in (_ID, _UUID):
        text = pattern.sub(lambda match: seen.setdefault(match[0], f"<id {len(seen)}>"), text)
    return text


def _post(path: str, body: Any, key: str | None = None) -> Call:
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
    return Call("POST", path, json.dumps(body, ensure_ascii=False).encode(), headers)


def _good(chance: random.Random, index: int) -> Call:
    email = f"learner{chance.randrange(8)}@example.com"
    amount = f"{chance.randrange(1, 500)}.{chance.randrange(1, 10)}"
    key = f"key-{index if chance.random() < 0.7 else chance.randrange(index + 1)}"  # some are used again
    return chance.choice(
        (
            _post("/wallets/create", {"owner": {"email": email}, "label": chance.choice(("Zoë", "B"))}),
            Call("GET", "/wallets/get?wallet_id=$wallet"),
            Call("GET", "/wallets/balance?wallet_id=$wallet"),
            Call("GET", "/tokens/info"),
            Call("GET", "/tokens/transaction?transaction_id=$transaction"),
            _post("/tokens/mint", {"wallet_id": "$wallet", "amount": amount, "reason": "badge"}, key),
            _post(
                "/tokens/mint",
                {"wallet_id": "$wallet", "badge_claim": {"badge_id": f"b{index % 5}", "claimant": email}},
                key,
            ),
            _post("/tokens/transfer", {"to_wallet_id": "$wallet", "amount": amount}, key),
            _post("/tokens/burn", {"wallet_id": "$wallet", "amount": amount, "reason": "void"}, key),
        )
    )


def _wrong_input(chance: random.Random, index: int) -> Call:
    amount = chance.choice(("0", "-1", "1e3", "0.0000000000000000001", 5, None, "", "٣", "1" * 40))
    wallet = chance.choice(
        ("$wallet", "wlt_", "txn_" + "0" * 26, "", 7, "wlt_\udc00".encode("utf-8", "replace").decode())
    )
    return chance.choice(
        (
            _post("/tokens/mint", {"wallet_id": wallet, "amount": amount}, f"bad-{index}"),
            _post(
                "/tokens/burn", {"wallet_id": "$wallet", "amount": amount, "reason": "x" * chance.randrange(600)}, "k"
            ),
            _post("/tokens/transfer", {"amount": amount, "unknown": {"deep": [1, None]}}, f"bad-{index}"),
            _post("/tokens/mint", {"wallet_id": "$wallet", "amount": "1"}),
            _post("/tokens/mint", {"wallet_id": "$wallet", "amount": "1"}, "é" if index % 2 else "x" * 300),
            _post("/wallets/create", {"owner": {"email": chance.choice(("", "a@", "A@B.C", "a b@c.de", 1))}}),
            _post("/wallets/create", chance.choice(([], None, "text", 1, {}))),
            Call("GET", f"/wallets/get?wallet_id={quote(str(wallet))}"),
            Call("GET", "/wallets/get?wallet_id=$wallet&wallet_id=$wallet"),
            Call("GET", "/wallets/balance?wallet_id=$wallet&at=yesterday&x=%FF&y=%zz"),
            Call("GET", "/tokens/info?unknown=1"),
        )
    )


def _wrong_request(chance: random.Random, index: int) -> Call:
    del index
    body = chance.choice(
        (b"", b"{", b'{"a":1,"a":2}', b'{"a":NaN}', b'"\xff\xfe"', b"\x00", b"[" * 5_000, b'{"x":"\\ud800"}')
    )
    kind = chance.choice(("application/json", "application/json; charset=utf-8", "text/plain", "image/png", ""))
    return chance.choice(
        (
            Call("POST", "/tokens/mint", body, {"Content-Type": kind, "Idempotency-Key": "k"}),
            Call("POST", "/webhooks/metakeep", body, {"Content-Type": kind, "X-Api-Signature": "AAAA"}),
            Call(
                "POST",
                "/wallets/create",
                body,
                {"Content-Type": kind, "X-Request-Id": chance.choice(("a b", "mine-1"))},
            ),
            Call(
                "GET",
                "/wallets/get?wallet_id=$wallet",
                headers={"Authorization": chance.choice(("", "Bearer x", "Basic eA=="))},
            ),
            Call("GET", "/wallets/get", headers={"Authorization": "Bearer gsk_test_00000000_" + "0" * 32}),
        )
    )


def _edge(chance: random.Random, index: int) -> Call:
    del index
    function = chance.choice(
        ("/tokens/info", "/wallets/get", "/tokens/mint", "/ops/tick", "/tokens/nothing", "/none/x")
    )
    binary = {"Content-Type": "application/octet-stream"}
    return chance.choice(
        (
            Call(chance.choice(("OPTIONS", "HEAD", "PUT", "PATCH", "DELETE", "BREW")), function),
            Call("OPTIONS", function, headers={"Access-Control-Request-Headers": "X-Mine"}),
            Call("GET", f"{function}{chance.choice(('/', '/more/path', '//', '/%2e%2e/x', '/%ff'))}"),
            Call("GET", f"{function}.{chance.choice(('json', 'http', 'text', 'html', 'svg', 'zip'))}"),
            Call("GET", f"{function}?{chance.choice(('a=1&a=2', '=', '&&', 'wallet_id', '%', 'a=%C3%28', '+'))}"),
            Call("POST", "/tokens/mint", b"x" * (_MOST_BYTES + chance.choice((-1, 0, 1, 3))), binary),
            Call("POST", "/tokens/mint", b"x" * (1_048_576 + chance.choice((0, 1))), {"Content-Type": "text/plain"}),
        )
    )
