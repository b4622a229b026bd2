"""HAProxy as it is configured here: what it lets through, what it adds, what it refuses, and what it tries again."""

import http.client
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
import requests

from getsmart.front import MOST_BODY_BYTES
from ops import described
from ops.functions import ROOT, load
from ops.gateway import runtime
from serving.app import add_library
from serving.gateway import Gateway as Functions
from tests.gateway import SECRET, Gate, gate, wait_for

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def shared() -> Iterator[Gate]:
    """A gateway before two namespaces a colour."""
    with gate() as running:
        yield running


@pytest.fixture
def gateway(shared: Gate) -> Iterator[Gate]:
    """The same, with everybody well and nothing asked yet."""
    yield shared
    for space in shared.spaces.values():
        space.behaves, space.headers = "ok", {}
    shared.line.give({"blue": 100, "green": 0})
    shared.asked()


def error_of(reply: requests.Response) -> dict[str, Any]:
    """The error of a reply, which has the API's shape."""
    assert described.problem("tokens/info", "GET", reply.status_code, reply.headers, reply.text) is None
    content = reply.json()
    assert content["status"] == "error"
    assert content["error"]["request_id"] == reply.headers["X-Request-Id"]
    assert reply.headers["Cache-Control"] == "no-store"
    error: dict[str, Any] = content["error"]
    return error


