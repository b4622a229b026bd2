"""`python -m local.sandbox`: serve one sandbox until SIGTERM or SIGINT; prints one JSON line when ready."""

import argparse
import json
import signal
import sys
from pathlib import Path

from local.sandbox.server import Sandbox
from local.sandbox.webhooks import SCHEMES


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8081, help="port of the REST API, 0 for any")
    parser.add_argument("--rpc-port", type=int, default=8545, help="port of the JSON-RPC, 0 for any")
    parser.add_argument("--data", type=Path, default=Path(".local/sandbox"), help="folder that keeps the state")
    parser.add_argument("--webhook-url", help="where events are sent; none are without it")
    parser.add_argument("--webhook-host", default="localhost", help="host name that events are signed for")
    parser.add_argument("--webhook-scheme", choices=SCHEMES, default="p256", help="how events are signed")
    parser.add_argument("--signing-host", default="metakeep.localhost", help="host name that requests are signed for")
    parser.add_argument("--mine-after-ms", type=int, default=2000, help="time from QUEUED to the block")
    parser.add_argument("--unsigned", action="store_true", help="accept requests without X-Api-Signature")
    return parser


def main() -> int:
    """Exit code 0 after a signal, 1 when a port is taken or the folder cannot be used."""
    options = vars(_parser().parse_args())
    is_unsigned = options.pop("unsigned")
    sandbox = Sandbox(**options, api_signature_required=not is_unsigned)
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread, so that only sigwait meets them
    try:
        sandbox.start()
    except OSError as error:
        print(f"the sandbox cannot start: {error}", file=sys.stderr)
        return 1
    print(json.dumps(sandbox.facts()), flush=True)
    signal.sigwait(signals)
    sandbox.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
