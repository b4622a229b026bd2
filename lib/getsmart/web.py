"""The edge: a raw web event becomes a typed Request, a Reply becomes the platform's response, errors become replies.

`endpoint` makes the plain two-argument `main` that the runtime calls (it reads `__code__.co_argcount`). Nothing
escapes it: an uncaught exception would reach the caller as a 400 that says nothing. Refusals that need no database
(method, key form, body) come before anything that loads the driver: an endpoint's module imports no service, only its
handler does.
"""

import base64
import binascii
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from getsmart import log, replies, warm
from getsmart.errors import (
    DatabaseUnavailable,
    ForbiddenScope,
    GetSmartError,
    Internal,
    InvalidJson,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    UnsupportedMediaType,
)
from getsmart.ids import request_id_or_new
from getsmart.replies import Reply

if TYPE_CHECKING:
    from getsmart.models import Caller

Input = TypeVar("Input", bound=BaseModel)

MOST_BODY_BYTES = 768 * 1024  # 1 MB of event once the platform has made base64 of it
_MOST_DETAILS = 100  # a body of nothing but unknown names must not make a reply that the platform refuses to carry
_ALWAYS = {"Cache-Control": "no-store", "Content-Type": "application/json; charset=utf-8"}


@dataclass
class Request(Generic[Input]):
    """One call, understood: who, what, and the exact bytes it came as.

    `input` is the validated body of a POST or the query of a GET. `route` is the public path. Reply headers that
    the edge adds (rate limit) collect in `reply_headers`.
    """

    method: str
    route: str
    headers: Mapping[str, str]
    query: str
    body: bytes
    request_id: str
    reply_headers: dict[str, str] = field(default_factory=dict)
    proven_caller: "Caller | None" = None
    valid_input: Input | None = None
    json: Any = None

    @property
    def caller(self) -> "Caller":
        """Who calls. Raises Internal in an endpoint without a scope."""
        if self.proven_caller is None:
            raise Internal("this endpoint authenticates nobody")
        return self.proven_caller

    @property
    def input(self) -> Input:
        """The validated body or query. Raises Internal in an endpoint that takes none."""
        if self.valid_input is None:
            raise Internal("this endpoint takes no input")
        return self.valid_input

    def require(self, scope: str) -> None:
        """Raise ForbiddenScope unless the key has this scope; for a call whose scope depends on what it asks for."""
        if not self.caller.may(scope):
            raise ForbiddenScope(f"{self.caller.key_id} lacks {scope}")

    @property
    def media_type(self) -> str:
        """What the body says it is, in lower case and without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def source(self) -> str:
        """The caller's address as the platform's front end saw it: the last hop it added."""
        return self.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()

    @property
    def body_digest(self) -> str:
        """SHA-256 of the canonical body: the same JSON in another order or spacing is the same request."""
        canonical = json.dumps(self.json, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


Handler = Callable[[Request[Input]], Reply]
_IN_QUERY = frozenset({"GET", "DELETE"})


@dataclass(frozen=True)
class Contract(Generic[Input]):
    """What an endpoint promises for one method; the API's description is generated from it.

    `takes` is the model of the query (GET, DELETE) or of the body; `reads` makes the body's content of the request, by
    default one JSON object. `also` are scopes that admit beside `scope`: which of them a call needs depends on what it
    asks for, and whoever handles it asks for that one (Request.require).
    """

    method: str
    scope: str | None
    takes: type[Input] | None
    handler: Handler[Input]
    reads: Callable[[Request[Any]], Any] | None = None
    also: tuple[str, ...] = ()

    def answer(self, request: Request[Input]) -> Reply:
        """Understand the request, cheap refusals first, and hand it over. Raises what either raises."""
        token = _token(request.headers) if self.scope is not None else ""
        in_query = self.method in _IN_QUERY
        if self.takes is not None and not in_query:
            request.json = (self.reads or read_json)(request)
        if self.scope is not None:
            from getsmart.auth import admit

            caller = admit(token, self.scope, request.source, request.reply_headers, also=self.also)
            request.proven_caller = replace(caller, request_id=request.request_id)
        if self.takes is not None:
            request.valid_input = _validate(self.takes, read_query(request.query) if in_query else request.json)
        if request.query and self.reads is None and not (in_query and self.takes):
            refuse_query(request.query)
        return self.handler(request)


class Main(Protocol):
    """A function's `main`, with the contracts it answers."""

    contracts: tuple[Contract[Any], ...]

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """What the platform calls."""


