"""An HTTP request as the event of a function with `web: raw`."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from serving.media import is_json, is_text

# The transport's own, and what the framework adds for itself.
_NOT_PASSED_ON = frozenset({"connection", "transfer-encoding", "keep-alive", "function-execution-id"})


@dataclass(frozen=True)
class HttpRequest:
    """What arrived. `path` is what follows the function's name, "" if nothing; `query` is undecoded, without `?`."""

    method: str
    path: str
    query: str
    headers: Iterable[tuple[str, str]]
    body: bytes
    remote_address: str
    scheme: str


def raw_event(request: HttpRequest, *, json_as_base64: bool = False) -> dict[str, Any]:
    """The event: `{"http": {headers, method, path, body, isBase64Encoded, queryString}}`.

    Text is passed as text when it is UTF-8, all else as base64. The platform may do the latter with JSON too
    (`json_as_base64`): functions have to honour the flag.
    """
    headers = _joined(request.headers)
    forwarded = (headers.get("x-forwarded-for"), request.remote_address)
    headers["x-forwarded-for"] = ", ".join(filter(None, forwarded))
    headers["x-forwarded-proto"] = request.scheme
    content_type = headers.get("content-type", "")
    text = None
    if not request.body or (is_text(content_type) and not (json_as_base64 and is_json(content_type))):
        text = _utf8(request.body)
    body = base64.b64encode(request.body).decode("ascii") if text is None else text
    return {
        "http": {
            "headers": headers,
            "method": request.method,
            "path": request.path,
            "body": body,
            "isBase64Encoded": text is None,
            "queryString": request.query,
        }
    }


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names in lower case; the values of a repeated one joined by commas."""
    headers: dict[str, str] = {}
    for mixed_case, value in pairs:
        name = mixed_case.lower()
        if name not in _NOT_PASSED_ON:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _utf8(body: bytes) -> str | None:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return None
