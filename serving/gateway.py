"""From a URL to a function and back, with the platform's answers where there is no function or a broken one."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from serving.answer import EXTENSIONS, NOT_FOUND, TOO_LARGE, Answer, PlatformError, cors_headers, from_result, refusal
from serving.event import HttpRequest, raw_event
from serving.loader import Loaded

REQUEST_BYTES = 1_048_576
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


@dataclass(frozen=True)
class _Route:
    function: Loaded
    extension: str
    rest: str


class Gateway:
    """Answers requests for `/v1/<package>/<function>[.extension][/more/path]`."""

    def __init__(self, functions: Iterable[Function], *, json_as_base64: bool = False) -> None:
        """Only functions with `web` are reachable; nothing is imported before its first call."""
        self._json_as_base64 = json_as_base64
        self._functions = {
            (one.package, one.name): Loaded(one.package, one.name, Path(one.path), one.timeout_ms)
            for one in functions
            if one.web
        }

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
                event = raw_event(replace(request, path=route.rest), json_as_base64=self._json_as_base64)
                _check_size(len(event["http"]["body"].encode()))
                answer = from_result(route.function.call(event, context), route.extension)
        except PlatformError as error:
            answer = refusal(error, activation_id)
        return _with_platform_headers(answer, requested, activation_id)

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
