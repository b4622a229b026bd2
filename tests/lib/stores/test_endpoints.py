"""Endpoints as the database is asked for them."""

import pytest

from getsmart.stores import endpoints
from tests.explained import questions
from tests.hooks import ENDPOINTS, patch, send, subscribe
from tests.money import Raw
from tests.support import Client


def test_who_is_told_is_found_without_those_that_were_removed(
    app: Client, system: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept for ever, and this is asked for each event: by the index that they have left, little of each."""
    made = [subscribe(app, f"http://127.0.0.1:9/{number}") for number in range(4)]
    send(app, "DELETE", ENDPOINTS, query=f"endpoint_id={made[0]['endpoint_id']}")
    system.endpoints.update_one({"_id": made[1]["endpoint_id"]}, {"$set": {"status": "disabled"}})
    patch(app, made[2], status="paused")
    with questions(monkeypatch) as heard:
        found = endpoints.find_subscribed("app")
    assert [row["_id"] for row in found] == [one["endpoint_id"] for one in made[2:]]
    assert all(row.keys() == {"_id", "status", "event_types"} for row in found)
    (plan,) = heard.plans(system, "endpoints")
    assert "'indexName': 'slot'" in plan
    assert system.endpoints.count_documents({"slot": {"$exists": True}}) == 3