def test_a_call_arrives_as_it_was_sent(gateway: Gate) -> None:
    """Path and query, body, key and trace arrive; the secret and the namespace's host are added; the answer returns."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    reply = gateway.call(
        "POST", "tokens/mint?a=%20b", json={"x": 1}, headers={"traceparent": trace, "Authorization": "B"}
    )
    ((method, path, headers),) = gateway.spaces["blue-1"].calls or gateway.spaces["blue-2"].calls
    assert (reply.status_code, method, path) == (200, "POST", "/v1/tokens/mint?a=%20b")
    assert (headers["traceparent"], headers["authorization"], headers["content-length"]) == (trace, "B", "8")
    assert (headers["x-require-whisk-auth"], headers["host"]) == (SECRET, "127.0.0.1")
    assert "x-gateway-to" not in headers
    assert reply.headers["X-Colour"] == "blue"


def test_a_namespace_is_called_under_its_own_path() -> None:
    """Behind /v1 stands whatever the platform calls the namespace."""
    url = "http://127.0.0.1:{}/api/v1/web/fn-11111111-1111-4111-8111-111111111111"
    with gate(spaces=1) as one:
        port = one.spaces["blue-1"].port
        colours = {"blue": [{"label": "b1", "url": url.format(port)}], "green": [{"label": "g1", "url": url.format(1)}]}
        there = one.there.model_copy(
            update={
                "colours": type(one.there)
                .model_validate({**json.loads(one.there.model_dump_json()), "colours": colours})
                .colours
            }
        )
        from ops.gateway import generate

        generate.write(generate.render(there, name="tests"), one.there.gateway.folder)
        runtime.reload(one.there.gateway.folder)
        assert one.call().status_code == 200
        assert one.spaces["blue-1"].calls[0][1] == "/api/v1/web/fn-11111111-1111-4111-8111-111111111111/tokens/info"


@pytest.mark.parametrize("given", ["abc.1-2_3", "x" * 64])
def test_a_valid_request_id_is_kept(gateway: Gate, given: str) -> None:
    """It reaches the function, and the caller again."""
    assert gateway.call(headers={"X-Request-Id": given}).headers["X-Request-Id"] == given
    calls = [call for space in gateway.spaces.values() for call in space.calls]
    assert calls[-1][2]["x-request-id"] == given


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 65, "{}"])
def test_another_request_id_is_replaced(gateway: Gate, given: str | None) -> None:
    """By one in the form of ours, another for each call."""
    headers = {} if given is None else {"X-Request-Id": given}
    ids = {gateway.call(headers=headers).headers["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch(r"req_[0-7][0-9A-HJKMNP-TV-Z]{25}", one) for one in ids)


def test_who_calls_cannot_be_forged(gateway: Gate) -> None:
    """Whatever a caller says of itself in headers is replaced by the address that the gateway saw."""
    said = dict.fromkeys(("X-Forwarded-For", "X-Real-IP", "Forwarded", "DO-Connecting-IP"), "203.0.113.9")
    gateway.call(
        headers={**said, "X-Require-Whisk-Auth": "guess", "X-Gateway-To": "green-1", "X-Forwarded-Proto": "https"}
    )
    ((_, _, headers),) = [call for name in ("blue-1", "blue-2") for call in gateway.spaces[name].calls]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-require-whisk-auth"] == SECRET
    assert not {"x-real-ip", "forwarded"} & headers.keys()


@pytest.mark.parametrize(
    ("caller", "headers", "address"),
    [
        ({"proxies": 1}, {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}, "198.51.100.7"),
        ({"proxies": 2}, {"X-Forwarded-For": "203.0.113.9, 198.51.100.7, 10.0.0.1"}, "198.51.100.7"),
        ({"proxies": 1}, {}, "127.0.0.1"),
        (
            {"header": "DO-Connecting-IP"},
            {"DO-Connecting-IP": "2001:db8::7", "X-Forwarded-For": "1.1.1.1"},
            "2001:db8::7",
        ),
    ],
)
def test_proxies_of_ours_in_front_are_believed(caller: dict[str, Any], headers: dict[str, str], address: str) -> None:
    """As many as there are, and not one hop further."""
    with gate(spaces=1, caller=caller) as running:
        running.call(headers=headers)
        assert running.spaces["blue-1"].calls[0][2]["x-forwarded-for"] == address


@pytest.mark.parametrize(
    "path",
    [
        *("tokens/info.json", "tokens/info.http", "tokens/info.text", "tokens/info/", "tokens/info/x", "tokens//info"),
        *("tokens/%69nfo", "tokens/INFO", "ops/tick", "tokens/nothing", "", "tokens/info%00", "tokens/./info"),
    ],
)
def test_what_is_not_declared_is_not_there(gateway: Gate, path: str) -> None:
    """404 in our shape, and no function hears of it."""
    host, port = gateway.there.gateway.bind.split(":")
    line = http.client.HTTPConnection(host, int(port), timeout=10)
    line.request("GET", f"/v1/{path}")
    reply = line.getresponse()
    content = json.loads(reply.read())
    line.close()
    assert (reply.status, content["error"]["code"]) == (404, "not_found")
    assert gateway.asked() == []


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "TRACE", "BREW"])
def test_another_method_is_refused(gateway: Gate, method: str) -> None:
    """405 with what is allowed."""
    reply = gateway.call(method)
    assert (reply.status_code, reply.headers["Allow"]) == (405, "GET")
    assert method == "HEAD" or error_of(reply)["code"] == "method_not_allowed"
    assert gateway.asked() == []


def test_a_preflight_is_the_platforms_business(gateway: Gate) -> None:
    """Browsers ask before they call; who answers is the platform, in its own words."""
    gateway.spaces["blue-1"].behaves = gateway.spaces["blue-2"].behaves = "204"
    assert gateway.call("OPTIONS").status_code == 204
    assert gateway.call("OPTIONS", "tokens/nothing").status_code == 404


def test_a_body_that_is_too_large_is_refused(gateway: Gate) -> None:
    """413 in our shape, before it is sent on; the largest body that a function takes is let through."""
    reply = gateway.call("POST", "tokens/airdrop", data=b"x" * (MOST_BODY_BYTES + 1))
    assert error_of(reply)["code"] == "too_large"
    assert gateway.asked() == []
    assert gateway.call("POST", "tokens/airdrop", data=b"x" * MOST_BODY_BYTES).status_code == 200


def test_one_address_has_its_limit() -> None:
    """429 with Retry-After past the limit of a minute, each address for itself; refusals are not counted."""
    with gate(spaces=1, limits={"calls_per_address": 5}, caller={"proxies": 1}) as running:

        def call(address: str) -> requests.Response:
            return running.call(headers={"X-Forwarded-For": address})

        assert [call("198.51.100.7").status_code for _ in range(7)] == [200] * 5 + [429] * 2
        refused = call("198.51.100.7")
        assert (error_of(refused)["code"], refused.headers["Retry-After"]) == ("rate_limited", "10")
        assert call("198.51.100.8").status_code == 200
        assert [call(f"2001:db8::{n}").status_code for n in range(7)] == [200] * 5 + [429] * 2
        assert call("2001:db8:0:1::1").status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", ["401", "404", "429", "503"])
def test_what_the_platform_refuses_goes_to_another_namespace(gateway: Gate, method: str, status: str) -> None:
    """No function ran: any call may be made again elsewhere, body and all."""
    gateway.spaces["blue-1"].behaves = status
    path = "tokens/info" if method == "GET" else "tokens/mint"
    replies = [gateway.call(method, path, json={"n": 1}) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200] * 4
    assert {reply.json()["name"] for reply in replies} == {"blue-2"}


def test_a_connection_that_nobody_takes_costs_no_call(gateway: Gate) -> None:
    """Nothing was sent, so that writes too go elsewhere, at once; a check takes the namespace out soon."""
    dead = gateway.spaces["blue-1"]
    dead.stop()
    statuses, took = [], []
    for _ in range(6):
        started = time.monotonic()
        statuses.append(gateway.call("POST", "tokens/mint", json={}).status_code)
        took.append(time.monotonic() - started)
    dead.start(dead.port)
    assert statuses == [200] * 6
    assert median(took) < 0.5  # every other call meets it; one that the machine holds up is no matter
    wait_for(lambda: gateway.line.readings()["blue"].up == 2, "the namespace to come back")


def test_a_read_whose_answer_is_lost_is_made_again(gateway: Gate) -> None:
    """A GET may have been received, and is repeated elsewhere all the same."""
    gateway.spaces["blue-1"].behaves = "close"
    assert [gateway.call().status_code for _ in range(4)] == [200] * 4


def test_a_write_whose_answer_is_lost_is_never_made_again(gateway: Gate) -> None:
    """It may have had its effect: 503 that says so, one call received for one call made."""
    gateway.spaces["blue-1"].behaves = gateway.spaces["blue-2"].behaves = "close"
    for method, path in (("POST", "tokens/mint"), ("PATCH", "webhooks/endpoints"), ("DELETE", "webhooks/endpoints")):
        gateway.asked()
        reply = gateway.call(method, path, json={})
        assert (error_of(reply)["code"], reply.headers["Retry-After"]) == ("unavailable", "2")
        assert len(gateway.asked()) == 1


def test_a_caller_who_keeps_a_connection_is_told_as_well(gateway: Gate) -> None:
    """HAProxy would close it without a word where an answer is lost on a connection that was used before."""
    with requests.Session() as http:
        assert http.get(f"{gateway.url}/tokens/info", timeout=10).status_code == 200
        for space in ("blue-1", "blue-2"):
            gateway.spaces[space].behaves = "close"
        for _ in range(3):
            reply = http.post(f"{gateway.url}/tokens/mint", json={}, timeout=10)
            assert (reply.status_code, error_of(reply)["code"]) == (503, "unavailable")
        gateway.spaces["blue-1"].behaves = "ok"
        assert [http.get(f"{gateway.url}/tokens/info", timeout=10).status_code for _ in range(6)] == [200] * 6


@pytest.mark.parametrize("behaves", ["400", "202", "502"])
def test_what_only_the_platform_says_is_put_in_our_words(gateway: Gate, behaves: str) -> None:
    """A function that broke, or took too long: 503, not the 400 or 202 that a caller would take for final."""
    gateway.spaces["blue-1"].behaves = gateway.spaces["blue-2"].behaves = behaves
    reply = gateway.call("POST", "tokens/mint", json={})
    assert (reply.status_code, error_of(reply)["code"]) == (503, "unavailable")
    assert len(gateway.asked()) == 1


def test_the_platforms_own_limit_of_size_is_ours(gateway: Gate) -> None:
    """413 from the platform is the 413 of the API, and the caller's fault: no failure of the colour."""
    gateway.spaces["blue-1"].behaves = gateway.spaces["blue-2"].behaves = "413"
    before = gateway.line.readings()["blue"]
    assert error_of(gateway.call("POST", "tokens/mint", json={}))["code"] == "too_large"
    after = gateway.line.readings()["blue"].since(before)
    assert (after.calls, after.failed) == (1, 0)


