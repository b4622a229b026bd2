"""Puts a sandbox together: two HTTP servers, the mining clockwork and the webhook sender."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from local import rpc
from local.chain import Chain
from local.sandbox import api, private, transactions
from local.sandbox.clock import Clock, real_ms
from local.sandbox.faults import Holds
from local.sandbox.http import HttpServer
from local.sandbox.problems import SOMETHING_WENT_WRONG
from local.sandbox.webhooks import Sender
from local.sandbox.world import CHAIN_ID, Options, World

_TICK_SECONDS = 0.1
_ENDPOINTS = ("base_url", "rpc_url", "signing_host")
_FACTS = (
    *_ENDPOINTS,
    "api_key",
    "api_secret",
    "webhook_sender_key",
    "webhook_secret",
    "token_address",
    "treasury_address",
    "chain_id",
)
_WORKERS, _RPC_WORKERS = 48, 8  # a reply that is held back occupies its worker


def _http_problem(error: HTTPException) -> ResponseReturnValue:
    word = (error.name or "error").upper().replace(" ", "_")
    return jsonify({"status": word}), error.code or 500


def _crash(error: Exception) -> ResponseReturnValue:
    return jsonify({"status": SOMETHING_WENT_WRONG, "message": repr(error)}), 500


def make_app(world: World, holds: Holds, addresses: dict[str, str]) -> Flask:
    """The WSGI application of MetaKeep's paths and the private ones."""
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(api.blueprint(world, holds))
    app.register_blueprint(private.blueprint(world, holds, addresses))
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Exception, _crash)
    return app


class Sandbox:
    """The MetaKeep stand-in with its chain, for use inside a process; `python -m local.sandbox` is the same alone.

    `port` and `rpc_port` 0 take any free port. After `start` the attributes hold what the ready line prints:
    base_url, rpc_url, signing_host, api_key, api_secret, webhook_sender_key, webhook_secret, token_address,
    treasury_address, chain_id. `clock` gives real time in Unix milliseconds. A context manager:
    `with Sandbox(data=...) as sandbox`.
    """

    def __init__(  # noqa: PLR0913 - they are the options of the command line
        self,
        data: Path | str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rpc_port: int = 0,
        mine_after_ms: int = 2000,
        webhook_url: str | None = None,
        webhook_host: str = "localhost",
        webhook_scheme: str = "p256",
        signing_host: str = "metakeep.localhost",
        api_signature_required: bool = True,
        clock: Callable[[], int] = real_ms,
    ) -> None:
        """Nothing is opened before `start`."""
        self._options = Options(
            data=Path(data),
            mine_after_ms=mine_after_ms,
            signing_host=signing_host,
            api_signature_required=api_signature_required,
            webhook_url=webhook_url,
            webhook_host=webhook_host,
            webhook_scheme=webhook_scheme,
        )
        self._host, self._ports, self._clock = host, (port, rpc_port), clock
        self.signing_host, self.chain_id = signing_host, CHAIN_ID

    def start(self) -> Self:
        """Bind, open the data and serve. Raises OSError when a port is taken."""
        self._server = HttpServer(self._host, self._ports[0], _WORKERS)
        try:
            self._rpc = HttpServer(self._host, self._ports[1], _RPC_WORKERS)
        except OSError:
            self._server.stop()
            raise
        try:
            self._world = World(self._options, Clock(self._clock))
        except BaseException:
            self._server.stop()
            self._rpc.stop()
            raise
        self._holds = Holds()
        self._read_facts()
        self._run()
        return self

    def _read_facts(self) -> None:
        keys = self._world.credentials
        self.base_url, self.rpc_url = self._server.url, self._rpc.url
        self.api_key, self.api_secret, self.app_id = keys.api_key, keys.api_secret, keys.app_id
        self.next_api_key, self.next_api_secret = keys.next_api_key, keys.next_api_secret
        self.webhook_sender_key = keys.webhook_sender_key
        self.webhook_secret = keys.webhook_secret
        self.token_address, self.treasury_address = self._world.token, self._world.treasury

    def _run(self) -> None:
        addresses = {"base_url": self.base_url, "rpc_url": self.rpc_url}
        self._stopping = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="sandbox-clockwork", daemon=True)
        self._sender = Sender(self._world)
        self._server.start(make_app(self._world, self._holds, addresses))
        self._rpc.start(rpc.make_app(self.open_chain))
        self._ticker.start()
        self._sender.start()

    def _tick(self) -> None:
        """Mine what is due even when nobody asks, so that webhooks leave in time."""
        while not self._stopping.wait(_TICK_SECONDS):
            with self._world.change(flush=True):
                transactions.settle(self._world)

    @contextmanager
    def open_chain(self) -> Iterator[Chain]:
        """The chain, alone, with everything mined that is due."""
        with self._world.change():
            transactions.settle(self._world)
            yield self._world.chain

    def settle_and_forget(self) -> int:
        """End whatever is still under way without an effect; the number of the newest block.

        For one sandbox that serves many tests: what an earlier one has left behind happens in no later one.
        """
        with self._world.change():
            transactions.forget(self._world)
            return self._world.chain.head.number

    def newest_transaction(self) -> str:
        """The id of the transaction that was accepted last, as its reply told; for a test in which that got lost."""
        with self._world.change():
            row = self._world.store.row("SELECT transaction_id FROM transactions ORDER BY seq DESC LIMIT 1")
        return "" if row is None else str(row["transaction_id"])

    def facts(self) -> dict[str, Any]:
        """What the ready line prints."""
        return {name: getattr(self, name) for name in _FACTS}

    def stop(self) -> None:
        """Stop serving, let go of held replies and close the data."""
        self._stopping.set()
        self._holds.release()
        self._server.stop()
        self._rpc.stop()
        self._ticker.join()
        self._sender.stop()
        self._world.close()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()
