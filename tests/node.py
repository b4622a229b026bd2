"""A chain's node that says what a test wants: for answers that an honest node never gives."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from getsmart.chain import TRANSFER_TOPIC


def topic(address: str) -> str:
    """An address as an indexed argument."""
    return "0x" + address[2:].lower().rjust(64, "0")


def transfer_log(token: str, sender: str, recipient: str, units: int, *, index: int = 0) -> dict[str, Any]:
    """A Transfer as a node writes it."""
    topics = [TRANSFER_TOPIC, topic(sender), topic(recipient)]
    return {"address": token, "topics": topics, "data": hex(units), "logIndex": hex(index)}


def receipt(*logs: dict[str, Any], status: int = 1, block: int = 5) -> dict[str, Any]:
    """A receipt as a node writes it."""
    return {"status": hex(status), "blockNumber": hex(block), "logs": list(logs)}


@dataclass
class Node:
    """Answers each method with its entry: a result, or under `raw` the whole body as it is.

    It is a node of the tests' chain; that it was asked which one is no question that a test has to know of.
    """

    results: dict[str, Any]
    raw: bytes | None = None
    questions: list[dict[str, Any]] = field(default_factory=list)
    chain_id: str = "0x13882"

    def __enter__(self) -> Self:
        """Serve on a free port."""
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                batch = asked if isinstance(asked, list) else [asked]
                is_about_itself = batch[0]["method"] == "eth_chainId"
                node.questions.extend([] if is_about_itself else batch)
                results = {"eth_chainId": node.chain_id, **node.results}
                answers = [{"jsonrpc": "2.0", "id": one["id"], "result": results.get(one["method"])} for one in batch]
                answer = answers if isinstance(asked, list) else answers[0]
                body = json.dumps(answer).encode() if node.raw is None or is_about_itself else node.raw
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
