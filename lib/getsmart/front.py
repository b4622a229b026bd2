"""The front of every function: a raw web event becomes a Request, a Reply becomes the platform's response.

`function` makes the plain two-argument `main` that the runtime calls (it reads `__code__.co_argcount`). A call that is
wrong in its method, the form of its key or its JSON is refused here, before anything else is imported: neither pydantic
nor the driver, nor what is slow to import in the standard library (dataclasses). All else stands in handler.py, which
is imported with the first call that gets past. Nothing escapes: an uncaught exception would reach the caller as a 400
that says nothing.
"""

import json
import sys
import time
from _thread import allocate_lock  # what threading.Lock is; threading itself is not worth its import here
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar, cast

from getsmart import calls, clock, jsontext, log, replies, trace, warm
from getsmart.errors import (
    DatabaseUnavailable,
    ForbiddenScope,
    GetSmartError,
    Internal,
    InvalidJson,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    UnsupportedMediaType,
)
from getsmart.ids import request_id_or_new
from getsmart.replies import Reply
from getsmart.tokens import bearer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import BaseModel

    from getsmart.models import Caller
    from getsmart.web import Contract

Input = TypeVar("Input", bound="BaseModel")

# One handler at a time, whichever function it is for: where two threads meet in a circle, as in pymongo, one fails.
_IMPORTING = allocate_lock()

MOST_BODY_BYTES = 768 * 1024  # 1 MB of event once the platform has made base64 of it
_MARK = {"X-Getsmart": "1"}  # tells the gateway that a function of ours speaks, and not the platform; docs/adr/0107
_ALWAYS = {"Cache-Control": "no-store", "Content-Type": "application/json; charset=utf-8"}


