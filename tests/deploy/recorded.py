"""A recorded set of requests, told to a gateway, and its answers with ids, times and names masked."""

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from getsmart.metakeep.signing import SigningKey
from serving.answer import Answer
from serving.event import HttpRequest
from tests.deliveries import body_of, delivery

Ask = Callable[[HttpRequest], Answer]
Line = tuple[str, int, list[tuple[str, str]], str]

UNKNOWN_WALLET = "wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV"
UNKNOWN_TRANSACTION = "txn_01ARZ3NDEKTSV4RRFFQ69G5FAV"
STRANGER = SigningKey(12)
TOLD = body_of("some-transaction")
_MASKS = (
    (re.compile(r"\b(wlt|txn|evt|key|req)_[0-9A-HJKMNP-TV-Z]{26}\b"), r"\1_ID"),
    (re.compile(r"\b00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\b"), "TRACE"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\b0x[0-9A-Fa-f]{40}(?:[0-9A-Fa-f]{24})?\b"), "0xHEX"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r'"(block_number|reconciled_to_block)":\d+'), r'"\1":N'),
    (re.compile(r'"observed":(?:"[^"]*"|[^,}]*)'), '"observed":SEEN'),
)
_ACTIVATION = "x-openwhisk-activation-id"


class Story:
    """One telling: `name` keeps its people and keys apart from those of another telling."""

    def __init__(self, ask: Ask, routes: Iterable[str], token: str, name: str) -> None:
        """Requests go to `ask`, at least one to each of the routes; `token` is the application's key."""
        self._ask = ask
        self._routes = tuple(routes)
        self._token = token
        self._name = name
        self.lines: list[Line] = []

    def tell(self) -> list[Line]:
        """Make every request, in order; what was answered, comparable."""
        self._refusals()
        wallet = self._wallets()
        self._money(wallet)
        self._reads(wallet)
        self._webhooks()
        return self.lines

    def _send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: str = "",
        key: str | None = None,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """One request: a body is JSON unless it is bytes, `token` None sends no key. The reply's `data`, if any."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        sent |= {"Authorization": f"Bearer {token or self._token}"} if token is not None else {}
        sent |= {"Idempotency-Key": f"{self._name}-{key}"} if key else {}
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self._ask(
            HttpRequest(
                method, f"/v1/{path}", query, (sent | dict(headers or {})).items(), content, "127.0.0.1", "http"
            )
        )
        asked = self._mask(f"{method} {path}?{query}".encode())
        self.lines.append((asked, answer.status, self._headers(answer), self._mask(answer.body)))
        try:
            data: dict[str, Any] = json.loads(answer.body).get("data", {})
        except (ValueError, AttributeError):
            return {}
        return data

    def _headers(self, answer: Answer) -> list[tuple[str, str]]:
        pairs = [(name.lower(), self._mask(value.encode())) for name, value in answer.headers]
        return sorted(pair for pair in pairs if pair[0] != _ACTIVATION)

    def _mask(self, body: bytes) -> str:
        text = body.decode().replace(self._name, "NAME")
        for pattern, instead in _MASKS:
            text = pattern.sub(instead, text)
        return text

    def _refusals(self) -> None:
        """What is refused before any work."""
        for route in self._routes:
            self._send("PUT", route, {}, token=None)
        good = {"wallet_id": UNKNOWN_WALLET, "amount": "1"}
        self._send("GET", "tokens/nothing")
        self._send("POST", "ops/tick", {})
        self._send("OPTIONS", "tokens/mint", headers={"Access-Control-Request-Headers": "Authorization"})
        self._send("GET", "tokens/mint")
        self._send("HEAD", "tokens/info")
        self._send("POST", "tokens/mint", good, key="no-key", token=None)
        self._send("POST", "tokens/mint", good, key="wrong", token="gsk_test_nobody_nothing")
        self._send("POST", "tokens/mint", b"{", key="broken")
        self._send("POST", "tokens/mint", b"\xff\xfe", key="bytes")
        self._send("POST", "tokens/mint", b"x=1", key="form", headers={"Content-Type": "text/plain"})
        self._send("POST", "tokens/mint", good)
        self._send("POST", "tokens/mint", {**good, "amount": 1, "surprise": True}, key="fields")
        self._send("POST", "tokens/mint", good, key="unknown")
        self._send("POST", "tokens/mint/more", good, key="path")
        self._send("POST", "tokens/mint.json", good)
        self._send("GET", "wallets/get", query="wallet_id=a&wallet_id=b")
        self._send("GET", "wallets/balance", query="wallet_id=%ff")

    def _wallets(self) -> str:
        """A wallet is made, found again, and looked at; its id."""
        owner = {"owner": {"email": f"{self._name}@example.com"}, "label": "learner", "metadata": {"class": "7b"}}
        wallet: str = self._send("POST", "wallets/create", owner)["wallet_id"]
        self._send("POST", "wallets/create", owner)
        self._send("POST", "wallets/create", {"owner": {"email": "nobody"}})
        self._send("GET", "wallets/get", query=f"wallet_id={wallet}")
        self._send("GET", "wallets/get", query=f"email={self._name}@example.com")
        self._send("GET", "wallets/get", query=f"wallet_id={UNKNOWN_WALLET}")
        return wallet

    def _money(self, wallet: str) -> None:
        """Mints, a badge, transfers and a burn; the same key again, and with another body."""
        mint = {"wallet_id": wallet, "amount": "12.5", "reason": "because"}
        transaction = self._send("POST", "tokens/mint", mint, key="mint")["transaction_id"]
        self._send("POST", "tokens/mint", mint, key="mint")
        self._send("POST", "tokens/mint", {**mint, "amount": "13"}, key="mint")
        badge = {"wallet_id": wallet, "badge_claim": {"badge_id": "first-steps", "claimant": self._name}}
        self._send("POST", "tokens/mint", badge, key="badge")
        self._send("POST", "tokens/mint", badge, key="badge-again")
        self._send("POST", "tokens/transfer", {"to_wallet_id": wallet, "amount": "3"}, key="transfer")
        self._send("POST", "tokens/burn", {"wallet_id": wallet, "amount": "1", "reason": "none there"}, key="burn")
        self._send("GET", "tokens/transaction", query=f"transaction_id={transaction}")
        self._send("GET", "tokens/transaction.json", query=f"transaction_id={transaction}")
        self._send("GET", "tokens/transaction", query=f"transaction_id={UNKNOWN_TRANSACTION}")

    def _reads(self, wallet: str) -> None:
        """The state after all that."""
        self._send("GET", "wallets/balance", query=f"wallet_id={wallet}")
        self._send("GET", "wallets/balance", query=f"wallet_id={UNKNOWN_WALLET}")
        self._send("GET", "tokens/info")
        self._send("GET", "tokens/info", token=None)
        self._send("GET", "ops/health", token=None)
        self._send("GET", "ops/health", query="verbose=1", token=None)

    def _webhooks(self) -> None:
        """Deliveries that nobody signed, or somebody else."""
        now = int(time.time() * 1000)
        self._send("POST", "webhooks/metakeep", TOLD, token=None)
        for headers in (
            delivery(STRANGER, TOLD, at_ms=now, host="localhost"),
            delivery(STRANGER, TOLD, at_ms=now - 3_600_000, host="localhost"),
            delivery(STRANGER, b"another body", at_ms=now, host="localhost"),
        ):
            self._send("POST", "webhooks/metakeep", TOLD, token=None, headers=headers)
        self._send("GET", "webhooks/metakeep", token=None)
