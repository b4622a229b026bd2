"""An HTTP/1.1 server with kept-alive connections in a thread of its own, whose applications can reach the socket."""

import threading
from collections.abc import Callable
from typing import Any

from cheroot import wsgi

CONNECTION = "sandbox.connection"  # the client's socket, in the WSGI environment
_IDLE_SECONDS = 75
_BACKLOG = 128


class _Gateway(wsgi.Gateway_10):
    """Hands the client's socket to the application, which may want to cut it."""

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        return environ | {CONNECTION: self.req.conn.socket}


class HttpServer:
    """Bound from the start, so that its URL is known; answers once it is given an application."""

    def __init__(self, host: str, port: int, workers: int) -> None:
        """Port 0 takes a free one. Raises OSError when the port is taken."""
        self._server = wsgi.Server(
            (host, port), None, numthreads=workers, request_queue_size=_BACKLOG, timeout=_IDLE_SECONDS, server_name=host
        )
        self._server.gateway = _Gateway
        self._server.expiration_interval = 0.05  # how soon `stop` is noticed
        self._thread: threading.Thread | None = None
        self._server.prepare()
        self.port = int(self._server.bind_addr[1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def start(self, app: Callable[..., Any]) -> None:
        """Answer with the WSGI application `app`."""
        self._server.wsgi_app = app
        self._thread = threading.Thread(target=self._server.serve, name=f"http-{self.port}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the requests under way and close the socket."""
        self._server.stop()
        if self._thread is not None:
            self._thread.join()
