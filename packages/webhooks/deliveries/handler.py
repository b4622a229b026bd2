"""GET, POST /webhooks/deliveries - what your endpoints were told, attempt by attempt; or tell it again."""

from typing import Any, Literal, cast

from pydantic import model_validator

from getsmart.fields import Body, DeliveryId, EndpointId, EventId, Moment, ReplayId, problem
from getsmart.front import Request
from getsmart.hooks import DeliveryFilter, DeliveryStatus, Selection
from getsmart.paging import PageQuery, page_of
from getsmart.replies import Reply, success
from getsmart.services import deliveries
from getsmart.web import endpoint, resource


class DeliveriesQuery(PageQuery):
    """Which deliveries: all filters that are given must fit."""

    endpoint_id: EndpointId | None = None
    event_id: EventId | None = None
    status: DeliveryStatus | None = None
    replay_id: ReplayId | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None


class ReplayBody(Body):
    """What to tell again: one delivery, one event, a span of an endpoint's events, or all that is dead."""

    action: Literal["replay"]
    delivery_id: DeliveryId | None = None
    event_id: EventId | None = None
    endpoint_id: EndpointId | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    all_failed: Literal[True] | None = None

    @model_validator(mode="after")
    def _is_one_selection(self) -> "ReplayBody":
        given = {name for name in ReplayBody.model_fields if getattr(self, name) is not None} - {"action"}
        span = {"created_after", "created_before"}
        fits = (
            given in ({"delivery_id"}, {"event_id"}, {"all_failed"}, {"endpoint_id", "all_failed"})
            or {"endpoint_id"} < given <= {"endpoint_id"} | span
        )
        if not fits:
            what = "give delivery_id, or event_id, or endpoint_id with created_after or created_before, or all_failed"
            raise problem("selection", what, field="delivery_id")
        return self


@endpoint("GET", scope="webhooks:read", takes=DeliveriesQuery)
def read(request: Request[DeliveriesQuery]) -> Reply:
    """200 with a page of deliveries, newest first; with `replay_id` also how far that replay is; 404 unknown."""
    asked = page_of(request.route, request.caller.client_id, request.input)
    only = cast(DeliveryFilter, request.input.filters())
    return success(200, deliveries.page(request.caller, only, asked), "deliveries")


@endpoint("POST", scope="webhooks:write", takes=ReplayBody)
def replay(request: Request[ReplayBody]) -> Reply:
    """202 with the replay; 404 unknown; 409 the endpoint is disabled, or `limit_exceeded` beyond three of many."""
    given: dict[str, Any] = request.input.model_dump(exclude={"action"}, exclude_none=True)
    return success(202, deliveries.begin_replay(request.caller, cast(Selection, given)), "accepted")


main = resource(read, replay)
