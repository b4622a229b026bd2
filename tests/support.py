"""What tests call the system with: functions as the platform calls them, and the sandbox's private side."""

import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import requests

from getsmart import clock
from serving.loader import Loaded
from tests.described import assert_described

ROOT = Path(__file__).resolve().parent.parent
_TIMEOUT_MS = 30_000
_numbers = itertools.count(1)


@cache
def load(path: str) -> Loaded:
    """The function `package/name`, imported once as the gateway imports it."""
    package, name = path.split("/")
    return Loaded(package, name, ROOT / "packages" / package / name, _TIMEOUT_MS)


@dataclass(frozen=True)
class Answer:
    """A function's response as its caller reads it."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> dict[str, Any]:
        """The whole body."""
        parsed: dict[str, Any] = json.loads(self.text)
        return parsed

    @property
    def data(self) -> dict[str, Any]:
        """The data of a success."""
        assert self.json["status"] == "success", self.text
        data: dict[str, Any] = self.json["data"]
        return data

    @property
    def code(self) -> str:
        """The code of an error."""
        assert self.json["status"] == "error", self.text
        return str(self.json["error"]["code"])

    @property
    def fields(self) -> list[str]:
        """The fields an error names."""
        return [detail["field"] for detail in self.json["error"]["details"]]


def event(
    method: str,
    *,
    body: bytes | str = b"",
    query: str = "",
    headers: dict[str, str] | None = None,
    path: str = "",
    is_base64: bool = False,
) -> dict[str, Any]:
    """A raw web event."""
    text = body if isinstance(body, str) else body.decode()
    return {
        "http": {
            "method": method,
            "path": path,
            "headers": headers or {},
            "queryString": query,
            "body": text,
            "isBase64Encoded": is_base64,
        }
    }


def call(path: str, event_: dict[str, Any]) -> Answer:
    """Call a function with an event. The reply has to be one that the API's description promises."""
    function = load(path)
    result = function.call(event_, function.context())
    assert_described(path, event_["http"]["method"], result["statusCode"], result["headers"], result["body"])
    return Answer(result["statusCode"], result["headers"], result["body"])


class Client:
    """An application with an API key."""

    def __init__(self, token: str | None) -> None:
        """`token` None sends no Authorization."""
        self.token = token

    def get(self, path: str, query: str = "", **headers: str) -> Answer:
        """GET a function."""
        return call(path, event("GET", query=query, headers=self._headers(headers)))

    def post(self, path: str, body: Any, *, key: str | None = None, query: str = "", **headers: str) -> Answer:
        """POST a JSON body, text or bytes as they are; `key` is the Idempotency-Key."""
        raw = body if isinstance(body, (str, bytes)) else json.dumps(body)
        sent = self._headers({"content-type": "application/json", **headers})
        if key is not None:
            sent["idempotency-key"] = key
        return call(path, event("POST", body=raw, query=query, headers=sent))

    def _headers(self, extra: dict[str, str]) -> dict[str, str]:
        authorization = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return {**authorization, **{name.replace("_", "-"): value for name, value in extra.items()}}


def unique(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix}-{next(_numbers)}"


class Time:
    """Real time plus what a test has added to it; for the library and the sandbox alike."""

    def __init__(self) -> None:
        """The clock goes on from the present moment."""
        self._ahead = timedelta()
        self._stands: datetime | None = None
        clock.set_clock(lambda: (self._stands or datetime.now(UTC)) + self._ahead)

    @property
    def is_ahead(self) -> bool:
        """Whether it is not the real time any more."""
        return bool(self._ahead) or self._stands is not None

    def stand(self) -> None:
        """From here on only `advance` moves it: how long the test itself takes counts for nothing.

        Ids of one moment have no order among each other, so this is not for what reads by them.
        """
        self._stands = self._stands or datetime.now(UTC)

    def advance(self, seconds: float) -> None:
        """Let time pass without waiting."""
        self._ahead += timedelta(seconds=seconds)


class Provider:
    """The private side of the sandbox."""

    def __init__(self, base_url: str, rpc_url: str) -> None:
        """URLs of the sandbox and of its JSON-RPC port."""
        self.base_url, self.rpc_url = base_url, rpc_url

    def advance(self, seconds: float) -> None:
        """Push the sandbox's clock forward; what is due is mined."""
        self.private("clock", advance_ms=round(seconds * 1000))

    def fault(self, path: str, kind: str, times: int = 1, **more: Any) -> None:
        """Make the next calls of `path` fail in a documented way."""
        self.private("faults", path=path, kind=kind, times=times, **more)

    def clear(self) -> None:
        """No faults, nothing held."""
        requests.delete(f"{self.base_url}/_sandbox/faults", timeout=5).raise_for_status()

    def private(self, name: str, **content: Any) -> dict[str, Any]:
        """POST to a private path."""
        response = requests.post(f"{self.base_url}/_sandbox/{name}", json=content, timeout=60)
        assert response.ok, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def read(self, name: str) -> Any:
        """GET a private path."""
        response = requests.get(f"{self.base_url}/_sandbox/{name}", timeout=5)
        assert response.ok, response.text
        return response.json()

    def rpc(self, method: str, *parameters: Any) -> Any:
        """Ask the chain's node."""
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        return requests.post(self.rpc_url, json=question, timeout=5).json()["result"]

    def balance_of(self, token: str, address: str) -> int:
        """The ERC-20 balance on chain, in base units."""
        data = "0x70a08231" + address[2:].lower().rjust(64, "0")
        return int(self.rpc("eth_call", {"to": token, "data": data}, "latest"), 16)

    def transfers_to(self, token: str, address: str) -> list[dict[str, Any]]:
        """The Transfer logs of the token to an address."""
        topic = "0x" + address[2:].lower().rjust(64, "0")
        found: list[dict[str, Any]] = self.rpc(
            "eth_getLogs", {"address": token, "fromBlock": "0x0", "topics": [None, None, topic]}
        )
        return found
