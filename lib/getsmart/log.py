"""One JSON line on stdout per event: the platform forwards stdout, and keeps nothing else of a web call.

Values are ids, codes, counts and durations. Secrets, tokens, e-mail addresses and request bodies are never passed
in; `redact` guards the one text that we do not write ourselves, that of a foreign exception. A line at level `error` is
also kept with the call, for stores/failures.py.
"""

import json
import re
import sys
from typing import Any

from getsmart import calls, clock

_REDACTED = (
    r"(?a)gsk_[a-z]+_[0-9A-Za-z_]+|whsec_[0-9A-Za-z+/=_-]+|account_secret_[A-Za-z0-9+/=_-]+"
    r"|[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,254}@[A-Za-z0-9.-]+"
    r"|mongodb(?:\+srv)?://\S+|(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"
)


def redact(text: str) -> str:
    """`text` without anything that looks like a key, a connection string or an e-mail address."""
    return re.sub(_REDACTED, "[redacted]", text)


def event(name: str, *, level: str = "info", **fields: Any) -> None:
    """Write one line: `name` is dotted (`tokens.mint`), fields are JSON values; it says which call it belongs to."""
    call = calls.current()
    line: dict[str, Any] = {"at": clock.to_wire(clock.now()), "level": level, "event": name}
    if call is not None:
        line.update(call.says)
    line.update((key, value) for key, value in fields.items() if value is not None)
    if level == "error" and call is not None:
        call.fail(line)
    sys.stdout.write(json.dumps(line, default=str, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def failure(name: str, error: BaseException, **fields: Any) -> None:
    """Write one line about an exception."""
    event(name, level="error", **told(error), **fields)


def told(error: BaseException) -> dict[str, str]:
    """What a line says of an exception: its type, and its redacted text."""
    return {"error_type": type(error).__name__, "error": redact(str(error))[:500]}
