"""GET, POST, PATCH, DELETE /webhooks/endpoints - who is told of your events: list, make, change, test, remove."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from getsmart.fields import Body, EndpointId, Query, described, problem
from getsmart.front import Request
from getsmart.hooks import EventType
from getsmart.paging import PageQuery, page_of
from getsmart.replies import Reply, success
from getsmart.services import endpoints
from getsmart.web import endpoint, resource

Url = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2_000),
    described("https://hooks.example.com/getsmart", pattern="^https?://[!-~]+$"),
]
EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=12), described(["transaction.confirmed"])]


class EndpointsQuery(PageQuery):
    """One endpoint, or a page of them."""

    endpoint_id: EndpointId | None = None


class EndpointBody(Body):
    """Where to deliver, and which types of events; without these, all."""

    url: Url
    event_types: EventTypes | None = None


class EndpointChange(Body):
    """What is to be changed of an endpoint, or done with it."""

    endpoint_id: EndpointId
    url: Url | None = None
    event_types: EventTypes | None = None
    status: Literal["enabled", "paused"] | None = None
    action: Literal["rotate", "test"] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "EndpointChange":
        if self.model_fields_set <= {"endpoint_id"}:
            raise problem("nothing", "give something to change, or an action", field="action")
        if self.url is None and "url" in self.model_fields_set:
            raise problem("url", "must be a URL", field="url")
        return self


class EndpointQuery(Query):
    """Which endpoint."""

    endpoint_id: EndpointId


@endpoint("GET", scope="webhooks:read", takes=EndpointsQuery)
def read(request: Request[EndpointsQuery]) -> Reply:
    """200 with a page of endpoints, newest first, or with the one that is named; 404 unknown."""
    if request.input.endpoint_id is not None:
        return success(200, endpoints.get(request.caller, request.input.endpoint_id), "endpoint")
    asked = page_of(request.route, request.caller.client_id, request.input)
    return success(200, endpoints.page(request.caller, asked), "endpoints")


@endpoint("POST", scope="webhooks:write", takes=EndpointBody)
def create(request: Request[EndpointBody]) -> Reply:
    """201 with the endpoint and its secret, shown this once; 409 `limit_exceeded` beyond 20."""
    made = endpoints.create(request.caller, request.input.url, request.input.event_types)
    return success(201, made, "endpoint created; its secret is shown this once")


@endpoint("PATCH", scope="webhooks:write", takes=EndpointChange)
def change(request: Request[EndpointChange]) -> Reply:
    """200 with the endpoint, and its new secret after `rotate`; 404 unknown; 409 a test of one that is not enabled."""
    body = request.input
    given = body.model_dump(include=body.model_fields_set & {"url", "event_types", "status"})
    if given.get("status", "") is None:
        del given["status"]
    return success(200, endpoints.update(request.caller, body.endpoint_id, given, body.action), "endpoint changed")


@endpoint("DELETE", scope="webhooks:write", takes=EndpointQuery)
def remove(request: Request[EndpointQuery]) -> Reply:
    """200 with the endpoint, which is told nothing any more; 404 unknown."""
    return success(200, endpoints.remove(request.caller, request.input.endpoint_id), "endpoint removed")


main = resource(read, create, change, remove)
