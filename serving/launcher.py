"""The child of the isolated mode: one function in a bare interpreter, called by JSON lines as the platform calls it.

Started as `python launcher.py FD` in the folder a function was unpacked to. Each line on stdin is a call: `value` is
the event, all else becomes `__OW_*` in the environment. FD, which becomes 3 as on the platform, takes `{"ok": true}`
when the function is ready, then one line a result. Copied into the function's folder and started from there it is the
platform's second start path, with that folder first on the import path. Standard library only, and little of it.
"""

# pathlib would make the start of an empty function half as long again
# ruff: noqa: PTH100, PTH109, PTH110, PTH112, PTH118, PTH120, PTH123

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would make the start of an empty function a quarter longer
    from collections.abc import Callable
    from typing import Any, BinaryIO

_RESULTS = 3
_PIP = (
    "requirements.txt without virtualenv/: the platform would run pip over the network here; pack a virtualenv instead"
)


class Context:
    """The second argument of `main`, from what the environment says of this call."""

    def __init__(self) -> None:
        get = os.environ.get
        self.function_name = get("__OW_ACTION_NAME", "")
        self.function_version = get("__OW_ACTION_VERSION", "")
        self.activation_id = get("__OW_ACTIVATION_ID", "")
        self.request_id = get("__OW_TRANSACTION_ID", "")
        self.deadline = int(get("__OW_DEADLINE", "0"))
        self.api_host = get("__OW_API_HOST", "")
        self.api_key = get("__OW_API_KEY", "")
        self.namespace = get("__OW_NAMESPACE", "")

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the deadline, never negative."""
        return max(0, self.deadline - int(time.time() * 1000))


def load(folder: str, launched_from: str) -> Callable[..., Any]:
    """The function's `main`, imported as module `main__`. Raises whatever stands in its way."""
    if os.path.isdir(os.path.join(folder, "virtualenv")):
        _activate(folder)
    elif launched_from == folder and os.path.exists(os.path.join(folder, "requirements.txt")):
        raise RuntimeError(_PIP)
    if launched_from != folder:  # else it is the first entry
        sys.path.append(folder)
    import main__  # type: ignore[import-not-found]

    main: Callable[..., Any] = main__.main
    return main


def _activate(folder: str) -> None:
    """Execute the virtualenv's own script; its interpreter is never used."""
    names = [os.path.join(folder, "virtualenv", place, "activate_this.py") for place in ("bin", "Scripts")]
    path = next(filter(os.path.exists, names), names[0])
    with open(path, encoding="utf-8") as script:
        exec(compile(script.read(), path, "exec"), {"__file__": path})  # noqa: S102 - as the platform does


def answer(main: Callable[..., Any], line: bytes) -> bytes:
    """Make one call and give its result as a line. Raises what JSON cannot hold: the process is lost then."""
    call = json.loads(line)
    event = call.pop("value", {})
    for name, value in call.items():
        os.environ[f"__OW_{name.upper()}"] = str(value)
    try:
        result = main(*(event, Context())[: main.__code__.co_argcount]) or {}
    except Exception as error:  # noqa: BLE001 - the platform's launcher stops here too
        _complain()
        result = {"error": str(error)}
    text = json.dumps(result, ensure_ascii=False).encode()
    sys.stdout.flush()
    sys.stderr.flush()
    return text + b"\n"


def serve(main: Callable[..., Any], calls: BinaryIO, results: BinaryIO) -> None:
    """Say that the function is ready, then answer call by call until there are no more."""
    results.write(b'{"ok": true}\n')
    results.flush()
    for line in calls:
        results.write(answer(main, line))
        results.flush()


def start(folder: str, launched_from: str, calls: BinaryIO, results: BinaryIO) -> int:
    """Load and serve; 1 when the function cannot be loaded, with the reason on stderr."""
    try:
        main = load(folder, launched_from)
    except (Exception, SystemExit):  # noqa: BLE001 - a broken function, whatever is wrong with it
        _complain()
        print("The function did not initialize properly.", file=sys.stderr, flush=True)
        return 1
    sys.stdout.flush()
    sys.stderr.flush()
    serve(main, calls, results)
    return 0


def _complain() -> None:
    import traceback  # only when needed: it takes as long to import as all else here

    traceback.print_exc()


def main(descriptor: int) -> int:
    """Run in the working directory, with results on `descriptor`."""
    if descriptor != _RESULTS:  # pragma: no branch - 3 is taken in those who start it
        os.dup2(descriptor, _RESULTS, inheritable=False)
        os.close(descriptor)
    with os.fdopen(_RESULTS, "wb") as results:
        return start(os.getcwd(), os.path.dirname(os.path.abspath(__file__)), sys.stdin.buffer, results)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
