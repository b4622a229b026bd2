"""GET /ops/openapi - the description of this API: OpenAPI 3.1 as JSON, or for a browser a page to read and try."""

import base64
from pathlib import Path
from typing import Literal

from getsmart.fields import Query
from getsmart.front import Request
from getsmart.replies import Reply
from getsmart.web import endpoint

_FOLDER = Path(__file__).parent / "assets"
_ONE_YEAR, _ONE_HOUR = "public, max-age=31536000, immutable", "public, max-age=3600"

# Name in the query: file, media type, how long it stays good. The script goes out as base64 of its gzip, since it
# would be too large otherwise; that needs a media type that is not text to the platform but JavaScript to a browser.
_ASSETS = {
    "swagger-ui-5.35.0.js": ("swagger-ui-5.35.0.js.gz", "application/x-javascript", _ONE_YEAR),
    "swagger-ui-5.35.0.css": ("swagger-ui-5.35.0.css", "text/css; charset=utf-8", _ONE_YEAR),
    "page.js": ("page.js", "text/javascript; charset=utf-8", _ONE_HOUR),
    "page.css": ("page.css", "text/css; charset=utf-8", _ONE_HOUR),
}
_PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    # The viewer sets styles on elements, which needs 'unsafe-inline' there; scripts come from here alone.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
}


class OpenapiQuery(Query):
    """Nothing, or one file of the page."""

    asset: Literal["swagger-ui-5.35.0.js", "swagger-ui-5.35.0.css", "page.js", "page.css"] | None = None


@endpoint("GET", takes=OpenapiQuery)
def main(request: Request[OpenapiQuery]) -> Reply:
    """200 with the description; with the page where Accept asks for text/html; with `asset` a file of the page."""
    if request.input.asset is not None:
        return _asset(request.input.asset)
    if "text/html" in request.headers.get("accept", ""):
        return Reply(200, _read("page.html"), _PAGE_HEADERS)
    return Reply(200, _read("openapi.json"), {"Vary": "Accept"})


def _asset(name: str) -> Reply:
    file, media_type, caching = _ASSETS[name]
    headers = {"Content-Type": media_type, "Cache-Control": caching, "X-Content-Type-Options": "nosniff"}
    if file.endswith(".gz"):
        packed = base64.b64encode((_FOLDER / file).read_bytes()).decode()
        return Reply(200, packed, {**headers, "Content-Encoding": "gzip"})
    return Reply(200, _read(file), headers)


def _read(file: str) -> str:
    return (_FOLDER / file).read_text(encoding="utf-8")
