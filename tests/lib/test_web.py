"""The edge without a database: what an event becomes, and what every answer has."""

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import model_validator
from pymongo import errors as driver

from getsmart import errors
from getsmart.fields import Body, Query, problem
from getsmart.replies import Reply, success
from getsmart.web import MOST_BODY_BYTES, Main, Request, endpoint, resource
from tests.edge import METHODS, assert_headers, assert_refused
from tests.support import Answer, event

JSON = {"content-type": "application/json"}
FAIR = settings(derandomize=True, deadline=None, database=None)


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
    assert [contract.method for contract in notes.contracts] == ["GET", "POST", "DELETE"]
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


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "{}{}",
        "{'text':'hi'}",
        '{"text":"hi",}',
        '{"text":"hi"}//',
        "[]",
        "null",
        "true",
        "7",
        '"text"',
        '{"text":NaN}',
        '{"text":Infinity}',
        '{"text":-Infinity}',
        '{"text":"a","text":"b"}',
        '{"text":"a","inner":{"x":1,"x":1}}',
        '{"text":"\\ud800"}',
        '{"\\udfff":"x"}',
        '{"text":"\x01"}',
        "\ufeff" + '{"text":"hi"}',
        '{"text":' * 50_000,
        "[" * 100_000,
        '{"text":' + "9" * 5_000 + "}",
        '{"text":"' + "\ud800" + '"}',
    ],
    ids=lambda body: repr(body)[:30],
)
def test_a_body_that_is_no_json_object(body: str) -> None:
    """Broken, no object, ambiguous, not representable or endless: one code for all."""
    event_ = event("POST", body=body, headers=JSON)
    assert_refused(call(write, event_), 400, "invalid_json")


@pytest.mark.parametrize("raw", [b"\xff", b'{"text":"\xc3"}', b'{"text":"hi"}'[:-1], '{"text":"hi"}'.encode("utf-16")])
def test_bytes_that_are_no_json_object(raw: bytes) -> None:
    """The same where the platform carried bytes."""
    assert_refused(post(write, base64.b64encode(raw).decode(), is_base64=True), 400, "invalid_json")


@pytest.mark.parametrize("body", ["%%%", "ab", "a\u00e4==", "YQ==\n", '{"text":"hi"}'])
def test_a_flag_that_is_wrong(body: str) -> None:
    """Text under the base64 flag is refused, not guessed at."""
    assert_refused(post(write, body, is_base64=True), 400, "invalid_json")


@FAIR
@given(st.binary(max_size=200))
def test_the_exact_bytes_arrive(raw: bytes) -> None:
    """Signatures need each byte as it was sent, in either form."""
    packed = base64.b64encode(raw).decode()
    assert call(bare, event("POST", body=packed, is_base64=True)).json["data"] == packed
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return
    assert call(bare, event("POST", body=text)).json["data"] == packed


@FAIR
@given(st.text(max_size=50).filter(lambda text: text != "damn"))
def test_both_forms_are_the_same_request(text: str) -> None:
    """A body in base64 is answered as the plain one is, digest and all."""
    body = json.dumps({"text": text}, ensure_ascii=False)
    plain = post(write, body)
    packed = post(write, base64.b64encode(body.encode()).decode(), is_base64=True)
    assert (plain.status, plain.data) == (packed.status, packed.data)
    assert plain.data["text"] == text


@pytest.mark.parametrize(
    "media_type",
    [None, "", "text/json", "application/x-www-form-urlencoded", "application/jsonp", "application/json, text/html", "json"],
)
def test_another_media_type(media_type: str | None) -> None:
    """JSON has to be declared."""
    headers = {} if media_type is None else {"content-type": media_type}
    answer = call(write, event("POST", body='{"text":"hi"}', headers=headers))
    assert_refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON", " application/json ; charset=utf-8"])
def test_json_in_any_spelling(media_type: str) -> None:
    """Names of media types and their parameters are read as HTTP has it."""
    assert post(write, '{"text":"hi"}', headers={"content-type": media_type}).status == 201


@pytest.mark.parametrize("is_base64", [False, True])
def test_the_largest_body(is_base64: bool) -> None:
    """768 KiB pass, one byte more is 413, however they were carried."""
    frame = '{"text":""}'
    for surplus, status in ((0, 201), (1, 413)):
        body = f'{{"text":"{"x" * (MOST_BODY_BYTES - len(frame) + surplus)}"}}'
        sent = base64.b64encode(body.encode()).decode() if is_base64 else body
        assert post(write, sent, is_base64=is_base64).status == status
    umlauts = json.dumps({"text": "\u00e4" * (MOST_BODY_BYTES // 2)}, ensure_ascii=False)
    assert_refused(post(write, umlauts), 413, "too_large")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["text"]),
        ({"text": 7}, ["text"]),
        ({"text": None}, ["text"]),
        ({"text": "hi", "more": 1}, ["more"]),
        ({"text": "hi", "inner": {"x": "1"}}, ["inner.x"]),
        ({"text": "damn"}, ["body"]),
        ({"more": 1}, ["more", "text"]),
        ({"x" * 300: 1, "text": "hi"}, ["x" * 100]),
    ],
    ids=repr,
)
def test_fields_that_are_wrong_are_named(body: dict[str, Any], fields: list[str]) -> None:
    """Every wrong field at once, by its path, and never its value."""
    answer = post(write, json.dumps(body))
    assert_refused(answer, 400, "invalid_request")
    assert sorted(answer.fields) == fields


