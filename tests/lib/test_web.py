"""The edge without a database: methods, paths, contexts, errors, logs, and what every answer has."""

import json
import re
from typing import Any

import pytest
from pymongo import errors as driver

from getsmart import config, errors
from getsmart.front import Request
from tests.edge import METHODS, assert_headers, assert_refused
from tests.endpoints import JSON, Context, call, dictate, failing, notes, post, remove, search, write
from tests.support import event

ALWAYS = {
    *("at", "level", "event", "request_id", "trace_id", "function", "version", "colour", "method", "status", "code"),
    *("start", "duration_ms", "database_ms", "database_round_trips", "provider_ms", "provider_calls"),
}
TRANSIENT = {"errorLabels": ["TransientTransactionError"]}


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The log since the last look."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_main_is_a_plain_function_of_two_arguments() -> None:
    """The runtime reads `__code__.co_argcount` of what the decorator made."""
    assert write.__code__.co_argcount == 2  # type: ignore[attr-defined]
    assert write.__code__.co_varnames[:2] == ("event", "context")  # type: ignore[attr-defined]


def test_a_resource_answers_each_of_its_methods() -> None:
    """Each with its own input; all others are 405, and Allow names every method there is."""
    assert call(notes, event("GET", query="name=a")).data["name"] == "a"
    assert post(notes, '{"text":"hi"}').status == 201
    assert call(notes, event("DELETE", query="name=b")).json["data"] == "b"
    refused = call(notes, event("PUT"))
    assert_refused(refused, 405, "method_not_allowed")
    assert refused.headers["Allow"] == "GET, POST, DELETE"
    assert [contract.method for contract in notes.contracts()] == ["GET", "POST", "DELETE"]
    assert notes.__code__.co_argcount == 2  # type: ignore[attr-defined]


def test_a_delete_takes_a_query_and_no_body_counts() -> None:
    """As a GET does."""
    assert_refused(call(remove, event("DELETE", query="surprise=1")), 400, "invalid_request", "surprise")
    assert call(remove, event("DELETE", query="name=x", body="{")).status == 200


def test_a_body_can_be_read_another_way() -> None:
    """Whoever brings a reader decides what the body means, and what the query does."""
    assert call(dictate, event("POST", body="hi", query="reference=1")).json["data"] == ["hi", "reference=1"]
    assert_refused(call(dictate, event("POST", body="damn")), 400, "invalid_request", "body")


def test_a_good_call() -> None:
    """Status, data and headers of the handler, the headers of every reply, and the public route."""
    answer = post(write, '{"text":"hi"}')
    assert (answer.status, answer.data["text"], answer.data["route"]) == (201, "hi", "/v1/some/thing")
    assert answer.headers["X-Extra"] == "1"
    assert_headers(answer)


@pytest.mark.parametrize("method", [method for method in (*METHODS, "get", "", "BREW") if method != "POST"])
def test_another_method_is_405_with_allow(method: str) -> None:
    """Whatever else the call looks like, the method is said first."""
    answer = call(write, event(method, body="{", query="x", headers={}))
    assert_refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize("path", ["", "/", None])
def test_the_functions_own_path(path: str | None) -> None:
    """With or without a slash."""
    assert post(write, '{"text":"hi"}', path=path).status == 201


@pytest.mark.parametrize("path", ["/x", "//", "x", "/.json"])
def test_a_path_that_goes_on(path: str) -> None:
    """There is nothing below a function."""
    assert_refused(post(write, '{"text":"hi"}', path=path), 404, "not_found")


def test_request_ids() -> None:
    """The caller's, if it is one; else ours; the same in header and body."""
    taken = call(write, event("PUT", headers={"X-Request-ID": "abc.1-2_3"}))
    assert taken.headers["X-Request-Id"] == taken.json["error"]["request_id"] == "abc.1-2_3"
    replaced = call(write, event("PUT", headers={"x-request-id": "a b"}))
    assert re.fullmatch(r"req_[0-9A-Z]{26}", replaced.headers["X-Request-Id"])
    early = call(write, event("POST", path="/x", headers={"x-request-id": "early"}))
    assert early.headers["X-Request-Id"] == early.json["error"]["request_id"] == "early"


@pytest.mark.parametrize(
    ("hops", "told", "source"),
    [
        ("1", "10.0.0.1, 198.51.100.7 ,192.0.2.9 ", "192.0.2.9"),
        ("2", "10.0.0.1, 198.51.100.7 ,192.0.2.9 ", "198.51.100.7"),
        ("2", "192.0.2.9", ""),
        ("1", "", ""),
        ("1", None, ""),
    ],
)
def test_the_callers_address_is_what_our_own_hops_say(
    monkeypatch: pytest.MonkeyPatch, hops: str, told: str | None, source: str
) -> None:
    """What a caller writes into X-Forwarded-For stands before what platform and gateway add; too few is nobody."""
    monkeypatch.setenv("FORWARDED_HOPS", hops)
    config.forget()
    headers = {} if told is None else {"x-forwarded-for": told}
    assert call(search, event("GET", query="name=a", headers=headers)).data["source"] == source
    config.forget()