def test_what_a_page_in_front_of_the_platform_says_is_not_ours(gateway: Gate) -> None:
    """It may forbid to keep its answer, as ours do."""
    for name in ("blue-1", "blue-2"):
        gateway.spaces[name].behaves, gateway.spaces[name].headers = "400", {"Cache-Control": "private, no-store"}
    reply = gateway.call("POST", "tokens/mint", json={})
    assert (reply.status_code, error_of(reply)["code"]) == (503, "unavailable")


def test_the_reference_page_comes_with_its_script_and_style(gateway: Gate) -> None:
    """Every file that it names arrives, to be kept as its function says, and none is a failure of the colour."""
    add_library(ROOT)
    functions = Functions([one for one in load() if one.route == "ops/openapi"])
    for name in ("blue-1", "blue-2"):
        gateway.spaces[name].functions = functions
    before = gateway.line.readings()["blue"]
    page = gateway.call(path="ops/openapi", headers={"Accept": "text/html"})
    files = re.findall(r'(?:src|href)="\?asset=([^"]+)"', page.text)
    replies = {name: gateway.call(path=f"ops/openapi?asset={name}") for name in files}
    after = gateway.line.readings()["blue"].since(before)
    for name in ("blue-1", "blue-2"):
        gateway.spaces[name].functions = None
    assert {name: reply.status_code for name, reply in replies.items()} == dict.fromkeys(files, 200)
    assert len(files) == 4
    assert "SwaggerUIBundle" in replies["swagger-ui-5.35.0.js"].text
    assert replies["page.css"].headers["Content-Type"] == "text/css; charset=utf-8"
    assert all("max-age" in reply.headers["Cache-Control"] for reply in replies.values())
    assert (after.calls, after.failed) == (5, 0)