def endpoint(
    method: str,
    *,
    scope: str | None = None,
    takes: type[Input] | None = None,
    reads: Callable[[Request[Any]], Any] | None = None,
    also: tuple[str, ...] = (),
) -> Callable[[Handler[Input]], Main]:
    """Make `main(event, context)` of a handler that answers one method; see Contract.

    `scope` is what the API key must have; None means the endpoint authenticates nobody.
    """
    return lambda handler: _main_of((Contract(method, scope, takes, handler, reads, also),))


def resource(*methods: Main) -> Main:
    """Make one `main` of several that `endpoint` made, each for a method of its own."""
    return _main_of(tuple(contract for one in methods for contract in one.contracts))


def _main_of(contracts: tuple[Contract[Any], ...]) -> Main:
    def main(event: dict[str, Any], context: Any) -> dict[str, Any]:
        started = time.perf_counter()
        request, problem = _read(event, _route(context))
        reply = replies.failure(problem, request.request_id) if problem else _answer(contracts, request)
        _log(request, reply, started)
        warm.ready()  # only now: the first call imports what an endpoint does its work with
        return _response(request, reply)

    made = cast(Main, main)
    made.contracts = contracts
    return made


def _contract_for(contracts: tuple[Contract[Any], ...], request: Request[Any]) -> Contract[Any]:
    for contract in contracts:
        if contract.method == request.method:
            return contract
    error = MethodNotAllowed(f"{request.method} on {request.route}")
    error.headers["Allow"] = ", ".join(contract.method for contract in contracts)
    raise error


def _answer(contracts: tuple[Contract[Any], ...], request: Request[Any]) -> Reply:
    try:
        return _contract_for(contracts, request).answer(request)
    except Exception as error:  # noqa: BLE001 - nothing may escape: the platform would answer a mute 400
        ours = _as_ours(error)
        log.event(
            "request.failed",
            level="error" if ours.status >= 500 else "info",
            request_id=request.request_id,
            code=ours.code,
            error_type=type(error).__name__,
            error=log.redact(str(error))[:500],
        )
        return replies.failure(ours, request.request_id)


class _NoQuery(BaseModel):
    model_config = {"extra": "forbid"}


def _token(headers: Mapping[str, str]) -> str:
    from getsmart.tokens import bearer

    return bearer(headers.get("authorization", ""))


def _read(event: dict[str, Any], route: str) -> tuple[Request[Any], GetSmartError | None]:
    """The request in an event of `web: raw`, and why it can't be understood, if so."""
    http = event.get("http") or {}
    headers = {str(name).lower(): str(value) for name, value in (http.get("headers") or {}).items()}
    request: Request[Any] = Request(
        method=str(http.get("method", "")).upper(),
        route=route,
        headers=headers,
        query=str(http.get("queryString") or ""),
        body=b"",
        request_id=request_id_or_new(headers.get("x-request-id", "")),
    )
    try:
        if http.get("path") not in (None, "", "/"):
            raise NotFound("extra path")
        request.body = _bytes(http)
    except GetSmartError as error:
        return request, error
    return request, None


def _route(context: Any) -> str:
    """`/v1/<package>/<function>` of the running function: part of an idempotency key's scope."""
    name = str(getattr(context, "function_name", "") or "")
    return "/v1/" + "/".join(name.strip("/").split("/")[-2:])


