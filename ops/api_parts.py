"""The fixed parts of the API's description: its head, security, headers, and what every reply looks like."""

from collections.abc import Iterable
from typing import Any

from getsmart.errors import GetSmartError
from getsmart.replies import DOCS_PATH

Json = dict[str, Any]

_REQUEST_ID = "req_01ARZ3NDEKTSV4RRFFQ69G5FAV"

HEAD: Json = {
    "openapi": "3.1.0",
    "info": {
        "title": "GetSmart Token API",
        "version": "1.0.0",
        "summary": "Wallets for learners, and the GETS they earn.",
        "description": (
            "GetSmart Token (GETS) is an ERC-20 token on Polygon that rewards learning. Amounts are decimal strings in "
            "whole GETS, times are RFC 3339 in UTC, unknown fields and query names are refused. Money calls need an "
            "`Idempotency-Key`, and one key never has two effects. Every error has a code; they are listed at the end."
        ),
        "license": {"name": "MIT", "identifier": "MIT"},
    },
    "servers": [{"url": "/v1", "description": "The server that this description comes from."}],
}

SECURITY: Json = {
    "apiKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "gsk_<mode>_<id>_<secret>",
        "description": "An API key. The scope that an operation names is one that the key must have; `admin` has all.",
    }
}

PARAMETERS: Json = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": True,
        "description": "Chosen by you, one for each thing that shall happen once. Kept for ever.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        "example": "badge-rust-101-ada",
    }
}


def _header(description: str, **schema: Any) -> Json:
    return {"description": description, "schema": schema}


HEADERS: Json = {
    "X-Request-Id": {
        **_header(
            "Yours, if you sent 1 to 64 of `A-Z a-z 0-9 . _ -`, else ours.",
            type="string",
            pattern="^[A-Za-z0-9._-]{1,64}$",
        ),
        "required": True,
    },
    "traceparent": {
        **_header(
            "This call in its trace (W3C Trace Context): the trace of your `traceparent`, else a new one.",
            type="string",
            pattern="^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$",
        ),
        "required": True,
    },
    "RateLimit-Limit": _header("Calls that the key may make in its window.", type="integer", minimum=0),
    "RateLimit-Remaining": _header("Calls that are left now.", type="integer", minimum=0),
    "RateLimit-Reset": _header("Seconds until there are more.", type="integer", minimum=0),
    "Idempotent-Replayed": _header(
        "Whether an earlier call with this key had this answer.", type="string", enum=["true", "false"]
    ),
    "Retry-After": _header("Seconds to wait before the next attempt.", type="integer", minimum=1),
}


def envelope(data: Json) -> Json:
    """What a success looks like around its data."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["status", "data", "message"],
        "properties": {"status": {"const": "success"}, "data": data, "message": {"type": "string"}},
    }


def error_schema(codes: list[str]) -> Json:
    """What an error looks like."""
    detail = {
        "type": "object",
        "additionalProperties": False,
        "required": ["field", "problem"],
        "properties": {"field": {"type": "string"}, "problem": {"type": "string"}},
    }
    error = {
        "type": "object",
        "additionalProperties": False,
        "required": ["code", "message", "request_id", "details", "docs"],
        "properties": {
            "code": {"type": "string", "enum": codes},
            "message": {"type": "string", "description": "One safe sentence."},
            "request_id": {"type": "string", "description": "Tell us this one when you ask."},
            "details": {"type": "array", "items": detail, "description": "Each field that is wrong, and why."},
            "docs": {"type": "string", "description": "Where the code is explained."},
        },
    }
    return {
        "type": "object",
        "description": "Why a call was refused or failed.",
        "additionalProperties": False,
        "required": ["status", "error"],
        "properties": {"status": {"const": "error"}, "error": error},
    }


def failure(error: type[GetSmartError]) -> Json:
    """An example of an error's body."""
    is_invalid = error.code == "invalid_request"
    content = {
        "code": error.code,
        "message": error.safe_message,
        "request_id": _REQUEST_ID,
        "details": [{"field": "amount", "problem": "must be more than zero"}] if is_invalid else [],
        "docs": DOCS_PATH + error.code,
    }
    return {"status": "error", "error": content}


def failures(codes: Iterable[str], headers: Json, *, is_retryable: bool) -> Json:
    """The response for errors of one status."""
    listed = list(codes)
    retry = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}} if is_retryable else {}
    return {
        "description": ", ".join(f"`{code}`" for code in listed),
        "headers": {**headers, **retry},
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Error"},
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in listed},
            }
        },
    }