def test_when_nobody_is_left(gateway: Gate) -> None:
    """503 in our shape when every namespace refuses; the same when all are out."""
    for space in gateway.spaces.values():
        space.behaves = "429"
    reply = gateway.call()
    assert (error_of(reply)["code"], reply.headers["Retry-After"]) == ("unavailable", "2")
    names = [f"api/{name}" for name in gateway.spaces]
    gateway.line.ask(*(f"set server {name} state maint" for name in names))
    reply = gateway.call()
    gateway.line.ask(*(f"set server {name} state ready" for name in names))
    assert (error_of(reply)["code"], reply.headers["Retry-After"]) == ("unavailable", "2")


def test_an_error_of_a_function_is_passed_on(gateway: Gate) -> None:
    """What a function says is its own, and is not tried again."""
    gateway.spaces["blue-1"].behaves = gateway.spaces["blue-2"].behaves = "fails"
    assert gateway.call().status_code == 500
    assert len(gateway.asked()) == 1


def test_three_namespaces_share_the_calls_and_one_may_die() -> None:
    """Each has a third; one that dies under its calls, and later takes none, costs no read."""
    with gate(spaces=3) as running:
        statuses: list[int] = []
        over = threading.Event()

        def read() -> None:
            with requests.Session() as http:
                while not over.is_set():
                    statuses.append(http.get(f"{running.url}/tokens/info", timeout=10).status_code)

        readers = [threading.Thread(target=read) for _ in range(6)]
        for reader in readers:
            reader.start()
        wait_for(lambda: len(statuses) > 300, "some calls")
        before = running.line.answers()
        running.spaces["blue-2"].behaves = "close"
        time.sleep(0.3)
        running.spaces["blue-2"].stop()
        wait_for(lambda: running.line.readings()["blue"].up == 2, "the check")
        time.sleep(0.3)
        over.set()
        for reader in readers:
            reader.join()
        counts = [before[name] for name in ("blue-1", "blue-2", "blue-3")]
        assert min(counts) > 0.9 * max(counts)
        assert set(statuses) == {200}
        assert running.line.answers()["blue-1"] > before["blue-1"]


