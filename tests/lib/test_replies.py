"""The two envelopes."""

import json

import pytest

from getsmart.errors import InvalidRequest, MethodNotAllowed, NotFound, RateLimited
from getsmart.replies import dump_json, failure, success


def test_a_success() -> None:
    """Status, data and message, as compact UTF-8 JSON, with the headers given."""
    reply = success(201, {"a": "\u00e4"}, "made", {"X": "y"})
    assert (reply.status, reply.headers) == (201, {"X": "y"})
    assert reply.body == '{"status":"success","data":{"a":"\u00e4"},"message":"made"}'
    assert success(200, None, "m").headers == {}


def test_a_failure_shows_the_safe_sentence_only() -> None:
    """The log's text never leaves; details, request id and the way to the docs do."""
    reply = failure(InvalidRequest("inner secret", details=[{"field": "a", "problem": "b"}]), "req_1")
    assert reply.status == 400
    assert json.loads(reply.body) == {
        "status": "error",
        "error": {
            "code": "invalid_request",
            "message": "The request is not valid; see details.",
            "request_id": "req_1",
            "details": [{"field": "a", "problem": "b"}],
            "docs": "/v1/ops/openapi#errors/invalid_request",
        },
    }


def test_a_failure_carries_its_headers() -> None:
    """Retry-After where waiting helps, and what the error brings itself."""
    refused = MethodNotAllowed()
    refused.headers["Allow"] = "POST"
    assert failure(refused, "r").headers == {"Allow": "POST"}
    assert failure(RateLimited(), "r").headers == {"Retry-After": "1"}
    assert failure(RateLimited(retry_after_seconds=7), "r").headers == {"Retry-After": "7"}
    assert failure(NotFound(), "r").headers == {}


def test_what_is_no_json_is_not_sent() -> None:
    """NaN has no place in JSON."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json({"a": float("nan")})
