"""Pages of a list: cursors that stand for a place in it, bound to endpoint, client and filters. Pure.

A page is found by the place of the last row seen, not by counting, so rows that are added meanwhile neither repeat nor
hide any. Lists run by id, newest first: an id begins with the millisecond it was made in, is unique, and never changes.
A cursor is no secret: whatever it says, a query asks for the caller's own rows. Its digest only catches mistakes.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BeforeValidator, StringConstraints

from getsmart.errors import InvalidRequest
from getsmart.fields import Query, described, problem
from getsmart.ids import lowest_id

MOST_ITEMS = 200
# The platform carries 1 MB of JSON in which our JSON is a string: every quote and every sign outside ASCII grows.
MOST_PAGE_BYTES = 700_000
# An id is made in the same call as its row's created_at: far less than this apart.
_SPREAD_MS = 3_600_000
_DIGEST_LENGTH = 16
_WHOLE = re.compile(r"[0-9]{1,15}", re.ASCII)
_LIMIT = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)
Row = TypeVar("Row")


def _limit(value: Any) -> int:
    if not isinstance(value, str) or not _LIMIT.fullmatch(value) or int(value) > MOST_ITEMS:
        raise problem("limit", f"must be a number from 1 to {MOST_ITEMS}")
    return int(value)


Limit = Annotated[int, BeforeValidator(_limit), described(50, minimum=1, maximum=MOST_ITEMS)]
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=200), described("d2x0XzAx")]


class PageQuery(Query):
    """The query of a list: how many items, and after which cursor; a list adds its filters."""

    limit: Limit = 50
    cursor: Cursor | None = None

    def filters(self) -> dict[str, Any]:
        """The filters that were given."""
        return self.model_dump(exclude={"limit", "cursor", "format"}, exclude_none=True)


class TableQuery(PageQuery):
    """The query of a list that is also to be had as CSV."""

    format: Literal["json", "csv"] = "json"


class Page(NamedTuple):
    """Which part of a list is asked for: at most `limit` rows behind the place `after` (None: from the beginning)."""

    limit: int
    after: str | None
    binding: str

    def close(
        self, rows: Sequence[Row], render: Callable[[Row], dict[str, Any]], place: Callable[[Row], str]
    ) -> dict[str, Any]:
        """`{"items", "next_cursor"}` of up to `limit` + 1 rows in order: one more than asked for says that more follow.

        It is cut earlier where the reply would grow beyond what the platform carries.
        """
        items: list[dict[str, Any]] = []
        size = 0
        for row in rows[: self.limit]:
            item = render(row)
            size += _carried_bytes(item)
            if items and size > MOST_PAGE_BYTES:
                break
            items.append(item)
        has_more = len(items) < len(rows)
        return {"items": items, "next_cursor": self._cursor(place(rows[len(items) - 1])) if has_more else None}

    def _cursor(self, place: str) -> str:
        return _encode(place + _digest(self.binding, place))


def page_of(route: str, client_id: str, query: PageQuery) -> Page:
    """The page that a query asks for. Raises InvalidRequest for a cursor that is not of this client and query."""
    binding = json.dumps([route, client_id, query.filters()], sort_keys=True, default=str)
    after = None if query.cursor is None else _place(query.cursor, binding)
    return Page(query.limit, after, binding)


def newest_first(
    prefix: str, after: str | None, created_after: datetime | None = None, created_before: datetime | None = None
) -> dict[str, Any]:
    """The part of a database filter that finds a page: rows behind `after`, made within a span (both ends excluded).

    The span bounds the ids too, roughly, so that an index on them leads to it.
    """
    bounds: dict[str, str] = {}
    span: dict[str, datetime] = {}
    if created_after is not None:
        span["$gt"] = created_after
        bounds["$gte"] = lowest_id(prefix, created_after, -_SPREAD_MS)
    if created_before is not None:
        # The database keeps milliseconds and cuts what is finer: what it keeps is then before the moment, if equal.
        span["$lte" if created_before.microsecond % 1000 else "$lt"] = created_before
        bounds["$lt"] = lowest_id(prefix, created_before, _SPREAD_MS)
    if after is not None:
        bounds["$lt"] = min(after, bounds.get("$lt", after))
    return {**({"_id": bounds} if bounds else {}), **({"created_at": span} if span else {})}


def read_whole(text: str) -> int:
    """The number that a place of a cursor holds: one that the database can, too. Raises InvalidRequest."""
    if not _WHOLE.fullmatch(text):
        raise no_such_place()
    return int(text)


def no_such_place() -> InvalidRequest:
    """The refusal of a cursor that none of our replies had."""
    return InvalidRequest.field("cursor", "must be the next_cursor of a reply to the same query")


def _carried_bytes(item: dict[str, Any]) -> int:
    """What an item takes in the platform's own JSON."""
    return len(json.dumps(json.dumps(item, ensure_ascii=False)))


def _digest(binding: str, place: str) -> str:
    return hashlib.sha256(f"{binding}\n{place}".encode()).hexdigest()[:_DIGEST_LENGTH]


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str, binding: str) -> str:
    """The place that a cursor stands for. Raises InvalidRequest."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        text = ""
    place, digest = text[:-_DIGEST_LENGTH], text[-_DIGEST_LENGTH:]
    if not place or _encode(text) != cursor or digest != _digest(binding, place):
        raise no_such_place()
    return place
