"""A smoke asks everything that the API has, and nothing in it could have an effect."""

import re

from ops import described
from ops.functions import ROOT
from ops.release import expectations

CALLS = expectations.calls("blue", "1")
ALL = {
    (method.upper(), path.removeprefix("/"))
    for path, operations in described.description()["paths"].items()
    for method in operations
}


def test_every_read_is_asked_for() -> None:
    """Each GET of the description, answered with success where it can be."""
    asked = {call.path for call in CALLS if call.method == "GET" and any(status == 200 for status, _ in call.right)}
    assert asked == {path for method, path in ALL if method == "GET"}


def test_the_files_of_the_page_are_asked_for() -> None:
    """A page without its script is no page."""
    page = (ROOT / "packages/ops/openapi/assets/page.html").read_text()
    files = {call.suffix for call in CALLS if call.path == "ops/openapi" and call.right == {(200, None)}} - {""}
    assert files == set(re.findall(r'(?:src|href)="(\?asset=[^"]+)"', page))
    assert len(files) == 4


def test_every_write_is_only_asked_for_to_be_refused() -> None:
    """Each other operation of the description, and never with an answer of success as the right one."""
    writes = [call for call in CALLS if call.method != "GET"]
    assert {(call.method, call.path) for call in writes} - {("PUT", "tokens/info")} == ALL - {
        (method, path) for method, path in ALL if method == "GET"
    }
    for call in writes:
        assert all(status >= 400 for status, _ in call.right), call.name
        assert call.key == "none" or call.body in ({}, None), call.name
        assert call.key == "none" or call.method != "DELETE", call.name


def test_every_write_is_tried_without_a_key() -> None:
    """The door is locked at each of them."""
    refused = {
        (call.method, call.path) for call in CALLS if call.key == "none" and call.right <= {(401, "unauthenticated")}
    }
    assert refused == {one for one in ALL if one[0] != "GET"} - {("POST", "webhooks/metakeep")}
