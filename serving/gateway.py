"""From a URL to a function and back, with the platform's answers where there is no function or a broken one."""

import hmac
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from serving.answer import (
    EXTENSIONS,
    NOT_AUTHENTICATED,
    NOT_FOUND,
    TOO_LARGE,
    Answer,
    PlatformError,
    cors_headers,
    from_result,
    refusal,
)
from serving.event import HttpRequest, raw_event
from serving.loader import Context, Loaded

REQUEST_BYTES = 1_048_576
WEB_SECURE_HEADER = "X-Require-Whisk-Auth"
_PREFIX = "/v1/"


class Function(Protocol):
    """What the gateway needs to know of a function of project.yml."""

    @property
    def package(self) -> str:
        """Name of its package."""

    @property
    def name(self) -> str:
        """Name within the package."""

    @property
    def path(self) -> Path:
        """Folder that holds `__main__.py`."""

    @property
    def web(self) -> bool | str:
        """False when it is not reachable over HTTP."""

    @property
    def timeout_ms(self) -> int:
        """Its time limit."""

    @property
    def memory_mb(self) -> int:
        """Its memory limit."""

    @property
    def logs_kb(self) -> int:
        """What it may print in one call."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables it is given: by name the text of project.yml, a literal or one to put values in."""


class Callee(Protocol):
    """A function that can be called, wherever it runs."""

    def context(self) -> Context:
        """The context of a call that starts now."""

    def call(self, event: dict[str, Any], context: Context) -> dict[str, Any]:
        """The result as the platform sees it. Raises PlatformError where it would answer in the function's place."""


def in_process(function: Function) -> Loaded:
    """Run a function in this process: fast, and nothing is limited."""
    return Loaded(function.package, function.name, Path(function.path), function.timeout_ms)


@dataclass(frozen=True)
class _Route:
    function: Callee
    extension: str
    rest: str


class Gateway:
    """Answers requests for `/v1/<package>/<function>[.extension][/more/path]`."""

    def __init__(
        self,
        functions: Iterable[Function],
        *,
        run: Callable[[Function], Callee] = in_process,
        limit: Callable[[], AbstractContextManager[None]] = nullcontext,
        json_as_base64: bool = False,
        web_secure: str | None = None,
    ) -> None:
        """Only functions with `web` are reachable; nothing is imported before its first call.

        `run` decides where a function runs; `limit` is entered for each call and may raise PlatformError. `web_secure`
        is what each call but a preflight has to bring as X-Require-Whisk-Auth, as functions with webSecure ask for it.
        """
        self._json_as_base64 = json_as_base64
        self._web_secure = web_secure
        self._limit = limit
        self._functions = {(one.package, one.name): run(one) for one in functions if one.web}

    def answer(self, request: HttpRequest) -> Answer:
        """Answer one request; whatever a function does, this returns."""
        requested = _header(request, "access-control-request-headers")
        activation_id = "0" * 32
        try:
            route = self._route(request.path)
            context = route.function.context()
            activation_id = context.activation_id
            if request.method == "OPTIONS":
                answer = Answer(200)
            else:
                self._authenticate(request)
                event = raw_event(replace(request, path=route.rest), json_as_base64=self._json_as_base64)
                _check_size(len(event["http"]["body"].encode()))
                with self._limit():
                    result = route.function.call(event, context)
                answer = from_result(result, route.extension)
        except PlatformError as error:
            answer = refusal(error, activation_id)
        return _with_platform_headers(answer, requested, activation_id)

    def _authenticate(self, request: HttpRequest) -> None:
        given = _header(request, WEB_SECURE_HEADER.lower()) or ""
        if self._web_secure and not hmac.compare_digest(given.encode(), self._web_secure.encode()):
            raise PlatformError(401, NOT_AUTHENTICATED)

    def _route(self, path: str) -> _Route:
        package, _, after = path.removeprefix(_PREFIX).partition("/")
        segment, slash, rest = after.partition("/")
        name, dot, extension = segment.rpartition(".")
        if not dot or extension not in EXTENSIONS:
            name, extension = segment, "http"
        function = self._functions.get((package, name))
        if not path.startswith(_PREFIX) or function is None:
            raise PlatformError(404, NOT_FOUND)
        return _Route(function, extension, slash + rest)


def _check_size(size: int) -> None:
    if size > REQUEST_BYTES:
        raise PlatformError(413, TOO_LARGE.format(size, REQUEST_BYTES))


def _header(request: HttpRequest, wanted: str) -> str | None:
    return next((value for name, value in request.headers if name.lower() == wanted), None)


def _with_platform_headers(answer: Answer, requested: str | None, activation_id: str) -> Answer:
    """The platform's own headers take the place of the function's."""
    own = (*cors_headers(requested), ("X-Openwhisk-Activation-Id", activation_id))
    names = {name.lower() for name, _ in own}
    others = tuple(pair for pair in answer.headers if pair[0].lower() not in names)
    return replace(answer, headers=(*others, *own))
