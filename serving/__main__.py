"""`python -m serving`: every function of project.yml over HTTP, on waitress, until SIGTERM or Ctrl-C."""

import argparse
import io
import json
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from waitress import wasyncore  # type: ignore[import-untyped]
from waitress.server import create_server  # type: ignore[import-untyped]

from ops.functions import ProjectError
from serving.app import create_app

_BODY_BYTES = 8 * 1_048_576  # the gateway answers for what is over the platform's limit, the server beyond this
_DRAIN_SECONDS = 5.0


class Server:
    """A waitress server that finishes the requests it has when it is told to end."""

    def __init__(self, app: Any, host: str, port: int, threads: int) -> None:
        """Listens from here on. Raises OSError when it cannot."""
        self._sockets: dict[int, Any] = {}
        self._server: Any = create_server(
            app, map=self._sockets, host=host, port=port, threads=threads, max_request_body_size=_BODY_BYTES, ident=None
        )
        self._ending = False

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self._server.effective_host}:{self._server.effective_port}"

    def run(self) -> None:
        """Serve until `end` is called, then finish the requests under way, and only these."""
        self._turn(lambda: not self._ending)
        self._server.accepting = False
        self._server.del_channel()
        self._server.socket.close()
        deadline = time.monotonic() + _DRAIN_SECONDS
        self._turn(lambda: self._busy() and time.monotonic() < deadline)
        self._server.task_dispatcher.shutdown(timeout=1.0)
        wasyncore.close_all(self._sockets)

    def end(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Make `run` return; fit to be a signal handler."""
        self._ending = True
        self._server.pull_trigger()

    def _turn(self, condition: Callable[[], bool]) -> None:
        while condition():
            wasyncore.loop(timeout=1.0, use_poll=True, map=self._sockets, count=1)

    def _busy(self) -> bool:
        channels = list(self._server.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)


def main() -> int:
    """Print one JSON line with the address when ready; 0 after a signal, 1 when the port is taken."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--threads", type=int, default=32)
    options = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # pragma: no branch - it is, unless somebody replaced it
        sys.stdout.reconfigure(line_buffering=True)  # one log line a call, at once
    try:
        server = Server(create_app(), options.host, options.port, options.threads)
    except ProjectError as error:
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


if __name__ == "__main__":
    sys.exit(main())
