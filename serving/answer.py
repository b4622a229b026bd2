"""What a function returned, as an HTTP answer: the platform's translation, with its errors."""

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any

from serving.media import is_json, is_text

BAD_MESSAGE = "Response is not valid 'message/http'."
BAD_CONTENT = "Response type in header did not match generated content type."
BAD_EXTENSION = "Response is not valid '{}'."
NOT_FOUND = "The requested resource does not exist."
NO_PROPERTY = "Response does not include requested property."
PROCESSING = "There was an error processing your request."
NOT_AUTHENTICATED = "Authentication is possible but has failed or not yet been provided."
TOO_LARGE = "Request larger than allowed: {} > {} bytes."

EXTENSIONS = ("json", "html", "svg", "text", "http")
_PROJECTED = {"html": "text/html", "svg": "image/svg+xml", "text": "text/plain"}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# The transport sets these itself.
_TRANSPORT = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})
_CORS_METHODS = "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH"
_CORS_HEADERS = "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent"


@dataclass(frozen=True)
class Answer:
    """Status, headers in order (repeated ones several times) and the bytes of the body."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = field(default=())


class PlatformError(Exception):
    """An answer the platform gives in place of the function: `status` and a one-sentence text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def refusal(error: PlatformError, code: str) -> Answer:
    """The platform's error body: `{"error": text, "code": activation id}`."""
    body = _compact({"error": error.text, "code": code})
    return Answer(error.status, body, (("Content-Type", "application/json"),))


def cors_headers(requested: str | None) -> tuple[tuple[str, str], ...]:
    """What the platform adds to each answer; `requested` are the headers a preflight asks for."""
    return (
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Methods", _CORS_METHODS),
        ("Access-Control-Allow-Headers", requested or _CORS_HEADERS),
    )


def from_result(result: dict[str, Any], extension: str = "http") -> Answer:
    """Translate a result. Raises PlatformError where the platform answers in place of the function.

    `extension` is the suffix of the function's name in the URL: `http` reads statusCode, headers and body, `json`
    shows the whole result, the others the body alone. An `error` in the result takes the place of all else.
    """
    if "error" in result:
        selected: Any = result["error"]
    elif extension not in _PROJECTED:
        selected = result
    elif "body" in result:
        selected = result["body"]
    else:
        raise PlatformError(404, NO_PROPERTY)
    return _from_http(selected) if extension == "http" else _from_extension(selected, extension)


def _from_extension(value: Any, extension: str) -> Answer:
    if extension == "json":
        if not isinstance(value, dict | list):
            raise PlatformError(400, BAD_EXTENSION.format("application/json"))
        return Answer(200, _compact(value), (("Content-Type", "application/json"),))
    content_type = _PROJECTED[extension]
    if isinstance(value, str):
        text = value
    elif extension == "text":
        text = json.dumps(value, indent=2, ensure_ascii=False)
    else:
        raise PlatformError(400, BAD_EXTENSION.format(content_type))
    return Answer(200, text.encode(), (("Content-Type", f"{content_type}; charset=UTF-8"),))


def _from_http(message: Any) -> Answer:
    if not isinstance(message, dict):
        raise PlatformError(400, BAD_MESSAGE)
    headers = _headers(message.get("headers", {}))
    body = message.get("body")
    empty = body is None or body == ""
    status = _status(message["statusCode"]) if "statusCode" in message else (204 if empty else 200)
    content_type = next((value for name, value in headers if name.lower() == "content-type"), None)
    others = tuple(pair for pair in headers if pair[0].lower() != "content-type")
    if empty:
        return Answer(status, b"", others)
    content_type, content = _content(body, content_type)
    return Answer(status, content, (("Content-Type", content_type), *others))


def _status(value: Any) -> int:
    """An integer or a string of digits that is a final HTTP status."""
    number = value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        number = int(value)
    if number is None or not 200 <= number <= 599:
        raise PlatformError(400, BAD_MESSAGE)
    return number


def _headers(value: Any) -> list[tuple[str, str]]:
    """A mapping of names to a string, number, boolean or a list of these (a header that is repeated)."""
    if not isinstance(value, dict):
        raise PlatformError(400, BAD_MESSAGE)
    pairs = [
        (name, _header_value(one))
        for name, given in value.items()
        for one in (given if isinstance(given, list) else [given])
    ]
    if not all(_TOKEN.fullmatch(name) for name, _ in pairs):
        raise PlatformError(400, BAD_MESSAGE)
    return [pair for pair in pairs if pair[0].lower() not in _TRANSPORT]


def _header_value(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str) and _VALUE.fullmatch(value):
        return value
    raise PlatformError(400, BAD_MESSAGE)


def _content(body: Any, content_type: str | None) -> tuple[str, bytes]:
    """Content type and bytes: JSON of what is not a string; of a string its text, or what its base64 holds."""
    if not isinstance(body, str):
        if content_type is not None and not is_json(content_type):
            raise PlatformError(400, BAD_CONTENT)
        return content_type or "application/json", _compact(body)
    if content_type is None:
        return "text/html; charset=UTF-8", body.encode()
    if is_text(content_type) and not is_json(content_type):
        return content_type, body.encode()
    try:
        return content_type, base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        if is_json(content_type):  # JSON that happens to be valid base64 is decoded: a legacy of the platform
            return content_type, body.encode()
        raise PlatformError(400, BAD_CONTENT) from None


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
