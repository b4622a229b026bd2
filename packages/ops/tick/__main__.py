"""Scheduled every minute, not on the web: send, poll, sum, number, look around for up to 50 s."""

from typing import Any

from getsmart import warm
from getsmart.services import tick


def main(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Counts of what was done; an uncaught error is logged and ends this run, the next one starts in a minute."""
    warm.ready()
    return {"body": tick.call()}
