"""Over a real socket, functions see and answer HTTP as on the platform, and its failures are the platform's."""

import base64
import http.client
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.serving.conftest import Project, serving

Serve = Callable[[], str]
ECHO = """
def main(event, context):
    return {"body": event}
"""
BAD_MESSAGE = "Response is not valid 'message/http'."
PROCESSING = "There was an error processing your request."


def returning(value: str) -> str:
    """A function that returns the value of the expression."""
    return f"def main(event, context):\n    return {value}\n"


# --- the event ---------------------------------------------------------------------------------------------------


def test_a_raw_event_is_what_was_sent(project: Project, serve: Serve, http: requests.Session) -> None:
    """Method, path after the name, undecoded query, lower-cased headers, body as text; nothing else in the event."""
    project.add("echo", ECHO)
    reply = http.put(
        f"{serve()}/shop/echo/one/two?a=b%20c&a=2",
        data='{"name": "Zoë"}'.encode(),
        headers={"Content-Type": "application/json", "X-Mixed-Case": "Kept"},
    )
    event = reply.json()
    assert list(event) == ["http"]
    headers = event["http"].pop("headers")
    assert event["http"] == {
        "method": "PUT",
        "path": "/one/two",
        "queryString": "a=b%20c&a=2",
        "body": '{"name": "Zoë"}',
        "isBase64Encoded": False,
    }
    assert headers["x-mixed-case"] == "Kept"
    assert headers["content-type"] == "application/json"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["host"] == urlsplit(reply.url).netloc
    assert "function-execution-id" not in headers


def test_absent_parts_are_empty_text(project: Project, serve: Serve, http: requests.Session) -> None:
    """Without path, query and body these are "" and not missing."""
    project.add("echo", ECHO)
    event = http.get(f"{serve()}/shop/echo").json()["http"]
    assert (event["path"], event["queryString"], event["body"], event["isBase64Encoded"]) == ("", "", "", False)


def test_repeated_headers_are_joined_by_commas(project: Project, serve: Serve) -> None:
    """One name, one value."""
    project.add("echo", ECHO)
    where = urlsplit(serve())
    connection = http.client.HTTPConnection(where.netloc)
    connection.putrequest("GET", "/v1/shop/echo")
    connection.putheader("X-Many", "a")
    connection.putheader("X-Many", "b")
    connection.endheaders()
    headers = json.loads(connection.getresponse().read())["http"]["headers"]
    connection.close()
    assert headers["x-many"].replace(" ", "") == "a,b"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/octet-stream", b"plain"),
        ("application/x-ndjson", b"{}\n"),
        ("application/json", b'"\xff"'),
        ("", b"untyped"),
    ],
)
def test_what_is_not_utf8_text_comes_as_base64(
    project: Project, serve: Serve, http: requests.Session, content_type: str, body: bytes
) -> None:
    """Bytes arrive exactly, whatever they are."""
    project.add("echo", ECHO)
    event = http.post(f"{serve()}/shop/echo", data=body, headers={"Content-Type": content_type}).json()["http"]
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == body


