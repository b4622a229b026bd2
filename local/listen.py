"""`python -m local.listen`: prints and verifies the webhooks that come, for whoever develops a receiver.

Without `--secret` it subscribes itself at the system that `./doit serve` runs here, until Ctrl-C.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from local.serve import Interrupted, interruptible
from local.stack import ROOT

_PORT = 9100
_SECONDS = 10.0
_MOST_BYTES = 1_048_576


class NotListening(Exception):
    """It cannot begin; the text is one line for the person at the terminal."""


def main(arguments: list[str] | None = None) -> int:
    """0 after Ctrl-C; 1, with one clear line, when it cannot begin."""
    parser = argparse.ArgumentParser(prog="./doit listen", description=__doc__)
    parser.add_argument("--port", type=int, default=_PORT, help="to listen on; 0 takes a free one")
    parser.add_argument("--secret", action="append", help="of an endpoint that exists; twice while it is rotated")
    parser.add_argument("--forward-to", metavar="URL", help="hand each call on to your receiver, byte for byte")
    parser.add_argument("--data", type=Path, default=ROOT / ".local", help="the data directory of `./doit serve`")
    options = parser.parse_args(arguments)
    try:
        with interruptible(), ThreadingHTTPServer(("127.0.0.1", options.port), _Handler) as server:
            url = f"http://127.0.0.1:{server.server_address[1]}/"
            if options.secret:
                _listen(server, options.secret, options.forward_to, url)
            else:
                with _subscribed(options.data, url) as secret:
                    _listen(server, [secret], options.forward_to, url)
    except (NotListening, OSError) as error:
        print(f"listen: {error}", file=sys.stderr)
        return 1
    except Interrupted:
        print("stopped", flush=True)
    return 0


@contextmanager
def _subscribed(data: Path, url: str) -> Iterator[str]:
    """An endpoint of our own until the end of the block; its secret. Raises NotListening."""
    try:
        facts = json.loads((data / "serve.json").read_text())
    except (OSError, ValueError):
        raise NotListening(f"nothing runs in {data}: ./doit serve, or name a --secret") from None
    place = f"{facts['gateway']}/v1/webhooks/endpoints"
    with requests.Session() as http:
        http.trust_env = False  # no proxy between us and this machine
        http.headers["Authorization"] = f"Bearer {facts['api_key']}"
        reply = http.post(place, json={"url": url}, timeout=_SECONDS)
        if reply.status_code != 201:
            raise NotListening(reply.json()["error"]["message"])
        made = reply.json()["data"]
        print(f"subscribed as {made['endpoint_id']}; its secret: {made['secret']}", flush=True)
        try:
            yield made["secret"]
        finally:
            http.delete(place, params={"endpoint_id": made["endpoint_id"]}, timeout=_SECONDS)


def _listen(server: ThreadingHTTPServer, secrets: Sequence[str], forward_to: str | None, url: str) -> None:
    _Handler.webhooks = [Webhook(secret) for secret in secrets]
    _Handler.forward_to = forward_to
    print(f"listening on {url}", flush=True)
    server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    webhooks: Sequence[Webhook] = ()
    forward_to: str | None = None

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if length > _MOST_BYTES:
            self._answer(413)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        event = self._verified(body, headers)
        if event is None:
            print(f"{_now()}  refused: no signature of it verifies", flush=True)
            self._answer(401)
            return
        status, how = self._forward(body, headers)
        print(f"{_now()}  {event.get('sequence')}  {event.get('type')}  {headers['webhook-id']}  verified{how}")
        print(json.dumps(event.get("data"), indent=2), flush=True)
        self._answer(status)

    def _verified(self, body: bytes, headers: dict[str, str]) -> dict[str, Any] | None:
        for webhook in self.webhooks:
            try:
                event = webhook.verify(body, headers)
            except (WebhookVerificationError, ValueError):
                continue
            return event if isinstance(event, dict) else {}
        return None

    def _forward(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        """The answer of the receiver behind us, and a word about it; 502 when it gave none."""
        if self.forward_to is None:
            return 204, ""
        kept = {name: value for name, value in headers.items() if name.startswith("webhook-") or name == "content-type"}
        try:
            reply = requests.post(self.forward_to, body, headers=kept, timeout=_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            return 502, f"  not forwarded: {type(error).__name__}"
        return reply.status_code, f"  forwarded: {reply.status_code}"

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """We print what there is to say."""


def _now() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


if __name__ == "__main__":
    sys.exit(main())