def test_a_namespace_without_its_database_gets_no_calls(gateway: Gate) -> None:
    """It is taken out while it says so."""
    gateway.spaces["blue-1"].is_well = False
    wait_for(lambda: gateway.line.readings()["blue"].up == 1, "the check")
    assert {gateway.call().json()["name"] for _ in range(4)} == {"blue-2"}
    gateway.spaces["blue-1"].is_well = True
    wait_for(lambda: gateway.line.readings()["blue"].up == 2, "the check")


def test_every_answer_bears_the_headers_of_a_safe_site(gateway: Gate) -> None:
    """Answers of functions and of the gateway alike; nothing tells what runs behind."""
    gateway.spaces["blue-1"].headers = {"X-Openwhisk-Activation-Id": "1", "Server": "x"}
    for reply in (gateway.call(), gateway.call(), gateway.call(path="tokens/nothing")):
        assert reply.headers["Strict-Transport-Security"] == "max-age=63072000; includeSubDomains"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["X-Frame-Options"] == "DENY"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert reply.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert not {"Server", "X-Openwhisk-Activation-Id", "X-Getsmart"} & set(reply.headers)


def test_a_page_keeps_its_own_policy(gateway: Gate) -> None:
    """The reference page says itself what it may load."""
    gateway.spaces["blue-1"].headers = gateway.spaces["blue-2"].headers = {"Content-Type": "text/html"}
    assert "Content-Security-Policy" not in gateway.call().headers


def test_calls_are_logged_as_json_without_what_may_be_secret(gateway: Gate) -> None:
    """A line a call: id, route, status, namespace, times; no query, no undeclared path, no key."""
    gateway.call(
        path="wallets/get?email=ada@example.com", headers={"Authorization": "Bearer gsk_x", "X-Request-Id": "one"}
    )
    gateway.call(path="gsk_secret", headers={"X-Request-Id": "two"})
    wait_for(lambda: '"two"' in gateway.log.read_text(), "the log")
    text = gateway.log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    one, two = (next(line for line in lines if line["request_id"] == name) for name in ("one", "two"))
    assert (one["event"], one["method"], one["route"], one["status"]) == (
        "gateway.request",
        "GET",
        "/v1/wallets/get",
        200,
    )
    assert one["server"] in {"blue-1", "blue-2"}
    assert one["duration_ms"] >= 0
    assert (two["route"], two["status"]) == ("-", 404)
    assert not re.search("ada@|gsk_|" + SECRET, text)


def test_what_is_no_http_gets_no_further(gateway: Gate) -> None:
    """400 from HAProxy itself, whose words these are."""
    host, port = gateway.there.gateway.bind.split(":")
    with socket.create_connection((host, int(port)), 5) as line:
        line.sendall(b"NONSENSE\r\n\r\n")
        assert line.recv(4_096).startswith(b"HTTP/1.1 400 ")
    assert gateway.asked() == []


