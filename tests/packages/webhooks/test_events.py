"""GET /webhooks/events: the numbered log, read on from the last number that is known."""

import pytest

from getsmart import clock
from tests.edge import Door, MakeClient, Raw, assert_plain_main, assert_refused, check, common
from tests.hooks import EVENTS, happen, post
from tests.pages import bad_pages, bad_times, items
from tests.support import Client, Time

DOOR = Door(EVENTS, "GET", "webhooks:read")


def sequences(client: Client, query: str = "", limit: int = 2) -> list[int]:
    """The numbers that a list shows."""
    return [one["sequence"] for one in items(client, EVENTS, query, limit)]


def test_main_is_plain() -> None:
    """The runtime calls it with two arguments."""
    assert_plain_main(EVENTS)


def test_what_is_refused(subtests: pytest.Subtests, system: Raw, make_client: MakeClient, app: Client) -> None:
    """Strangers, wrong pages and times."""
    check(subtests, system, DOOR, common(DOOR, make_client))
    check(subtests, system, DOOR, bad_pages(DOOR, app.token))
    check(subtests, system, DOOR, bad_times(DOOR, app.token, ("created_after", "created_before")))


@pytest.mark.parametrize("after", ["-1", "01", "1.0", "", "x", "1" * 16, "%D9%A1", "null"])
def test_a_number_that_is_none(app: Client, after: str) -> None:
    """The field is named."""
    assert_refused(app.get(EVENTS, f"after={after}"), 400, "invalid_request", "after")


def test_an_unknown_type(app: Client) -> None:
    """Not an empty page."""
    assert_refused(app.get(EVENTS, "type=transaction.lost"), 400, "invalid_request", "type")


def test_read_on_from_a_number(app: Client, make_client: MakeClient, system: Raw) -> None:
    """Page by page, in sequence, without a gap; another client has its own numbers; beyond the end is an empty page."""
    happen(system, 7)
    happen(system, 2, client_id="other")
    post()
    assert sequences(app) == list(range(1, 8))
    assert sequences(app, "after=4", 1) == [5, 6, 7]
    assert sequences(app, "after=7") == sequences(app, "after=999999999999999") == []
    assert sequences(make_client("other")) == [1, 2]
    (first, *_) = items(app, EVENTS)
    assert first.keys() == {"event_id", "type", "sequence", "created_at", "data"}


def test_only_what_is_numbered_is_shown(app: Client, system: Raw) -> None:
    """What is committed and has no number yet would make a gap."""
    happen(system, 2)
    post()
    happen(system, 1)
    assert sequences(app) == [1, 2]


def test_filters(app: Client, system: Raw, time: Time) -> None:
    """By type and time; together, and with a number."""
    happen(system, 2)
    happen(system, 1, kind="transaction.failed")
    post()
    time.advance(1)
    border = clock.to_wire(clock.now())
    time.advance(1)
    happen(system, 1, kind="transaction.failed")
    happen(system, 1)
    post()
    assert sequences(app, "type=transaction.failed") == [3, 4]
    assert sequences(app, f"created_before={border}") == [1, 2, 3]
    assert sequences(app, f"type=transaction.failed&created_after={border}") == [4]
    assert sequences(app, "type=transaction.confirmed&after=1") == [2, 5]


def test_a_foreign_cursor(app: Client, make_client: MakeClient, system: Raw) -> None:
    """One client's place is no place in another's list, nor in the same list under another filter."""
    happen(system, 3)
    post()
    cursor = app.get(EVENTS, "limit=1").data["next_cursor"]
    assert_refused(make_client("other").get(EVENTS, f"cursor={cursor}"), 400, "invalid_request", "cursor")
    assert_refused(app.get(EVENTS, f"type=test.ping&cursor={cursor}"), 400, "invalid_request", "cursor")
