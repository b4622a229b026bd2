"""Pages: cursors that mean one place of one list of one client, and replies that can be carried."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getsmart import paging
from getsmart.errors import InvalidRequest
from getsmart.fields import BadgeText, Moment
from getsmart.ids import lowest_id
from getsmart.paging import PageQuery, TableQuery, newest_first, page_of

ROUTE, CLIENT = "/v1/tokens/transactions", "app"
ROWS = [{"_id": f"txn_{number}"} for number in range(5, 0, -1)]


class Listing(TableQuery):
    """A list with filters."""

    badge_id: BadgeText | None = None
    created_after: Moment | None = None


def query(**given: Any) -> Listing:
    """A query as the edge makes it."""
    return Listing.model_validate(given)


def first_cursor(asked: PageQuery) -> str:
    """The cursor after the first page."""
    closed = page_of(ROUTE, CLIENT, asked).close(ROWS, dict, lambda row: row["_id"])
    cursor = closed["next_cursor"]
    assert isinstance(cursor, str)
    return cursor


def test_a_page_says_whether_more_follows() -> None:
    """One row more than asked for is not shown, and makes the cursor of the last one shown."""
    page = page_of(ROUTE, CLIENT, query(limit="2"))
    closed = page.close(ROWS[:3], dict, lambda row: row["_id"])
    assert closed["items"] == ROWS[:2]
    assert page_of(ROUTE, CLIENT, query(limit="2", cursor=closed["next_cursor"])).after == "txn_4"
    assert page.close(ROWS[:2], dict, lambda row: row["_id"]) == {"items": ROWS[:2], "next_cursor": None}
    assert page.close([], dict, str) == {"items": [], "next_cursor": None}


def test_limit_and_format_may_change_on_the_way() -> None:
    """A cursor is bound to what is listed, not to how."""
    cursor = first_cursor(query(limit="2"))
    assert page_of(ROUTE, CLIENT, query(limit="200", format="csv", cursor=cursor)).after == "txn_4"


@pytest.mark.parametrize(
    ("route", "client_id", "filters"),
    [
        ("/v1/wallets/list", CLIENT, {}),
        (ROUTE, "other", {}),
        (ROUTE, CLIENT, {"badge_id": "b"}),
        (ROUTE, CLIENT, {"created_after": "2026-01-01T00:00:00Z"}),
    ],
)
def test_a_cursor_of_another_list_is_refused(route: str, client_id: str, filters: dict[str, str]) -> None:
    """Bound to endpoint, client and filters; and the other way round."""
    cursor = first_cursor(query(limit="2"))
    with pytest.raises(InvalidRequest) as refused:
        page_of(route, client_id, query(cursor=cursor, **filters))
    assert refused.value.details[0]["field"] == "cursor"


def test_no_sign_of_a_cursor_can_be_changed() -> None:
    """Each other letter at each place, one more, one less, padding: all refused."""
    cursor = first_cursor(query(limit="2"))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ "
    changed = {cursor[:at] + letter + cursor[at + 1 :] for at in range(len(cursor)) for letter in letters} - {cursor}
    for bad in (*changed, cursor[:-1], cursor + "A", cursor + "=", cursor[1:]):
        with pytest.raises(InvalidRequest):
            page_of(ROUTE, CLIENT, query(cursor=bad))


@settings(derandomize=True, deadline=None, database=None)
@given(st.text(max_size=200))
def test_no_text_is_a_cursor_by_chance(text: str) -> None:
    """Whatever is sent is refused as a cursor, and nothing else goes wrong."""
    with pytest.raises(InvalidRequest):
        paging._place(text, "binding")


def test_a_page_is_cut_before_it_is_too_large() -> None:
    """A reply stays below what the platform carries, however large the rows; at least one row is given."""
    rows = [{"_id": f"wlt_{number}", "text": "\U0001f600" * 10_000} for number in range(20)]
    page = page_of(ROUTE, CLIENT, query(limit="20"))
    closed = page.close(rows, dict, lambda row: str(row["_id"]))
    assert 1 < len(closed["items"]) < 20
    assert len(json.dumps({"body": json.dumps(closed, ensure_ascii=False)})) < 1_000_000
    assert page_of(ROUTE, CLIENT, query(cursor=closed["next_cursor"])).after == closed["items"][-1]["_id"]
    huge = [{"_id": "wlt_1", "text": "x" * 800_000}, {"_id": "wlt_2"}]
    assert [item["_id"] for item in page.close(huge, dict, lambda row: str(row["_id"]))["items"]] == ["wlt_1"]


def test_the_filter_for_a_page_bounds_the_ids() -> None:
    """Nothing asked for is no bound; a span bounds created_at exactly and the ids within an hour."""
    assert newest_first("txn", None) == {}
    assert newest_first("txn", "txn_5") == {"_id": {"$lt": "txn_5"}}
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    bounds = newest_first("txn", None, early, late)
    hour = timedelta(hours=1)
    assert bounds == {
        "_id": {"$gte": lowest_id("txn", early - hour, 0), "$lt": lowest_id("txn", late + hour, 0)},
        "created_at": {"$gt": early, "$lt": late},
    }
    lower = lowest_id("txn", early, 0)
    assert newest_first("txn", lower, None, late)["_id"] == {"$lt": lower}
    assert newest_first("txn", "txn_7ZZ", None, late)["_id"] == {"$lt": bounds["_id"]["$lt"]}


def test_what_is_finer_than_a_millisecond_still_counts() -> None:
    """The database keeps milliseconds: a row of .123 is before .1235, and one of .123 is not before .123."""
    moment = datetime(2026, 1, 1, microsecond=123_500, tzinfo=UTC)
    assert newest_first("txn", None, None, moment)["created_at"] == {"$lte": moment}
    whole = moment.replace(microsecond=123_000)
    assert newest_first("txn", None, None, whole)["created_at"] == {"$lt": whole}


@pytest.mark.parametrize("year", [1, 1970, 9999])
def test_the_ends_of_the_calendar_are_times_too(year: int) -> None:
    """A span may begin before there were ids and end after the last."""
    moment = datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    bounds = newest_first("txn", None, moment, moment)
    assert len(bounds["_id"]["$gte"]) == len(bounds["_id"]["$lt"]) == len("txn_") + 26