def test_figures_are_for_the_inside_only(gateway: Gate) -> None:
    """Prometheus metrics and probes on the internal address, and nowhere else."""
    inside = f"http://{gateway.there.gateway.internal}"
    metrics = requests.get(f"{inside}/metrics", timeout=5).text
    assert 'haproxy_server_status{proxy="api",server="blue-1",state="UP"} 1' in metrics
    assert requests.get(f"{inside}/livez", timeout=5).status_code == 200
    assert requests.get(f"{inside}/readyz", timeout=5).status_code == 200
    assert requests.get(f"{inside}/v1/tokens/info", timeout=5).status_code == 404
    for path in ("metrics", "stats", "haproxy?stats"):
        assert requests.get(f"{gateway.there.public}/{path}", timeout=5).status_code == 404


def test_weights_share_the_calls_and_outlive_a_reload(gateway: Gate) -> None:
    """A quarter to green is about every fourth call, before and after new workers have taken over."""
    gateway.line.give({"blue": 75, "green": 25})
    for _ in range(2):
        assert gateway.line.shares() == {"blue": 75, "green": 25}
        colours = Counter(gateway.call().headers["X-Colour"] for _ in range(24))
        assert 4 <= colours["green"] <= 8
        gateway.line.save(gateway.there.gateway.folder)
        runtime.reload(gateway.there.gateway.folder)


def test_what_each_colour_does_is_counted(gateway: Gate) -> None:
    """Answers, failures, refusals, what had to be tried elsewhere and how long it took, by colour."""
    gateway.line.give({"blue": 50, "green": 50})
    before = gateway.line.readings()
    gateway.spaces["green-1"].behaves, gateway.spaces["green-2"].behaves = "fails", "close"
    gateway.spaces["blue-1"].behaves = "slow"
    for _ in range(16):
        gateway.call()
    after = gateway.line.readings()
    blue, green = (after[colour].since(before[colour]) for colour in ("blue", "green"))
    assert blue.calls + green.calls == 16
    assert (green.failed, green.calls) == (green.calls, green.failed)
    assert green.retried >= 3
    assert (blue.failed, blue.retried) == (0, 0)
    assert blue.slowest(0.9) >= 500
    assert green.slowest(0.5) < blue.slowest(0.9)
    assert after["green"].since(after["green"]).calls == 0


def test_a_reading_after_a_restart_counts_anew() -> None:
    """Counters that fell were begun again."""
    fresh, old = runtime.Reading(calls=3), runtime.Reading(calls=100)
    assert fresh.since(old) == fresh


def test_an_unreachable_gateway_is_said_to_be(tmp_path: Any) -> None:
    """One line that names the socket."""
    with pytest.raises(runtime.GatewayUnreachable, match="nowhere"):
        runtime.Runtime(str(tmp_path / "nowhere")).shares()


def test_a_reload_right_after_a_start_waits_for_the_master(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """It becomes its own successor then, and takes no connections for a moment."""
    first, second = "# workers\n7 worker\n# old workers\n", "# workers\n8 worker\n# old workers\n7 worker\n"
    asked: list[str] = []

    def ask(_: runtime.Runtime, command: str) -> str:
        asked.append(command)
        if len(asked) <= 3:
            raise runtime.GatewayUnreachable("Connection refused")
        return second if "reload" in asked else first

    monkeypatch.setattr(runtime.Runtime, "ask", ask)
    runtime.reload(tmp_path)
    assert asked.count("reload") == 1


def test_a_configuration_that_does_not_load_leaves_the_old_workers_at_work(gateway: Gate) -> None:
    """The reload says so, and calls go on."""
    config = gateway.there.gateway.folder / "haproxy.cfg"
    good = config.read_text()
    config.write_text(good + "\nnonsense\n")
    waits = runtime._RELOAD_SECONDS
    runtime._RELOAD_SECONDS = 2.0
    try:
        with pytest.raises(runtime.GatewayUnreachable, match="did not reload"):
            runtime.reload(gateway.there.gateway.folder)
    finally:
        runtime._RELOAD_SECONDS = waits
        config.write_text(good)
    assert gateway.call().status_code == 200
    runtime.reload(gateway.there.gateway.folder)
