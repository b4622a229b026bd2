"""The edge without a database: bodies and queries, in either form, and how they are refused."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getsmart.front import MOST_BODY_BYTES
from tests.edge import assert_refused
from tests.endpoints import JSON, bare, call, post, search, write
from tests.support import event

FAIR = settings(derandomize=True, deadline=None, database=None)


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
    [
        None,
        "",
        "json",
        "text/json",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/json, text/html",
    ],
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
