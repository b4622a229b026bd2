"""The whole system as a stranger runs it: `./doit serve` in a process of its own, spoken to over HTTP alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support import ROOT, Provider

_READY_SECONDS = 120.0
_GONE_SECONDS = 60.0


class System:
    """One data directory, and the system that runs on it now."""

    def __init__(self, data: Path, *words: str) -> None:
        """Nothing runs before `start`, which hands these words to `./doit serve`: none mean isolated functions."""
        self.data = data
        self.words = words
        self.process: subprocess.Popen[bytes] | None = None
        self.facts: dict[str, Any] = {}

    def start(self) -> "System":
        """Start on free ports and wait until serve.json tells where."""
        ready = self.data / "serve.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "local.serve", "--port", "0", "--data", str(self.data), *self.words]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'lib'}:{ROOT}"}
        with (self.data.parent / f"{self.data.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        self.wait_for(lambda: ready.exists() or self.process is None or self.process.poll() is not None, _READY_SECONDS)
        self.facts = json.loads(ready.read_text())
        return self

    def kill(self) -> None:
        """`kill -9` of the serving process; its children are on a leash."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(_GONE_SECONDS)

    def stop(self) -> int:
        """Ctrl-C."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(_GONE_SECONDS)

    @staticmethod
    def wait_for(condition: Any, seconds: float, every: float = 0.05) -> Any:
        """Poll until the condition holds; what it gave. Fails the test when it never does."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(every)
        raise AssertionError(f"did not happen within {seconds} s")

    @property
    def provider(self) -> Provider:
        """The sandbox's private side."""
        return Provider(self.facts["sandbox"], self.facts["rpc"])

    def get(self, path: str, **query: str) -> requests.Response:
        """GET with the seeded key."""
        return requests.get(self._url(path), params=query, headers=self._headers(), timeout=35)

    def get_as(self, secret: str, path: str, **query: str) -> requests.Response:
        """GET with another key."""
        return requests.get(self._url(path), params=query, headers={"Authorization": f"Bearer {secret}"}, timeout=35)

    def post(self, path: str, body: dict[str, Any], key: str | None = None) -> requests.Response:
        """POST JSON with the seeded key; `key` is the Idempotency-Key."""
        headers = self._headers() | ({"Idempotency-Key": key} if key else {})
        return requests.post(self._url(path), json=body, headers=headers, timeout=35)

    def answered(self, call: Callable[[], requests.Response], seconds: float = 60.0) -> requests.Response:
        """What a call is answered in the end: it is repeated as long as it is told to come again.

        So it is by 503, and by the platform's own 202 for a function that takes longer than anybody is kept waiting.
        """
        replies: list[requests.Response] = []

        def is_answered() -> bool:
            replies.append(call())
            status, body = replies[-1].status_code, replies[-1].content
            return status != 503 and not (status == 202 and "data" not in json.loads(body))

        self.wait_for(is_answered, seconds, 0.2)
        return replies[-1]

    def wallet(self, email: str) -> dict[str, Any]:
        """The wallet of an address."""
        made = self.answered(lambda: self.post("wallets/create", {"owner": {"email": email}}))
        data: dict[str, Any] = made.json()["data"]
        return data

    def transaction(self, transaction_id: str) -> dict[str, Any]:
        """A transaction as it stands."""
        found = self.answered(lambda: self.get("tokens/transaction", transaction_id=transaction_id))
        data: dict[str, Any] = found.json()["data"]
        return data

    def posted(self, wallet_id: str) -> str:
        """What a wallet has in the books."""
        balance = self.answered(lambda: self.get("wallets/balance", wallet_id=wallet_id))
        return str(balance.json()["data"]["posted"])

    def reaches(self, transaction_id: str, status: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until the transaction has this status."""

        def has_it() -> dict[str, Any] | None:
            found = self.transaction(transaction_id)
            return found if found["status"] == status else None

        found: dict[str, Any] = self.wait_for(has_it, seconds)
        return found

    def token(self) -> str:
        """The contract's address."""
        return str(self.answered(lambda: self.get("tokens/info")).json()["data"]["contract_address"])

    def health(self) -> requests.Response:
        """The health endpoint's reply."""
        return requests.get(self._url("ops/health"), timeout=10)

    def _url(self, path: str) -> str:
        return f"{self.facts['gateway']}/v1/{path}"

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.facts['api_key']}"}


@pytest.fixture
def fresh_system(tmp_path: Path) -> Iterator[System]:
    """A system of this test's own, to be killed."""
    system = System(tmp_path / "data", "--in-process").start()
    yield system
    if system.process is not None and system.process.poll() is None:
        system.stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[System]:
    """A system that the tests of a module share, started with the module's SERVE: where it has none, quick."""
    words = getattr(request.module, "SERVE", ("--in-process",))
    system = System(tmp_path_factory.mktemp("acceptance") / "data", *words).start()
    yield system
    assert system.stop() == 0