@pytest.mark.parametrize("event_", [{}, {"http": None}, {"http": {}}, {"http": {"headers": None, "body": None}}])
def test_an_event_with_nothing_in_it(event_: dict[str, Any]) -> None:
    """Whatever the platform leaves out, an answer comes."""
    assert_refused(call(write, event_), 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RuntimeError("boom"), 500, "internal"),
        (KeyError("boom"), 500, "internal"),
        (MemoryError(), 500, "internal"),
        (RecursionError(), 500, "internal"),
        (errors.Internal("boom"), 500, "internal"),
        (errors.Recovering("boom"), 503, "recovering"),
        (errors.DeadlineExceeded("boom"), 504, "deadline_exceeded"),
        (driver.ServerSelectionTimeoutError("boom"), 503, "database_unavailable"),
        (driver.AutoReconnect("boom"), 503, "database_unavailable"),
        (driver.NotPrimaryError("boom"), 503, "database_unavailable"),
        (driver.WaitQueueTimeoutError("boom"), 503, "database_unavailable"),
        (driver.ExecutionTimeout("boom", 50), 503, "database_unavailable"),
        (driver.OperationFailure("boom", 112, TRANSIENT), 503, "database_unavailable"),
        (driver.OperationFailure("boom", 2), 500, "internal"),
        (driver.DuplicateKeyError("boom", 11000), 500, "internal"),
        (ConnectionError("boom"), 500, "internal"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_nothing_escapes(capsys: pytest.CaptureFixture[str], error: Exception, status: int, code: str) -> None:
    """Ours stay what they are, an outage is one, all else is a bug of ours; the text is in the log only."""
    answer = call(failing(error), event("GET"))
    assert_refused(answer, status, code)
    assert "boom" not in answer.text
    assert ("Retry-After" in answer.headers) == (status == 503)
    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["code"], line["status"]) == ("request", "error", code, status)
    assert line["error_type"] == type(error).__name__
    assert line["request_id"] == answer.headers["X-Request-Id"]


def test_nothing_secret_escapes_either(capsys: pytest.CaptureFixture[str]) -> None:
    """A foreign exception's text is redacted on its way to the log, and not on any way to the caller."""
    secrets = (
        "bob@example.com",
        "mongodb://user:pass@db/",  # pragma: allowlist secret
        "gsk_test_01ARZ3NDEKTSV4RRFFQ69G5FAV_" + "0" * 64,  # pragma: allowlist secret
    )
    answer = call(failing(RuntimeError(" ".join(secrets))), event("GET"))
    logged = capsys.readouterr().out
    assert not any(secret in logged + answer.text for secret in secrets)
    assert logged.count("[redacted]") == 3


def test_one_log_line_a_call_without_query_body_or_key(capsys: pytest.CaptureFixture[str]) -> None:
    """Who, what, how it ended and how long it took, as one JSON object; nothing of what was sent."""
    call(search, event("GET", query="name=bob%40example.com", headers={"authorization": "Bearer s3cret"}))
    (line,) = lines(capsys)
    assert line.keys() == ALWAYS
    assert (line["event"], line["method"], line["function"], line["status"]) == ("request", "GET", "some/thing", 200)
    assert (line["code"], line["database_round_trips"], line["provider_calls"]) == ("ok", 0, 0)
    assert line["duration_ms"] >= 0


def test_a_refusal_is_logged_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """At level info, with code and fields; the caller's own values are not in it."""
    post(write, '{"text":"hi","more":"bob@example.com"}')
    (line,) = lines(capsys)
    assert (line["level"], line["code"], line["error"]) == ("info", "invalid_request", "more")
    assert line["status"] == 400


@pytest.mark.parametrize("name", [None, "", "thing"])
def test_a_context_that_says_little(name: str | None) -> None:
    """The route is built from what there is; nothing breaks."""
    answer = call(write, event("POST", body='{"text":"hi"}', headers=JSON), Context(name or ""))
    assert answer.data["route"] == f"/v1/{name or ''}"


def test_a_handler_cannot_read_what_its_endpoint_does_not_ask_for() -> None:
    """No caller without a scope, no input without a model: a mistake of ours, said as such."""
    request: Request[Any] = Request("GET", "/v1/a/b", {}, "", b"", "req_1")
    with pytest.raises(errors.Internal, match="authenticates nobody"):
        _ = request.caller
    with pytest.raises(errors.Internal, match="takes no input"):
        _ = request.input
