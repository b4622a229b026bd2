"""What every reply body looks like: one envelope for success, one for errors."""

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from getsmart.errors import GetSmartError

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCS_PATH = "/v1/ops/openapi#errors/"


class Reply(NamedTuple):
    """A finished answer: `body` is the exact JSON text, so that a replay can be byte for byte."""

    status: int
    body: str
    headers: "Mapping[str, str]" = MappingProxyType({})


def dump_json(value: Any) -> str:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def success(status: int, data: Any, message: str, headers: "Mapping[str, str] | None" = None) -> Reply:
    """`{"status":"success","data":...,"message":...}`."""
    body = dump_json({"status": "success", "data": data, "message": message})
    return Reply(status, body, headers or {})


def failure(error: GetSmartError, request_id: str) -> Reply:
    """`{"status":"error","error":{...}}` with the safe sentence, never the log message."""
    content = {
        "code": error.code,
        "message": error.safe_message,
        "request_id": request_id,
        "details": error.details,
        "docs": DOCS_PATH + error.code,
    }
    headers = dict(error.headers)
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    return Reply(error.status, dump_json({"status": "error", "error": content}), headers)
