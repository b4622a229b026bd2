"""Small endpoints without a key or a database, and how to call them: for the tests of the edge."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from pydantic import model_validator

from getsmart.fields import Body, Query, problem
from getsmart.front import Main, Request
from getsmart.replies import Reply, success
from getsmart.web import endpoint, resource
from tests.support import Answer, event

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Context:
    """As much of the platform's context as the edge reads."""

    function_name: str = "/fn-1/some/thing"


class Note(Body):
    """A body."""

    text: str
    inner: dict[str, int] = {}

    @model_validator(mode="after")
    def _polite(self) -> "Note":
        if self.text == "damn":
            raise problem("polite", "must be polite")
        return self


class Search(Query):
    """A query."""

    name: str
    page: str = "1"


@endpoint("POST", takes=Note)
def write(request: Request[Note]) -> Reply:
    """Echo what was understood."""
    seen = {"text": request.input.text, "route": request.route, "digest": request.body_digest}
    return success(201, seen, "written", {"X-Extra": "1"})


@endpoint("GET", takes=Search)
def search(request: Request[Search]) -> Reply:
    """Echo what was understood."""
    return success(200, {"name": request.input.name, "page": request.input.page, "source": request.source}, "found")


@endpoint("POST")
def bare(request: Request[Body]) -> Reply:
    """Echo the exact bytes."""
    return success(200, base64.b64encode(request.body).decode(), "raw")


@endpoint("DELETE", takes=Search)
def remove(request: Request[Search]) -> Reply:
    """Say what is gone."""
    return success(200, request.input.name, "removed")


@endpoint("POST", takes=Note, reads=lambda request: {"text": request.body.decode()})
def dictate(request: Request[Note]) -> Reply:
    """A body that is not JSON, and a query that the reader may look at."""
    return success(200, [request.input.text, request.query], "written")


notes = resource(search, write, remove)


def failing(error: Exception) -> Main:
    """An endpoint whose handler raises."""

    @endpoint("GET")
    def main(request: Request[Query]) -> Reply:
        raise error

    return main


def call(main: Main, event_: dict[str, Any], context: Any = None) -> Answer:
    """Call as the runtime does."""
    result = main(event_, context or Context())
    assert result.keys() == {"statusCode", "headers", "body"}  # a caller can append .json and see all of it
    assert json.loads(json.dumps(result)) == result
    assert result["body"].startswith("{")  # else the platform might take it for base64
    return Answer(result["statusCode"], result["headers"], result["body"])


def post(main: Main, body: bytes | str, **changes: Any) -> Answer:
    """POST a JSON body."""
    return call(main, event("POST", body=body, headers={**JSON, **changes.pop("headers", {})}, **changes))
