"""`python -m local.serve`: the whole system on this machine until Ctrl-C; its data is kept between runs.

Functions are built and run as on the platform, each in processes of its own, unless told otherwise.
"""

import argparse
import fcntl
import json
import os
import queue
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from dotenv import dotenv_values

from local import bluegreen
from local.processes import Child, ChildFailed
from local.stack import GATEWAY, OWNED, ROOT, WEBHOOK_HOST, Facts, Ports, Stack
from ops import package
from ops.functions import ProjectError
from ops.gateway.environment import EnvironmentInvalid
from ops.gateway.generate import ConfigRefused

_SANDBOX_PORT, _RPC_PORT = 8081, 8545
_FAREWELL_SECONDS = 10.0


def main(arguments: list[str] | None = None) -> int:
    """0 after Ctrl-C or SIGTERM; 1, with one clear line, when something cannot start or ends by itself."""
    options = _options(arguments)
    data: Path = options.data.resolve()
    try:
        with interruptible(), _alone(data):
            if options.fresh:
                forget(data)
            if not options.in_process:
                _build()
            ports = Ports.free() if options.port == 0 else Ports(options.port, _SANDBOX_PORT, _RPC_PORT)
            how: dict[str, Any] = {"platform_limits": options.platform_limits, "workers": options.workers}
            if options.blue_green:
                how["there"] = bluegreen.here(data / "gateway", ports.gateway, are_free=options.port == 0)
            _serve(data, ports, isolated=not options.in_process, **how)
    except (ChildFailed, package.PackageError, ProjectError, EnvironmentInvalid, ConfigRefused, OSError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    except Interrupted:
        print("stopped", flush=True)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./doit serve", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="of the gateway; 0 takes free ports for everything")
    parser.add_argument("--data", type=Path, default=ROOT / ".local", help="where the data is kept")
    parser.add_argument("--fresh", action="store_true", help="forget the data of earlier runs first")
    parser.add_argument("--in-process", action="store_true", help="all functions in one process: fast, less faithful")
    parser.add_argument("--platform-limits", action="store_true", help="600 calls a minute, 120 at a time")
    parser.add_argument("--workers", type=int, default=0, help="with --in-process: as the container, so many processes")
    parser.add_argument("--blue-green", action="store_true", help="--in-process twice, and HAProxy in front of both")
    options = parser.parse_args(arguments)
    options.in_process |= options.blue_green
    if options.workers and (options.platform_limits or not options.in_process):
        parser.error("--workers goes with --in-process, and not with --platform-limits")
    if options.blue_green and options.platform_limits:
        parser.error("--platform-limits does not go with --blue-green")
    return options


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM; like KeyboardInterrupt not to be caught by accident."""


@contextmanager
def interruptible() -> Iterator[None]:
    """The first SIGINT or SIGTERM raises Interrupted in the main thread; further ones do not disturb clearing up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bury(ended: "queue.SimpleQueue[Child]") -> None:
    """Wait for a part to end by itself, then raise ChildFailed; a gateway that lives has time to tell callers (503)."""
    child = ended.get()
    if child.name != GATEWAY:
        _say(f"\nthe {child.name} has ended; all else stops in {_FAREWELL_SECONDS:g} s")
        with suppress(queue.Empty):
            ended.get(timeout=_FAREWELL_SECONDS)
    raise ChildFailed(child.obituary())


def settings(root: Path = ROOT) -> dict[str, str]:
    """The environment, and what only `.env` says."""
    from_file = {name: value for name, value in dotenv_values(root / ".env").items() if value is not None}
    return {**from_file, **os.environ}


def forget(data: Path) -> None:
    """Remove what earlier runs left in the directory, by name, and nothing else."""
    for name in OWNED:
        path = data / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _build() -> None:
    """Build the functions as for a deployment; a moment when their dependencies are what they were."""
    _say("building the functions ...")
    try:
        package.build()
    except package.PackageError as error:
        raise package.PackageError(f"{error}; --in-process serves without a build") from error
    package.write_includes()


def _serve(data: Path, ports: Ports, **mode: Any) -> None:
    """Start, announce, wait. Returns never; raises Interrupted, or ChildFailed when a part ends by itself."""
    ended: queue.SimpleQueue[Child] = queue.SimpleQueue()
    announcement = data / "serve.json"
    announcement.unlink(missing_ok=True)
    with ExitStack() as stops:
        stops.callback(announcement.unlink, missing_ok=True)
        facts = Stack(data, ports, settings(), ended.put, _say, **mode).start(stops)
        _announce(announcement, facts)
        _say(_banner(data, facts))
        _bury(ended)


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Hold the directory. Raises ChildFailed when another serve has it; the system lets go of it however we end."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ChildFailed(f"another serve runs with the data in {data}") from None
        yield


def _announce(file: Path, facts: Facts) -> None:
    """Write serve.json whole or not at all, readable by its owner only: it holds the key."""
    draft = file.with_suffix(".json.new")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(asdict(facts), indent=2) + "\n", encoding="utf-8")
    draft.replace(file)


def _say(text: str) -> None:
    print(text, flush=True)


def _banner(data: Path, facts: Facts) -> str:
    rows: Mapping[str, str] = {
        "gateway": f"{facts.gateway}/v1",
        "health": f"{facts.gateway}/v1/ops/health",
        "sandbox": f"{facts.sandbox} (stands in for MetaKeep, webhooks signed for {WEBHOOK_HOST})",
        "chain": f"{facts.rpc} (JSON-RPC)",
        "database": facts.database,
        "data": f"{data} (kept; serve.json for scripts, *.log)",
        "API key": facts.api_key,
    }
    lines = [f"{name:<10}{value}" for name, value in rows.items()]
    curl = [
        f"curl -s {facts.gateway}/v1/wallets/create -H 'Authorization: Bearer {facts.api_key}' \\",
        """  -H 'Content-Type: application/json' -d '{"owner":{"email":"learner@example.com"}}'""",
    ]
    return "\n".join(["", *lines, "", "Try:", *curl, "", "Ctrl-C stops everything."])


if __name__ == "__main__":
    sys.exit(main())
