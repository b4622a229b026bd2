"""GET /webhooks/events - your events by number, without a gap: read on from the last one you know."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from getsmart.fields import Moment, described, problem
from getsmart.front import Request
from getsmart.hooks import EventType
from getsmart.paging import PageQuery, page_of
from getsmart.replies import Reply, success
from getsmart.services import eventlog
from getsmart.web import endpoint

_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}", re.ASCII)


def _number(value: Any) -> int:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise problem("sequence", "must be the sequence of an event, or 0")
    return int(value)


Sequence = Annotated[int, BeforeValidator(_number), described(41, minimum=0, maximum=999_999_999_999_999)]


class EventsQuery(PageQuery):
    """Behind which number, and which events: all filters that are given must fit."""

    after: Sequence = 0
    type: EventType | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None


@endpoint("GET", scope="webhooks:read", takes=EventsQuery)
def main(request: Request[EventsQuery]) -> Reply:
    """200 with a page of events in order of their numbers."""
    query = request.input
    page = eventlog.page(
        request.caller,
        page_of(request.route, request.caller.client_id, query),
        after=query.after,
        event_type=query.type,
        created_after=query.created_after,
        created_before=query.created_before,
    )
    return success(200, page, "events")
