"""Endpoints as the database is asked for them."""

from typing import Any

import pytest
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from getsmart import mongo
from getsmart.stores import endpoints
from tests.hooks import ENDPOINTS, patch, send, subscribe
from tests.money import Raw
from tests.support import Client


class Questions(CommandListener):
    """What the database was asked to find."""

    def __init__(self) -> None:
        """Nothing so far."""
        self.asked: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        """A question, without what says who asks."""
        names = {"find", "filter", "projection", "hint"}
        self.asked += [{name: value for name, value in event.command.items() if name in names}]

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """An answer."""

    def failed(self, event: CommandFailedEvent) -> None:
        """A refusal."""


def test_who_is_told_is_found_without_those_that_were_removed(
    app: Client, system: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept for ever, and this is asked for each event: by the index that they have left, little of each."""
    made = [subscribe(app, f"http://127.0.0.1:9/{number}") for number in range(4)]
    send(app, "DELETE", ENDPOINTS, query=f"endpoint_id={made[0]['endpoint_id']}")
    system.endpoints.update_one({"_id": made[1]["endpoint_id"]}, {"$set": {"status": "disabled"}})
    patch(app, made[2], status="paused")
    questions = Questions()
    mongo.forget()
    monkeypatch.setattr(mongo, "Meter", lambda: questions)
    found = endpoints.find_subscribed("app")
    mongo.forget()
    assert [row["_id"] for row in found] == [one["endpoint_id"] for one in made[2:]]
    assert all(row.keys() == {"_id", "status", "event_types"} for row in found)
    (asked,) = [one for one in questions.asked if one.get("find") == "endpoints"]
    plan = system.command("explain", asked, verbosity="queryPlanner")["queryPlanner"]["winningPlan"]
    assert "'indexName': 'slot'" in str(plan)
    assert system.endpoints.count_documents({"slot": {"$exists": True}}) == 3
