"""The edge: what an endpoint promises for a method; how a request that got past the front is proven and validated.

A handler.py declares its contracts with `endpoint` and, for several methods, `resource`. Which of them a call meets,
and what becomes of an error, is the front's business.
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from getsmart import front, log
from getsmart.errors import InvalidRequest
from getsmart.front import Ask, Main, Request
from getsmart.replies import Reply

Input = TypeVar("Input", bound=BaseModel)

_MOST_DETAILS = 100  # a body of nothing but unknown names must not make a reply that the platform refuses to carry

Handler = Callable[[Request[Input]], Reply]
_IN_QUERY = frozenset({"GET", "DELETE"})


class Contract(NamedTuple, Generic[Input]):
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

    @property
    def asks(self) -> Ask:
        """What the front has to ask of a request of this method."""
        in_body = self.takes is not None and self.method not in _IN_QUERY
        return Ask(key=self.scope is not None, json=in_body and self.reads is None)

    def answer(self, request: Request[Input]) -> Reply:
        """Prove the caller, understand the request, and hand it over. Raises what either raises."""
        in_query = self.method in _IN_QUERY
        if self.scope is not None:
            from getsmart.auth import admit

            caller = admit(request.token, self.scope, request.source, request.reply_headers, also=self.also)
            request.proven_caller = caller._replace(request_id=request.request_id)
        if self.reads is not None:
            request.json = self.reads(request)
        if self.takes is not None:
            request.valid_input = _validate(self.takes, read_query(request.query) if in_query else request.json)
        if request.query and self.reads is None and not (in_query and self.takes):
            refuse_query(request.query)
        return self.handler(request)


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
    if scope is not None:
        import getsmart.auth  # noqa: F401 - now, where imports happen one at a time; an open function ships no driver
    return lambda handler: _main_of((Contract(method, scope, takes, handler, reads, also),))


def resource(*methods: Main) -> Main:
    """Make one `main` of several that `endpoint` made, each for a method of its own."""
    return _main_of(tuple(contract for one in methods for contract in one.contracts()))


def _main_of(contracts: tuple[Contract[Any], ...]) -> Main:
    return front.main_of({one.method: one.asks for one in contracts}, lambda: contracts)


class _NoQuery(BaseModel):
    model_config = {"extra": "forbid"}


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
