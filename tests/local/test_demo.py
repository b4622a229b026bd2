"""The demo shows the product's story, and fails loudly when it goes differently."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests
from rich.console import Console

from local import demo
from local.serve import Interrupted
from local.stack import Facts
from tests.local import programs
from tests.local.programs import alive, descendants


@pytest.mark.timeout(180)
def test_the_story_is_told_to_its_end() -> None:
    """Exit 0; each step stands in the table with its evidence; nothing is left running."""
    process = programs.start("local.demo")
    assert process.stdout is not None
    lines: list[str] = []
    family: list[int] = []
    for line in process.stdout:
        lines.append(line)
        family = descendants(process.pid) or family
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    told = "".join(lines)
    for step in (
        "wallet created",
        "mint for a badge claim accepted",
        "signed webhook received, verified",
        "mint confirmed on chain",
        "transfer from the treasury accepted",
        "transfer confirmed on chain",
        "burn accepted",
        "burn confirmed on chain",
        "books 1200.5 GETS = eth_call balanceOf 1200500000000000000000",
        "books 20000950 GETS = eth_call totalSupply 20000950000000000000000000",
        "Idempotent-Replayed: true",
    ):
        assert step in told
    assert family
    assert not any(map(alive, family))


class _Answers(BaseHTTPRequestHandler):
    """A gateway that always says the same."""

    def do_GET(self) -> None:
        body = json.dumps({"status": "success", "data": {"status": "queued"}}).encode()
        self.send_response(200 if "transaction" in self.path else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def caller() -> Iterator[demo.Caller]:
    """A caller of that gateway."""
    with HTTPServer(("127.0.0.1", 0), _Answers) as server, requests.Session() as http:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield demo.Caller(Facts(url, url, url, "", "key", "p256", "", "", 0), http)
        server.shutdown()
        thread.join()


def test_another_status_than_promised_is_a_difference(caller: demo.Caller) -> None:
    """The line says what was asked, what came and what was promised."""
    with pytest.raises(demo.Difference, match=r"GET http\S+/v1/tokens/info: 500, not 200: \{"):
        demo.walk(caller, demo.Story(Console(quiet=True)))


def test_what_does_not_come_in_time_is_a_difference(caller: demo.Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that never is confirmed ends the demo."""
    monkeypatch.setattr(demo, "_DEADLINE_SECONDS", 0.2)
    with pytest.raises(demo.Difference, match=r"not seen within 0\.2 s: mint txn_1 confirmed"):
        demo._confirmed(caller, demo.Story(Console(quiet=True)), {"transaction_id": "txn_1"}, "mint")


def test_another_value_than_promised_is_a_difference() -> None:
    """The line says both values."""
    with pytest.raises(demo.Difference, match="the posted balance is '1', not '2'"):
        demo._same("the posted balance", "1", "2")


def test_a_demo_that_cannot_run_says_why_and_one_that_is_interrupted_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 with one clear line, and 130 as of a shell."""

    def differs(*_: object) -> None:
        raise demo.Difference("this is not that")

    def interrupted(*_: object) -> None:
        raise Interrupted

    monkeypatch.setattr(demo, "_run", differs)
    assert demo.main() == 1
    assert capsys.readouterr().err == "demo: this is not that\n"
    monkeypatch.setattr(demo, "_run", interrupted)
    assert demo.main() == 130