def test_json_can_be_made_to_arrive_as_base64(
    project: Project, serve: Serve, http: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform may do so, and functions can be tried against it; other text stays text."""
    monkeypatch.setenv("SERVING_JSON_AS_BASE64", "on")
    project.add("echo", ECHO)
    url = f"{serve()}/shop/echo"
    event = http.post(url, json={"a": 1}).json()["http"]
    assert (event["isBase64Encoded"], base64.b64decode(event["body"])) == (True, b'{"a": 1}')
    assert http.post(url, data={"a": 1}).json()["http"]["body"] == "a=1"


def test_main_gets_as_many_arguments_as_its_code_takes(project: Project, serve: Serve, http: requests.Session) -> None:
    """None, the event, or event and context; `*args` counts as none."""
    project.add("none", "def main():\n    return {'body': 'none'}")
    project.add("one", "def main(event):\n    return {'body': list(event)}")
    project.add("star", "def main(*args):\n    return {'body': {'given': len(args)}}")
    url = serve()
    assert http.get(f"{url}/shop/none").text == "none"
    assert http.get(f"{url}/shop/one").json() == ["http"]
    assert http.get(f"{url}/shop/star").json() == {"given": 0}


def test_the_context_tells_name_ids_and_time_left(project: Project, serve: Serve, http: requests.Session) -> None:
    """All documented attributes are there; the deadline is the function's time limit from now."""
    project.add(
        "who",
        """
        def main(event, context):
            names = ("function_name", "function_version", "activation_id", "request_id", "deadline", "api_host",
                     "api_key", "namespace")
            seen = {name: getattr(context, name) for name in names}
            return {"body": {**seen, "left": context.get_remaining_time_in_millis()}}
        """,
    )
    reply = http.get(f"{serve()}/shop/who")
    seen = reply.json()
    assert seen["function_name"] == f"/{seen['namespace']}/shop/who"
    assert 0 < seen["left"] <= 30_000
    assert reply.headers["X-Openwhisk-Activation-Id"] == seen["activation_id"]


# --- the answer --------------------------------------------------------------------------------------------------


def test_status_headers_and_text_are_passed_on(project: Project, serve: Serve, http: requests.Session) -> None:
    """A list repeats its header; numbers and booleans become text; keys the platform does not know are ignored."""
    headers = '{"Content-Type": "text/plain", "Set-Cookie": ["a=1", "b=2"], "X-N": 7, "X-B": True, "Connection": "x"}'
    project.add("full", returning(f'{{"statusCode": "201", "headers": {headers}, "body": "done", "else": 1}}'))
    reply = http.get(f"{serve()}/shop/full")
    assert (reply.status_code, reply.text, reply.headers["Content-Type"]) == (201, "done", "text/plain")
    assert [reply.headers["X-N"], reply.headers["X-B"]] == ["7", "true"]
    assert list(reply.cookies.items()) == [("a", "1"), ("b", "2")]


@pytest.mark.parametrize(
    ("result", "status", "content_type", "body"),
    [
        ('{"body": "hi"}', 200, "text/html; charset=UTF-8", b"hi"),
        ('{"body": {"a": [1, None]}}', 200, "application/json", b'{"a":[1,null]}'),
        ('{"body": [1]}', 200, "application/json", b"[1]"),
        ('{"body": 0}', 200, "application/json", b"0"),
        ('{"body": {}, "headers": {"content-type": "text/x+json"}}', 200, "text/x+json", b"{}"),
        ('{"body": "{}", "headers": {"content-type": "application/json"}}', 200, "application/json", b"{}"),
        ('{"body": "MTIz", "headers": {"content-type": "application/json"}}', 200, "application/json", b"123"),
        ('{"body": "AP8=", "headers": {"content-type": "image/png"}}', 200, "image/png", b"\x00\xff"),
        ('{"body": "", "headers": {"content-type": "text/plain"}}', 204, None, b""),
        ('{"statusCode": 404}', 404, None, b""),
        ("None", 204, None, b""),
        ("[]", 204, None, b""),
        ('{"error": {"statusCode": 418, "body": "short"}, "body": "x"}', 418, "text/html; charset=UTF-8", b"short"),
    ],
)
def test_a_result_becomes_an_answer(
    project: Project,
    serve: Serve,
    http: requests.Session,
    result: str,
    status: int,
    content_type: str | None,
    body: bytes,
) -> None:
    """Status defaults to 200 with a body and 204 without; the body by its type and its content type."""
    project.add("fn", returning(result))
    reply = http.get(f"{serve()}/shop/fn")
    assert (reply.status_code, reply.headers.get("Content-Type"), reply.content) == (status, content_type, body)


@pytest.mark.parametrize(
    ("suffix", "status", "content_type", "body"),
    [
        (".json", 200, "application/json", b'{"statusCode":500,"body":{"a":1}}'),
        (".text", 200, "text/plain; charset=UTF-8", b'{\n  "a": 1\n}'),
        (".html", 400, "application/json", b"Response is not valid 'text/html'."),
        (".http", 500, "application/json", b'{"a":1}'),
        (".zip", 404, "application/json", b"The requested resource does not exist."),
    ],
)
def test_a_suffix_chooses_what_is_shown(
    project: Project, serve: Serve, http: requests.Session, suffix: str, status: int, content_type: str, body: bytes
) -> None:
    """Any caller can look at the whole result: nothing in it is hidden by statusCode."""
    project.add("fn", returning('{"statusCode": 500, "body": {"a": 1}}'))
    reply = http.get(f"{serve()}/shop/fn{suffix}")
    assert (reply.status_code, reply.headers["Content-Type"]) == (status, content_type)
    assert body in reply.content


def test_a_suffix_of_a_result_that_does_not_fit(project: Project, serve: Serve, http: requests.Session) -> None:
    """Text is shown as it is, a missing body is 404, an error that is no object is no JSON."""
    project.add("words", returning('{"body": "<p>"}'))
    project.add("nothing", returning('{"statusCode": 200}'))
    project.add("broken", returning('{"error": "why"}'))
    url = serve()
    assert http.get(f"{url}/shop/words.html").text == "<p>"
    assert (http.get(f"{url}/shop/nothing.text")).status_code == 404
    assert http.get(f"{url}/shop/broken.json").json()["error"] == "Response is not valid 'application/json'."


def test_cors_is_the_platforms(project: Project, serve: Serve, http: requests.Session) -> None:
    """OPTIONS never reaches the function; every answer carries the headers, in place of the function's own."""
    project.add("fn", returning('{"body": "x", "headers": {"access-control-allow-origin": "https://only.example"}}'))
    url = serve()
    preflight = http.options(f"{url}/shop/fn", headers={"Access-Control-Request-Headers": "X-Mine"})
    assert (preflight.status_code, preflight.content) == (200, b"")
    assert preflight.headers["Access-Control-Allow-Headers"] == "X-Mine"
    for reply in (http.get(f"{url}/shop/fn"), http.get(f"{url}/shop/none")):
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert "PATCH" in reply.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in reply.headers["Access-Control-Allow-Headers"]
    assert http.options(f"{url}/shop/none").status_code == 404


def test_head_calls_the_function_and_sends_no_body(project: Project, serve: Serve, http: requests.Session) -> None:
    """Status and headers are those of the answer."""
    headers = '{"X-Method": event["http"]["method"]}'
    project.add("fn", returning(f'{{"statusCode": 202, "headers": {headers}, "body": "long"}}'))
    reply = http.head(f"{serve()}/shop/fn")
    assert (reply.status_code, reply.headers["X-Method"], reply.content) == (202, "HEAD", b"")


# --- failures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("def main(event, context):\n    raise ValueError('the secret')", BAD_MESSAGE),
        ("async def main(event, context):\n    return {}", PROCESSING),
        ("def main(event, context, more):\n    return {}", BAD_MESSAGE),
        ("import functools\nmain = functools.partial(print)", BAD_MESSAGE),
        (returning('{"error": "the secret"}'), BAD_MESSAGE),
        (returning('{"error": None}'), BAD_MESSAGE),
        (returning('{"error": {"statusCode": "x"}}'), BAD_MESSAGE),
        (returning('"text"'), PROCESSING),
        (returning("[1]"), PROCESSING),
        (returning('{"body": float("nan")}'), PROCESSING),
        (returning('{"body": b"bytes"}'), PROCESSING),
        (returning('{"body": "\\ud800"}'), PROCESSING),
        (returning('{"body": "x" * 1_048_576}'), BAD_MESSAGE),
        (returning('{"statusCode": "abc"}'), BAD_MESSAGE),
        (returning('{"statusCode": True}'), BAD_MESSAGE),
        (returning('{"statusCode": 99}'), BAD_MESSAGE),
        (returning('{"headers": "x"}'), BAD_MESSAGE),
        (returning('{"headers": {"X": None}}'), BAD_MESSAGE),
        (returning('{"headers": {"X": "a\\nb"}}'), BAD_MESSAGE),
        (returning('{"headers": {"a b": "c"}}'), BAD_MESSAGE),
        (
            returning('{"body": {}, "headers": {"Content-Type": "text/html"}}'),
            "Response type in header did not match generated content type.",
        ),
        (
            returning('{"body": "%", "headers": {"Content-Type": "image/png"}}'),
            "Response type in header did not match generated content type.",
        ),
        ("raise SystemExit(3)", PROCESSING),
        ("def main(event, context):\n    raise SystemExit(3)", PROCESSING),
        ("import no_such_module", PROCESSING),
        ("def main(:", PROCESSING),
        ("def other(): ...", PROCESSING),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine 'main' was never awaited")
def test_a_broken_function_gets_the_platforms_answer(
    project: Project, serve: Serve, http: requests.Session, code: str, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """400 with a fixed sentence and the activation id, nothing of the cause; other functions go on."""
    project.add("broken", code)
    project.add("sound", returning('{"body": "well"}'))
    url = serve()
    for _ in range(2):
        reply = http.get(f"{url}/shop/broken")
        assert (reply.status_code, reply.headers["Content-Type"]) == (400, "application/json")
        assert reply.json() == {"error": text, "code": reply.headers["X-Openwhisk-Activation-Id"]}
    assert http.get(f"{url}/shop/sound").text == "well"


def test_the_cause_of_a_failure_is_on_stderr(
    project: Project, serve: Serve, http: requests.Session, capfd: pytest.CaptureFixture[str]
) -> None:
    """For the developer, the traceback with the function's own file."""
    project.add("broken", "def main(event, context):\n    raise ValueError('why')")
    http.get(f"{serve()}/shop/broken")
    error = capfd.readouterr().err
    assert "ValueError: why" in error
    assert re.search(r"shop[/-]broken.*main__\.py", error)


@pytest.mark.parametrize("run", ["in_process"], indirect=True)
def test_a_failed_import_is_tried_again_a_good_one_is_kept(
    project: Project, serve: Serve, http: requests.Session
) -> None:
    """Module globals live from call to call; a function that could not start gets a new chance."""
    project.add("later", "raise RuntimeError")
    url = serve()
    assert http.get(f"{url}/shop/later").status_code == 400
    counting = "count = 0\ndef main():\n    global count\n    count += 1\n    return {'body': count}"
    (project.folder / "packages" / "shop" / "later" / "__main__.py").write_text(counting)
    assert [http.get(f"{url}/shop/later").json() for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/shop/hidden",
        "/v1/shop/no",
        "/v1/no/fn",
        "/v1/shop",
        "/shop/fn",
        "/",
        "/robots.txt",
        "/v1//shop/fn",
        "/v1/a.x",
    ],
)
def test_what_is_not_there_or_not_on_the_web_is_404(
    project: Project, serve: Serve, http: requests.Session, path: str
) -> None:
    """One answer for all of it."""
    project.add("fn", ECHO)
    project.add("hidden", ECHO, web=False)
    reply = http.get(serve().removesuffix("/v1") + path, allow_redirects=False)
    assert (reply.status_code, reply.json()["error"]) == (404, "The requested resource does not exist.")


def test_a_request_of_more_than_1_mb_is_413(project: Project, serve: Serve, http: requests.Session) -> None:
    """Counted as it stands in the event: 1,048,576 bytes of text pass, one more does not, base64 counts as base64."""
    project.add("size", returning('{"body": {"size": len(event["http"]["body"])}}'))
    url = f"{serve()}/shop/size"
    text = {"Content-Type": "text/plain"}
    assert http.post(url, data=b"x" * 1_048_576, headers=text).json() == {"size": 1_048_576}
    reply = http.post(url, data=b"x" * 1_048_577, headers=text)
    assert (reply.status_code, reply.json()["error"]) == (413, "Request larger than allowed: 1048577 > 1048576 bytes.")
    binary = http.post(url, data=b"x" * 800_000, headers={"Content-Type": "application/octet-stream"})
    assert binary.status_code == 413


def test_importing_the_gateway_imports_no_function(project: Project, serve: Serve) -> None:
    """Functions are imported on their first call."""
    project.add("loud", "print('imported')")
    project.add("none", ECHO)
    events: list[Any] = [requests.get(f"{serve()}/shop/none", timeout=10).status_code]
    assert events == [200]


# --- a gateway in front ------------------------------------------------------------------------------------------


def test_around_the_gateway_nobody_is_let_in(project: Project, http: requests.Session) -> None:
    """With webSecure a call without the secret, or with another one, is 401 in the platform's words, and not run."""
    project.add("echo", ECHO)
    with serving(project, web_secure="the-secret") as url:
        for headers in ({}, {"X-Require-Whisk-Auth": "the-secre"}, {"X-Require-Whisk-Auth": ""}):
            reply = http.post(f"{url}/shop/echo", headers=headers)
            assert (reply.status_code, reply.json()["error"]) == (
                401,
                "Authentication is possible but has failed or not yet been provided.",
            )
        assert http.post(f"{url}/shop/echo", headers={"X-Require-Whisk-Auth": "the-secret"}).status_code == 200
        assert http.options(f"{url}/shop/echo").status_code == 200
        assert http.get(f"{url}/shop/nothing").status_code == 404