def test_the_problems_are_sentences_without_the_value() -> None:
    """What is wrong, in words; what was sent may be a secret."""
    answer = post(write, '{"text":{"s3cret":1},"s3cret-name":"s3cret"}')
    problems = {detail["field"]: detail["problem"] for detail in answer.json["error"]["details"]}
    assert problems == {"text": "Input should be a valid string", "s3cret-name": "is not known"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "name"),
        ("page=2", "name"),
        ("name=a&name=b", "name"),
        ("name=a&name=a", "name"),
        ("name=a&Name=b", "Name"),
        ("name=a&surprise=", "surprise"),
        ("name", "query"),
        ("&name=a", "query"),
        ("name=%ff", "query"),
        ("name=%C3", "query"),
        ("&".join(f"n{number}=1" for number in range(51)), "query"),
        (f"name=a&{'x' * 300}=1", "x" * 100),
        (f"{'x' * 300}=1&{'x' * 300}=1", "x" * 100),
    ],
    ids=lambda value: value[:30],
)
def test_queries_that_are_wrong(query: str, field: str) -> None:
    """Missing, repeated, unknown and unreadable names, each named."""
    answer = call(search, event("GET", query=query))
    assert_refused(answer, 400, "invalid_request", field)


def test_a_query_is_decoded_once() -> None:
    """Percent and plus as in forms; an empty value is a value."""
    assert call(search, event("GET", query="name=a%2Bb+c%3D%2541&page=")).data == {
        "name": "a+b c=%41",
        "page": "",
        "source": "",
    }


def test_a_body_endpoint_takes_no_query() -> None:
    """A name there would do nothing, so it is refused."""
    assert_refused(post(write, '{"text":"hi"}', query="dry_run=1"), 400, "invalid_request", "dry_run")
    assert_refused(call(bare, event("POST", query="a=1")), 400, "invalid_request", "a")


def test_request_ids() -> None:
    """The caller's, if it is one; else ours; the same in header and body."""
    taken = call(write, event("PUT", headers={"X-Request-ID": "abc.1-2_3"}))
    assert taken.headers["X-Request-Id"] == taken.json["error"]["request_id"] == "abc.1-2_3"
    replaced = call(write, event("PUT", headers={"x-request-id": "a b"}))
    assert re.fullmatch(r"req_[0-9A-Z]{26}", replaced.headers["X-Request-Id"])
    early = call(write, event("POST", path="/x", headers={"x-request-id": "early"}))
    assert early.headers["X-Request-Id"] == early.json["error"]["request_id"] == "early"


def test_the_callers_address_is_the_last_hop() -> None:
    """What a caller writes into X-Forwarded-For stands before what the platform adds."""
    headers = {"x-forwarded-for": "10.0.0.1, 198.51.100.7 ,192.0.2.9 "}
    assert call(search, event("GET", query="name=a", headers=headers)).data["source"] == "192.0.2.9"


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
        (driver.OperationFailure("boom", 112, {"errorLabels": ["TransientTransactionError"]}), 503, "database_unavailable"),
        (driver.OperationFailure("boom", 2), 500, "internal"),
        (driver.DuplicateKeyError("boom", 11000), 500, "internal"),
        (ConnectionError("boom"), 500, "internal"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_nothing_escapes(
    capsys: pytest.CaptureFixture[str], error: Exception, status: int, code: str
) -> None:
    """Ours stay what they are, an outage is one, all else is a bug of ours; the text is in the log only."""
    answer = call(failing(error), event("GET"))
    assert_refused(answer, status, code)
    assert "boom" not in answer.text
    assert ("Retry-After" in answer.headers) == (status == 503)
    failed, done = lines(capsys)
    assert (failed["event"], failed["level"], failed["code"]) == ("request.failed", "error", code)
    assert failed["error_type"] == type(error).__name__
    assert (done["event"], done["status"]) == ("request", status)
    assert failed["request_id"] == done["request_id"] == answer.headers["X-Request-Id"]


def test_nothing_secret_escapes_either(capsys: pytest.CaptureFixture[str]) -> None:
    """A foreign exception's text is redacted on its way to the log, and not on any way to the caller."""
    secrets = ("bob@example.com", "mongodb://user:pass@db/", "gsk_test_01ARZ3NDEKTSV4RRFFQ69G5FAV_" + "0" * 64)
    answer = call(failing(RuntimeError(" ".join(secrets))), event("GET"))
    logged = capsys.readouterr().out
    assert not any(secret in logged + answer.text for secret in secrets)
    assert logged.count("[redacted]") == 3


def test_one_log_line_a_call_without_query_body_or_key(capsys: pytest.CaptureFixture[str]) -> None:
    """Who, what, how it ended and how long it took, as one JSON object; nothing of what was sent."""
    call(search, event("GET", query="name=bob%40example.com", headers={"authorization": "Bearer s3cret"}))
    (line,) = lines(capsys)
    assert line.keys() == {"at", "level", "event", "request_id", "method", "route", "status", "duration_ms"}
    assert (line["event"], line["method"], line["route"], line["status"]) == ("request", "GET", "/v1/some/thing", 200)
    assert line["duration_ms"] >= 0


def test_a_refusal_is_logged_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """At level info, with code and fields; the caller's own values are not in it."""
    post(write, '{"text":"hi","more":"bob@example.com"}')
    failed, done = lines(capsys)
    assert (failed["level"], failed["code"], failed["error"]) == ("info", "invalid_request", "more")
    assert done["status"] == 400


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
