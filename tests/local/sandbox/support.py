"""A caller that speaks to a sandbox as a client of the wallet provider does: signed, over a socket."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import requests

from getsmart.metakeep.signing import SigningKey, string_to_sign

MINT, TRANSFER, BURN = "/v2/app/coin/mint", "/v2/app/coin/transfer", "/v2/app/coin/burn"
BALANCE, STATUS = "/v2/app/coin/balance", "/v2/app/transaction/status"
Json = dict[str, Any]


def wait_for(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Poll until the condition gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


class Caller:
    """Calls a running sandbox, wherever it runs; `facts` are those of its ready line."""

    def __init__(self, facts: Json) -> None:
        """Keeps one connection."""
        self.facts = facts
        self.session = requests.Session()
        self._key = SigningKey.from_secret(facts["api_secret"])

    def headers(self, path: str, raw: bytes, key: str | None, timestamp: int | None = None) -> dict[str, str]:
        """The headers of a signed call; `timestamp` is Unix milliseconds, now without it."""
        stamp = str(timestamp if timestamp is not None else time.time_ns() // 1_000_000)
        host = self.facts["signing_host"]
        message = string_to_sign(host=host, method="POST", path=path, timestamp=stamp, body=raw, idempotency_key=key)
        headers = {"x-api-key": self.facts["api_key"], "X-Timestamp": stamp, "Content-Type": "application/json"}
        headers["X-Api-Signature"] = self._key.sign(message)
        return headers | ({} if key is None else {"Idempotency-Key": key})

    def send(self, path: str, raw: bytes, headers: dict[str, str], timeout: float = 10) -> requests.Response:
        """Send bytes as they are."""
        return self.session.post(self.facts["base_url"] + path, data=raw, headers=headers, timeout=timeout)

    def post(self, path: str, body: Any, key: str | None = None, timeout: float = 10) -> requests.Response:
        """A signed call."""
        raw = json.dumps(body).encode()
        return self.send(path, raw, self.headers(path, raw, key), timeout)

    def ok(self, path: str, body: Any, key: str | None = None) -> Json:
        """The reply of a call that succeeds."""
        reply = self.post(path, body, key)
        assert reply.status_code == 200, (reply.text, reply.headers)
        parsed: Json = reply.json()
        return parsed

    def refused(self, path: str, body: Any, key: str | None = None) -> tuple[int, str]:
        """HTTP status and status word of a call that fails."""
        reply = self.post(path, body, key)
        return reply.status_code, reply.json()["status"]

    def private(self, method: str, path: str, body: Any = None) -> requests.Response:
        """A call of a private path."""
        return self.session.request(method, f"{self.facts['base_url']}/_sandbox{path}", json=body, timeout=10)

    def tell(self, target: str, /, **body: Any) -> Json:
        """POST to a private path, with success."""
        reply = self.private("POST", target, body)
        assert reply.status_code == 200, reply.text
        parsed: Json = reply.json()
        return parsed

    def see(self, path: str) -> Json:
        """GET a private path."""
        parsed: Json = self.private("GET", path).json()
        return parsed

    def coin(self) -> Json:
        """The token, as requests name it."""
        return {"currency": self.facts["token_address"]}

    def mint(self, email: str, amount: str = "10", key: str | None = None) -> Json:
        """The QUEUED reply of a mint."""
        body = {"coin": self.coin(), "to": {"email": email}, "amount": amount}
        return self.ok(MINT, body, key or str(uuid.uuid4()))

    def fund(self, email: str, amount: str = "10") -> None:
        """Mint, and wait by the sandbox's clock until it is mined."""
        self.mint(email, amount)
        self.tell("/clock", advance_ms=2000)

    def status(self, transaction_id: str) -> Json:
        """The status reply."""
        return self.ok(STATUS, {"transactionId": transaction_id})

    def balance(self, email: str) -> str:
        """Whole tokens of a person."""
        body = {"coins": {"currencies": [self.facts["token_address"]]}, "of": {"email": email}}
        return str(self.ok(BALANCE, body)["balances"][0]["balance"])

    def address(self, email: str) -> str:
        """The EVM address of a person."""
        return str(self.ok("/v3/getWallet", {"user": {"email": email}})["wallet"]["ethAddress"])

    def close(self) -> None:
        """Close the connection."""
        self.session.close()
