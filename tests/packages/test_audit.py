"""Every call that changes something leaves a line that says who, what and from where, and nothing about a person."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ops.openapi import endpoints
from tests.edge import MakeClient, Raw
from tests.money import Bench
from tests.support import Answer, Client, call, event, unique

SOURCE, EMAIL = "198.51.100.7", "audited@example.com"
WITHOUT_LINE = {("POST", "webhooks/metakeep")}  # no caller's: a delivery is a hint, and kept by its event id
Make = Callable[["Caller"], Answer]


class Caller:
    """A client whose calls come from a known address with a known id."""

    def __init__(self, client: Client, bench: Bench) -> None:
        """`client` has every scope."""
        self.client, self.bench, self.raw = client, bench, bench.raw
        self.wallet_id = self.post("wallets/create", {"owner": {"email": EMAIL}}).data["wallet_id"]
        self.request_id = ""

    def send(self, method: str, path: str, body: Any = None, query: str = "") -> Answer:
        """One call under a request id of its own."""
        self.request_id = unique("audit")
        headers = {"authorization": f"Bearer {self.client.token}", "x-request-id": self.request_id}
        headers |= {"x-forwarded-for": SOURCE, "idempotency-key": self.request_id}
        headers |= {"content-type": "application/json"} if body is not None else {}
        return call(
            path, event(method, body=json.dumps(body) if body is not None else "", query=query, headers=headers)
        )

    def post(self, path: str, body: Any) -> Answer:
        """POST JSON."""
        return self.send("POST", path, body)

    def mint(self) -> Answer:
        """A mint into the wallet."""
        return self.post("tokens/mint", {"wallet_id": self.wallet_id, "amount": "5"})

    def key(self) -> str:
        """A key to be revoked."""
        return str(self.post("ops/keys", {"client_id": "a", "scopes": ["tokens:read"]}).data["key_id"])

    def open_transaction(self) -> str:
        """A transaction of which nothing was sent yet."""
        transaction_id = str(self.mint().data["transaction_id"])
        unsent = {"$unset": {"send_started_at": "", "submitted_at": "", "metakeep_transaction_id": ""}}
        self.raw.transactions.update_one({"_id": transaction_id}, {"$set": {"status": "queued"}, **unsent})
        return transaction_id

    def fund(self) -> None:
        """Put something into the wallet."""
        self.bench.catch_up()
        self.mint()
        self.bench.settle()

    def consent(self) -> Answer:
        """Report the id that an approval of a transfer got."""
        self.fund()
        body = {"from_wallet_id": self.wallet_id, "to_wallet_id": self.bench.wallet["wallet_id"], "amount": "1"}
        self.post("wallets/create", {"owner": self.bench.wallet["owner"]})
        asked = self.post("tokens/transfer", body).data
        approved = self.bench.provider.private("consent", consentToken=asked["consent_token"], action="approve")
        told = {"metakeep_transaction_id": approved["transactionId"]}
        return self.post("tokens/consent", {"transaction_id": asked["transaction_id"], **told})

    def burn(self) -> Answer:
        """Burn some of what is there."""
        self.fund()
        return self.post("tokens/burn", {"wallet_id": self.wallet_id, "amount": "1", "reason": "audit"})

    def endpoint(self) -> str:
        """An endpoint."""
        made = self.post("webhooks/endpoints", {"url": "https://hooks.example.com"})
        return str(made.data["endpoint_id"])


CHANGES: dict[tuple[str, str], Make] = {
    ("POST", "wallets/create"): lambda by: by.post("wallets/create", {"owner": {"email": EMAIL}, "label": "new"}),
    ("POST", "wallets/erase"): lambda by: by.post("wallets/erase", {"wallet_id": by.wallet_id}),
    ("POST", "tokens/mint"): lambda by: by.mint(),
    ("POST", "tokens/transfer"): lambda by: by.post("tokens/transfer", {"to_wallet_id": by.wallet_id, "amount": "1"}),
    ("POST", "tokens/burn"): lambda by: by.burn(),
    ("POST", "tokens/consent"): lambda by: by.consent(),
    ("POST", "tokens/airdrop"): lambda by: by.post(
        "tokens/airdrop", {"reference": unique("audit"), "rows": [{"wallet_id": by.wallet_id, "amount": "1"}]}
    ),
    ("POST", "tokens/transaction"): lambda by: by.post(
        "tokens/transaction", {"transaction_id": by.open_transaction(), "action": "cancel"}
    ),
    ("POST", "webhooks/endpoints"): lambda by: by.post("webhooks/endpoints", {"url": "https://hooks.example.com"}),
    ("PATCH", "webhooks/endpoints"): lambda by: by.send(
        "PATCH", "webhooks/endpoints", {"endpoint_id": by.endpoint(), "status": "paused"}
    ),
    ("DELETE", "webhooks/endpoints"): lambda by: by.send(
        "DELETE", "webhooks/endpoints", query=f"endpoint_id={by.endpoint()}"
    ),
    ("POST", "webhooks/deliveries"): lambda by: by.post(
        "webhooks/deliveries", {"action": "replay", "all_failed": True}
    ),
    ("POST", "ops/keys"): lambda by: by.post("ops/keys", {"client_id": "a", "scopes": ["tokens:read"]}),
    ("DELETE", "ops/keys"): lambda by: by.send("DELETE", "ops/keys", query=f"key_id={by.key()}"),
}


def lines(raw: Raw, request_id: str) -> list[dict[str, Any]]:
    """Every audit line of that call, wherever it lies."""
    rows = [row for name in raw.list_collection_names() for row in raw[name].find({})]
    return [value for value in inside(rows) if value.get("request_id") == request_id and "key_id" in value]


def inside(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within a value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from inside(inner)


def test_every_change_is_covered() -> None:
    """The operations that are no reads, as their contracts say, are those above."""
    changing = {(one.contract.method, one.function.route) for one in endpoints() if one.contract.method != "GET"}
    assert changing == CHANGES.keys() | WITHOUT_LINE


@pytest.mark.parametrize(("method", "path"), CHANGES, ids=lambda part: part)
def test_a_change_leaves_a_line(make_client: MakeClient, bench: Bench, method: str, path: str) -> None:
    """The key, the address and the request id of the call; no e-mail address."""
    client = make_client("audited", scopes=["admin"])
    by = Caller(client, bench)
    answer = CHANGES[method, path](by)
    assert answer.status < 300, answer.text
    found = lines(bench.raw, by.request_id)
    assert found
    for line in found:
        assert (line["key_id"].removeprefix("key_"), line["source"]) == ((client.token or "").split("_")[2], SOURCE)
        assert line.keys() <= {"key_id", "source", "request_id", "at", "what", "traceparent"}
        assert "@" not in str(line)