def _bytes(http: Mapping[str, Any]) -> bytes:
    """The exact bytes of the body, however the platform carried them."""
    body = http.get("body") or ""
    try:
        raw = base64.b64decode(body, validate=True) if http.get("isBase64Encoded") else str(body).encode()
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raise InvalidJson("the body is not what its encoding flag says") from None
    if len(raw) > MOST_BODY_BYTES:
        raise TooLarge(f"{len(raw)} bytes")
    return raw


def read_json(request: Request[Any]) -> dict[str, Any]:
    """One JSON object in UTF-8. Raises UnsupportedMediaType or InvalidJson; duplicate names are no valid object."""
    if request.media_type != "application/json":
        raise UnsupportedMediaType(request.media_type[:60])
    try:
        content = parse_json(request.body)
    except ValueError as error:
        raise InvalidJson(str(error)[:60]) from None
    if not isinstance(content, dict):
        raise InvalidJson("the body is no object")
    return content


def parse_json(raw: bytes) -> Any:
    """What JSON in UTF-8 says. Raises ValueError for anything else, also duplicate names and unpaired surrogates."""
    try:
        content = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(content, ensure_ascii=False).encode()  # unpaired surrogates can't be kept or sent
    except (ValueError, RecursionError) as error:
        raise ValueError(type(error).__name__) from None
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("duplicate name")
    return content


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def refuse_query(query: str) -> None:
    """Raise InvalidRequest for each name in the query of an endpoint that takes none."""
    _validate(_NoQuery, read_query(query))


def read_query(query: str) -> dict[str, str]:
    """The names and values of a query string. Raises InvalidRequest for a repeated name or broken encoding."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=50)
    except ValueError:
        raise InvalidRequest.field("query", "must be name=value pairs in UTF-8") from None
    content = dict(pairs)
    if len(content) != len(pairs):
        repeated = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise InvalidRequest.field(_field_name(repeated), "must be given once")
    return content


def _validate(model: type[Input], content: Any) -> Input:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)[:_MOST_DETAILS]
        details = [describe(item) for item in problems]
        raise InvalidRequest("; ".join(sorted({item["field"] for item in details})), details=details) from None


def describe(item: Any) -> dict[str, str]:
    """Name the field as the caller wrote it; the value itself is never repeated."""
    name = ".".join(str(part) for part in item["loc"]) or item.get("ctx", {}).get("field") or "body"
    problems = {"missing": "is required", "extra_forbidden": "is not known"}
    return {"field": _field_name(name), "problem": problems.get(item["type"], item["msg"])}


def _field_name(name: str) -> str:
    """A name that the caller made up, fit for a reply and the log: not endless, and no address or key in it."""
    return log.redact(name[:500])[:100]


def _as_ours(error: Exception) -> GetSmartError:
    """Our own errors as they are; an outage of the database as such; anything else is a bug.

    The driver is recognised by name, so that refusals that need no database do not load it.
    """
    if isinstance(error, GetSmartError):
        return error
    names = {base.__name__ for base in type(error).__mro__ if base.__module__ == "pymongo.errors"}
    is_transient = bool(names) and (
        getattr(error, "timeout", False)
        or getattr(error, "has_error_label", lambda _: False)("TransientTransactionError")
    )
    if "ConnectionFailure" in names or is_transient:
        return DatabaseUnavailable(f"{type(error).__name__}")
    return Internal(f"{type(error).__name__}")


def _response(request: Request[Any], reply: Reply) -> dict[str, Any]:
    """Only these three keys: a caller can append .json to the URL and see the whole returned object."""
    headers = {**_ALWAYS, "X-Request-Id": request.request_id, **request.reply_headers, **reply.headers}
    return {"statusCode": reply.status, "headers": headers, "body": reply.body}


def _log(request: Request[Any], reply: Reply, started: float) -> None:
    caller = request.proven_caller
    log.event(
        "request",
        request_id=request.request_id,
        method=request.method,
        route=request.route,
        status=reply.status,
        client_id=caller.client_id if caller else None,
        key_id=caller.key_id if caller else None,
        duration_ms=round((time.perf_counter() - started) * 1000, 1),
    )
