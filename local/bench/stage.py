"""A database, a sandbox and a caller, and the project's functions called as the gateway calls them, in this process."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from getsmart.services.keys import SCOPES
from local.database import EmbeddedDatabase
from local.sandbox import Sandbox
from ops import functions, keys, migrations
from serving.app import add_library
from serving.event import HttpRequest, raw_event
from serving.loader import Loaded

DATABASE = "bench"
_NEVER_MINED = 10**12  # nothing moves by itself


class Stage:
    """See `stage`."""

    def __init__(self, uri: str, token: str, limited: str) -> None:
        self.uri, self.token, self.limited = uri, token, limited
        self._functions = {
            one.route: Loaded(one.package, one.name, one.path, one.timeout_ms) for one in functions.load()
        }

    def event(self, query: str = "", body: Any = None, *, token: str | None = None, key: str = "") -> dict[str, Any]:
        """The event of a GET, or with a body of a POST."""
        content = json.dumps(body).encode() if body is not None else b""
        headers = [("authorization", f"Bearer {token or self.token}")]
        headers += [("content-type", "application/json")] if body is not None else []
        headers += [("idempotency-key", key)] if key else []
        return raw_event(HttpRequest("POST" if content else "GET", "", query, headers, content, "127.0.0.1", "http"))

    def call(self, route: str, event: dict[str, Any]) -> dict[str, Any]:
        """The data of the reply. Raises RuntimeError unless it is a success."""
        function = self._functions[route]
        result = function.call(event, function.context())
        if result["statusCode"] >= 400:
            raise RuntimeError(f"{route} answered {result['statusCode']}: {result['body'][:300]}")
        data: dict[str, Any] = json.loads(result["body"])["data"]
        return data

    def bare_call(self, route: str, event: dict[str, Any]) -> Callable[[], object]:
        """The function's own work for that event, again and again: without what the platform does around it."""
        function = self._functions[route]
        return partial(function.main(), event, function.context())

    def wallet(self, number: int) -> str:
        """A wallet of that person."""
        body = {"owner": {"email": f"person{number}@example.com"}}
        return str(self.call("wallets/create", self.event(body=body))["wallet_id"])

    def mint(self, wallet: str, key: str) -> None:
        """A mint that MetaKeep accepts."""
        self.call("tokens/mint", self.event(body={"wallet_id": wallet, "amount": "1"}, key=key))


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Everything, started; the process's environment is changed for it."""
    add_library(functions.ROOT)
    with ExitStack() as ending:
        server = EmbeddedDatabase(folder / "database")
        ending.callback(server.stop)
        uri = server.start()
        sandbox = ending.enter_context(Sandbox(folder / "sandbox", mine_after_ms=_NEVER_MINED))
        os.environ.update(environment(uri, sandbox))
        migrations.up(uri, DATABASE)
        token = keys.create(client_id="bench", scopes=SCOPES, limits=keys.NO_LIMITS).token
        many: Any = {"per_second": 1_000_000, "per_hour": 1_000_000}
        limited = keys.create(client_id="bench", scopes=SCOPES, limits=many).token
        from getsmart import mongo

        ending.callback(mongo.forget)
        yield Stage(uri, token, limited)


def environment(uri: str, sandbox: Sandbox) -> dict[str, str]:
    """What the functions read."""
    return {
        "MONGODB_URI": uri,
        "MONGODB_DATABASE": DATABASE,
        "MONGODB_MAX_POOL_SIZE": "16",
        "COLOUR": "blue",
        "APP_VERSION": "bench",
        "METAKEEP_BASE_URL": sandbox.base_url,
        "METAKEEP_SIGNING_HOST": sandbox.signing_host,
        "METAKEEP_API_KEY": sandbox.api_key,
        "METAKEEP_API_SECRET": sandbox.api_secret,
        "TOKEN_CONTRACT_ADDRESS": sandbox.token_address,
        "TREASURY_ADDRESS": sandbox.treasury_address,
        "CHAIN_ID": str(sandbox.chain_id),
        "CHAIN_RPC_URL": sandbox.rpc_url,
        "WEBHOOK_SECRET_KEYS": "0" * 64,
        "WEBHOOK_PRIVATE_TARGETS": "test",
    }