class Request(Generic[Input]):
    """One call, understood: who, what, and the exact bytes it came as.

    `input` is the validated body of a POST or the query of a GET. `route` is the public path. Reply headers that
    the edge adds (rate limit) collect in `reply_headers`.
    """

    def __init__(
        self,
        method: str,
        route: str,
        headers: "Mapping[str, str]",
        query: str,
        body: bytes,
        request_id: str,
    ) -> None:
        """`headers` by their names in lower case; `query` undecoded, without `?`."""
        self.method, self.route, self.headers, self.query, self.body = method, route, headers, query, body
        self.request_id = request_id
        self.reply_headers: dict[str, str] = {}
        self.proven_caller: Caller | None = None
        self.valid_input: Input | None = None
        self.token = ""
        self.json: Any = None

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
        """The caller's address: of what X-Forwarded-For says only what our own hops added, else "".

        FORWARDED_HOPS is how many: 1 where callers meet the platform, which adds whom it sees; 2 behind a gateway,
        which says who calls, and the platform adds the gateway. What a caller wrote itself stands further left.
        """
        from getsmart import config

        hops = config.read(config.DeploymentSettings).forwarded_hops
        told = self.headers.get("x-forwarded-for", "").split(",")
        return told[-hops].strip() if len(told) >= hops else ""

    @property
    def body_digest(self) -> str:
        """SHA-256 of the canonical body: the same JSON in another order or spacing is the same request."""
        import hashlib

        canonical = json.dumps(self.json, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


class Ask(NamedTuple):
    """What a method needs before anything is imported for it: an API key's form, a body that is one JSON object."""

    key: bool
    json: bool


NOTHING = Ask(key=False, json=False)
KEY = Ask(key=True, json=False)
JSON = Ask(key=False, json=True)
KEY_AND_JSON = Ask(key=True, json=True)


class Main(Protocol):
    """A function's `main`: what it asks of each method, and the contracts behind it (they are imported then)."""

    asks: "Mapping[str, Ask]"
    contracts: "Callable[[], Sequence[Contract[Any]]]"

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """What the platform calls."""


def function(entry: str, **asks: Ask) -> Main:
    """The `main` of the function whose `__main__.py` is `entry`; handler.py beside it answers these methods."""
    found: list[Sequence[Contract[Any]]] = []

    def contracts() -> "Sequence[Contract[Any]]":
        if not found:
            with _IMPORTING:
                if not found:
                    found.append(_handler(entry).main.contracts())
        return found[0]

    return main_of(asks, contracts)


def _handler(entry: str) -> Any:
    """handler.py beside the file, as a module of its own: one process may serve many functions."""
    from importlib.util import module_from_spec, spec_from_file_location

    path = entry.rpartition("/")[0] + "/handler.py"
    spec = spec_from_file_location("handler:" + path, path)
    if spec is None or spec.loader is None:
        raise Internal("no handler")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def main_of(asks: "Mapping[str, Ask]", contracts: "Callable[[], Sequence[Contract[Any]]]") -> Main:
    """The `main` of a function that answers these methods, each by the contract for it."""
    starts = iter(("cold",))

    def main(event: dict[str, Any], context: Any) -> dict[str, Any]:
        started = time.perf_counter()
        request, problem = _read(event, _route(context))
        call = _begin(request)
        try:
            reply, outcome = _answer(made, request, problem)
            _log(request, reply, outcome, start=next(starts, "warm"), duration_ms=_ms_since(started), **call.costs())
        finally:
            clock.end_call()
            calls.enter(None)
        _keep_failures(call)
        warm.ready()  # only now: the first call imports what an endpoint does its work with
        return _response(request, reply, call)

    made = cast(Main, main)
    made.asks, made.contracts = asks, contracts
    return made


def _begin(request: Request[Any]) -> calls.Call:
    """The call that this thread works for from here on, in the trace that its headers tell of."""
    follows = trace.follow(request.headers.get("traceparent", ""), request.headers.get("tracestate", ""))
    call = calls.Call(request.request_id, request.route.removeprefix("/v1/"), follows)
    calls.enter(call)
    clock.begin_call()
    return call


def _keep_failures(call: calls.Call) -> None:
    """Keep what failed in it where the operator finds it: the platform keeps no record of a web call."""
    if call.failures:
        try:
            from getsmart.stores import failures
        except ImportError:  # a function without a database
            return
        failures.keep(call.take_failures())


def _answer(main: Main, request: Request[Any], problem: GetSmartError | None) -> tuple[Reply, dict[str, str]]:
    """The reply, and what the log says of how it came: a code, and the error's type and text."""
    try:
        _check(main.asks, request, problem)
        contract = next(one for one in main.contracts() if one.method == request.method)
        reply = contract.answer(request)
    except Exception as error:  # noqa: BLE001 - nothing may escape: the platform would answer a mute 400
        ours = _as_ours(error)
        return replies.failure(ours, request.request_id), {"code": ours.code, **log.told(error)}
    return reply, {"code": "ok" if reply.status < 500 else "fail"}


def _check(asks: "Mapping[str, Ask]", request: Request[Any], problem: GetSmartError | None) -> None:
    """The cheap refusals. Raises `problem`, MethodNotAllowed, Unauthenticated, UnsupportedMediaType or InvalidJson."""
    if problem is not None:
        raise problem
    ask = asks.get(request.method)
    if ask is None:
        error = MethodNotAllowed(f"{request.method} on {request.route}")
        error.headers["Allow"] = ", ".join(asks)
        raise error
    if ask.key:
        request.token = bearer(request.headers.get("authorization", ""))
    if ask.json:
        request.json = read_json(request)


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


def _bytes(http: "Mapping[str, Any]") -> bytes:
    """The exact bytes of the body, however the platform carried them."""
    body = http.get("body") or ""
    try:
        raw = _unpacked(body) if http.get("isBase64Encoded") else str(body).encode()
    except ValueError:  # binascii.Error and UnicodeEncodeError are
        raise InvalidJson("the body is not what its encoding flag says") from None
    if len(raw) > MOST_BODY_BYTES:
        raise TooLarge(f"{len(raw)} bytes")
    return raw


def _unpacked(body: Any) -> bytes:
    from base64 import b64decode

    return b64decode(body, validate=True)


def read_json(request: Request[Any]) -> dict[str, Any]:
    """One JSON object in UTF-8. Raises UnsupportedMediaType or InvalidJson; duplicate names are no valid object."""
    if request.media_type != "application/json":
        raise UnsupportedMediaType(request.media_type[:60])
    try:
        content = jsontext.parse(request.body)
    except ValueError as error:
        raise InvalidJson(str(error)[:60]) from None
    if not isinstance(content, dict):
        raise InvalidJson("the body is no object")
    return content


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


def _response(request: Request[Any], reply: Reply, call: calls.Call) -> dict[str, Any]:
    """Only these three keys: a caller can append .json to the URL and see the whole returned object."""
    own = {**_ALWAYS, "X-Request-Id": request.request_id, "traceparent": call.trace.parent}
    return {
        "statusCode": reply.status,
        "headers": {**own, **request.reply_headers, **reply.headers, **_MARK},
        "body": reply.body,
    }


def _log(request: Request[Any], reply: Reply, outcome: "Mapping[str, str]", **fields: Any) -> None:
    """The one line of a call."""
    caller = request.proven_caller
    log.event(
        "request",
        level="error" if reply.status >= 500 else "info",
        method=request.method,
        status=reply.status,
        **outcome,
        client_id=caller.client_id if caller else None,
        key_id=caller.key_id if caller else None,
        **fields,
    )


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
