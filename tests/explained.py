"""What the database was asked, and by which index it answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from getsmart import mongo
from tests.money import Raw


class Questions(CommandListener):
    """What the database was asked to find."""

    def __init__(self) -> None:
        """Nothing so far."""
        self.asked: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        """A question, without what says who asks."""
        names = {"find", "filter", "projection", "sort", "limit", "hint"}
        self.asked += [{name: value for name, value in event.command.items() if name in names}]

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """An answer."""

    def failed(self, event: CommandFailedEvent) -> None:
        """A refusal."""

    def plans(self, raw: Raw, collection: str) -> list[str]:
        """How each question to this collection is answered, in their order."""
        asked = [one for one in self.asked if one.get("find") == collection]
        told = [raw.command("explain", one, verbosity="queryPlanner") for one in asked]
        return [str(one["queryPlanner"]["winningPlan"]) for one in told]


@contextmanager
def questions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Questions]:
    """What is asked until the block ends."""
    heard = Questions()
    mongo.forget()
    with monkeypatch.context() as patched:
        patched.setattr(mongo, "Meter", lambda: heard)
        yield heard
    mongo.forget()
