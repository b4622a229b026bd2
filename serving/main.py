"""The one target that functions-framework is given: every path and method arrives here."""

import flask

from serving.answer import Answer
from serving.event import HttpRequest
from serving.gateway import Gateway

GATEWAY = "serving.gateway"
PATH = "serving.path"


def handle(request: flask.Request) -> flask.Response:
    """Hand a Flask request to the app's gateway and give its answer back."""
    gateway: Gateway = flask.current_app.extensions[GATEWAY]
    answer = gateway.answer(
        HttpRequest(
            method=request.method,
            path=request.environ[PATH],
            query=request.query_string.decode("latin-1"),
            headers=list(request.headers.items()),
            body=request.get_data(),
            remote_address=request.remote_addr or "",
            scheme=request.scheme,
        )
    )
    return _response(answer)


def _response(answer: Answer) -> flask.Response:
    response = flask.Response(answer.body, answer.status, list(answer.headers))
    if not answer.body:
        del response.headers["Content-Type"]  # which Flask adds by itself
    return response
