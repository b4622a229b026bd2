"""`python -m serving`: every function of project.yml over HTTP, on waitress, until SIGTERM or Ctrl-C.

With --workers N it is the container: gunicorn with N processes (serving/container.py). With --isolated each function
runs from its built folder in processes of its own, as on the platform.
"""

import argparse
import io
import json
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any

from waitress import wasyncore  # type: ignore[import-untyped]
from waitress.server import create_server  # type: ignore[import-untyped]

from ops.functions import ROOT, ProjectError, load
from serving.app import create_app
from serving.isolated import Isolation, NotBuilt
from serving.limits import Limits

_BODY_BYTES = 8 * 1_048_576  # the gateway answers for what is over the platform's limit, the server beyond this
_CONNECTIONS = 1_000  # open ones, idle ones among them: past its own 100, waitress lets the next caller wait
_DRAIN_SECONDS = 5.0


class Server:
    """A waitress server that finishes the requests it has when it is told to end."""

    def __init__(self, app: Any, host: str, port: int, threads: int) -> None:
        """Listens from here on. Raises OSError when it cannot."""
        self._sockets: dict[int, Any] = {}
        self._server: Any = create_server(
            app,
            map=self._sockets,
            host=host,
            port=port,
            threads=threads,
            max_request_body_size=_BODY_BYTES,
            connection_limit=_CONNECTIONS,
            ident=None,
        )
        self._ending = False
        self._told = False

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self._server.effective_host}:{self._server.effective_port}"

    def run(self) -> None:
        """Serve until `end` is called, then finish the requests under way, and only these."""
        self._turn(lambda: not self._ending)
        while not self._told:  # who ends us, in another thread, still holds the trigger that is closed below
            time.sleep(0.001)
        self._server.accepting = False
        self._server.del_channel()
        self._server.socket.close()
        deadline = time.monotonic() + _DRAIN_SECONDS
        self._turn(lambda: self._busy() and time.monotonic() < deadline)
        self._server.task_dispatcher.shutdown(timeout=1.0)
        wasyncore.close_all(self._sockets)

    def end(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Make `run` return; fit to be a signal handler."""
        if not self._ending:
            self._ending = True
            self._server.pull_trigger()
            self._told = True

    def _turn(self, condition: Callable[[], bool]) -> None:
        while condition():
            wasyncore.loop(timeout=1.0, use_poll=True, map=self._sockets, count=1)

    def _busy(self) -> bool:
        channels = list(self._server.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)


def main() -> int:
    """Print one JSON line with the address when ready; 0 after a signal, 1 when the port is taken."""
    options = _options()
    if isinstance(sys.stdout, io.TextIOWrapper):  # pragma: no branch - it is, unless somebody replaced it
        sys.stdout.reconfigure(line_buffering=True)  # one log line a call, at once
    if options.workers:
        return _contain(options)
    with ExitStack() as ending:
        try:
            server = Server(_app(options, ending), options.host, options.port, options.threads)
        except (ProjectError, NotBuilt) as error:
            print(f"serving: {error}", file=sys.stderr)
            return 1
        except OSError as error:
            print(f"serving: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
            return 1
        signal.signal(signal.SIGTERM, server.end)
        signal.signal(signal.SIGINT, server.end)
        print(json.dumps({"gateway": server.url}))
        server.run()
    return 0


def _contain(options: argparse.Namespace) -> int:
    """Serve with several workers until a signal; gunicorn says itself what stands in its way."""
    from serving.container import Container  # here: what it imports is not small

    try:
        load(ROOT)
    except ProjectError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    Container(host=options.host, port=options.port, workers=options.workers, threads=options.threads).run()
    return 0  # pragma: no cover - gunicorn exits by itself


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--threads", type=int, default=32, help="requests at a time")
    parser.add_argument("--isolated", action="store_true", help="functions in processes of their own, limited")
    parser.add_argument("--platform-limits", action="store_true", help="600 calls a minute, 120 at a time")
    parser.add_argument("--workers", type=int, default=0, help="as in the container: gunicorn with so many processes")
    options = parser.parse_args()
    if options.workers and (options.isolated or options.platform_limits):
        parser.error("--workers goes with functions in process alone")
    return options


def _app(options: argparse.Namespace, ending: ExitStack) -> Any:
    """The application these options ask for; what it needs ends with `ending`. Raises ProjectError and NotBuilt."""
    asked: dict[str, Any] = {}
    if options.isolated:
        asked["run"] = ending.enter_context(Isolation())
    if options.platform_limits:
        limits = Limits()
        options.threads = max(options.threads, limits.concurrent + 1)  # else the limit would never be met
        asked["limit"] = limits.one_call
    return create_app(**asked)


if __name__ == "__main__":
    sys.exit(main())
