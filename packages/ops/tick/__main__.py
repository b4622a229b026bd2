"""Scheduled every minute, not on the web: send, poll, sum, number, look around for up to 50 s."""

from typing import Any

from getsmart import log, warm
from getsmart.services import tick


def main(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Counts of what was done; an uncaught error is logged and ends this run, the next one starts in a minute."""
    warm.ready()
    try:
        done = tick.run()
    except Exception as error:  # noqa: BLE001 - the platform would keep only a mute failure
        log.failure("tick.failed", error)
        return {"body": {"failed": type(error).__name__}}
    log.event("tick", **done)
    return {"body": done}
