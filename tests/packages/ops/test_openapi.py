"""GET /ops/openapi: the description for programs, the page for people, and the page's files."""

import base64
import gzip
import json
import re
from pathlib import Path

import pytest

from tests.edge import assert_plain_main, assert_refused
from tests.support import Client

PATH = "ops/openapi"
NOBODY = Client(None)


def test_main_is_plain() -> None:
    """The runtime calls it with two arguments."""
    assert_plain_main(PATH)


def test_a_program_gets_json(repository: Path) -> None:
    """The description as it is committed, without a key."""
    answer = NOBODY.get(PATH, accept="application/json, */*")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert answer.json == json.loads((repository / "docs/openapi.json").read_text())
    assert answer.headers["Vary"] == "Accept"


def test_a_browser_gets_a_page_that_loads_from_here_alone() -> None:
    """No script but ours, nothing from elsewhere, framed by nobody; every file it names is one that we have."""
    answer = NOBODY.get(PATH, accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe-eval" not in str(policy)
    assert not re.search(r"<script>|\son\w+=|style=|https?://", answer.text)
    names = re.findall(r'(?:src|href)="\?asset=([^"]+)"', answer.text)
    assert len(names) == 4
    for name in names:
        file = NOBODY.get(PATH, f"asset={name}")
        assert (file.status, file.headers["X-Getsmart"]) == (200, "1")


def test_the_viewer_fits_and_stays() -> None:
    """Its script is JavaScript to a browser, binary to the platform, under 1 MB compressed, cached for a year."""
    answer = NOBODY.get(PATH, "asset=swagger-ui-5.35.0.js")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Type"] == "application/x-javascript"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert len(answer.text) < 768 * 1024
    assert b"SwaggerUIBundle" in gzip.decompress(base64.b64decode(answer.text, validate=True))
    assert NOBODY.get(PATH, "asset=page.css").headers["Cache-Control"] == "public, max-age=3600"


@pytest.mark.parametrize("query", ["asset=", "asset=../__main__.py", "asset=openapi.json", "asset=page.html", "page=1"])
def test_no_other_file_is_served(query: str) -> None:
    """The list is strict."""
    assert_refused(NOBODY.get(PATH, query), 400, "invalid_request", query.partition("=")[0])
