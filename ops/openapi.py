"""The API's description (OpenAPI 3.1), made of the functions' contracts: the models that validate, the error tree.

`./doit openapi` writes docs/openapi.json and the copy that ops/openapi serves; `--check` changes nothing and fails when
either is not what the code says.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from getsmart import errors
from getsmart.web import Contract
from ops import api_parts
from ops.api_operations import OPERATIONS, TAGS, Document, Operation
from ops.api_schemas import NoExample, clean, example_of, examples_of, exclusive, parameter_schema
from ops.functions import ROOT, Function, load
from ops.package import kind_of
from serving.loader import Loaded

Json = dict[str, Any]

GUIDE = Path("docs/errors.md")
DOCUMENTED = Path("docs/openapi.json")
SERVED = Path("packages/ops/openapi/assets/openapi.json")
REF = "#/components/schemas/{model}"
_IN_QUERY = frozenset({"GET", "DELETE"})
_MONEY_ERRORS = (
    "idempotency_key_missing",
    "idempotency_key_invalid",
    "idempotency_in_progress",
    "idempotency_mismatch",
)


class Undescribed(Exception):
    """A function and ops/api_operations.py do not fit together; the text names each operation at fault."""


@dataclass(frozen=True)
class Endpoint:
    """One operation: the function, one of its contracts, and what is told of it."""

    function: Function
    contract: Contract[Any]
    told: Operation
    is_alone: bool
    purpose: str

    @property
    def is_money(self) -> bool:
        """Whether it needs an Idempotency-Key: its handler makes a claim."""
        return "claim_of" in self.contract.handler.__code__.co_names

    @cached_property
    def codes(self) -> list[str]:
        """Every error code it can answer, as follows from its contract, and those that are told; sorted by status."""
        found = {"internal", "invalid_request", "unavailable", *self.told.errors}
        in_query = self.contract.method in _IN_QUERY
        if "MONGODB_URI" in self.function.environment:
            found |= {"database_unavailable", "misconfigured"}
        if self.contract.scope is not None:
            found |= {"unauthenticated", "forbidden_scope", "forbidden_ip", "rate_limited"}
        if self.contract.takes is not None and not in_query:
            found |= {"invalid_json", "too_large", "unsupported_media_type"}
        if self.contract.takes is not None and _names_something(self.contract.takes):
            found |= {"not_found"}
        if _kind(self.function) == "write":
            found |= {"provider_rejected", "provider_unavailable", "deadline_exceeded"}
        if self.is_money:
            found |= {*_MONEY_ERRORS, "recovering"}
        return sorted(found, key=lambda code: (ERRORS[code].status, code))


def _tree(error: type[errors.GetSmartError]) -> Iterator[type[errors.GetSmartError]]:
    for child in error.__subclasses__():
        yield child
        yield from _tree(child)


ERRORS = {error.code: error for error in reversed(list(_tree(errors.GetSmartError)))}


_kind = cache(kind_of)  # it reads the library for each function anew


def _names_something(model: type[BaseModel]) -> bool:
    return any(name.endswith("_id") or name in {"email", "address"} for name in model.model_fields)


def endpoints(root: Path = ROOT) -> list[Endpoint]:
    """Every operation on the web, in the order of project.yml. Raises Undescribed for one that is not told of."""
    found, unknown = [], []
    for function in load(root):
        if function.web is False:
            continue
        loaded = Loaded(function.package, function.name, function.path, function.timeout_ms)
        main: Any = loaded.main()
        contracts = main.contracts()
        first = (sys.modules[contracts[0].handler.__module__].__doc__ or "").splitlines()[0]
        for contract in contracts:
            told = OPERATIONS.get((contract.method, function.route))
            if told is None:
                unknown.append(f"{contract.method} {function.route} is not in ops/api_operations.py")
                continue
            found.append(Endpoint(function, contract, told, len(contracts) == 1, first.partition(" - ")[2]))
    known = {(one.contract.method, one.function.route) for one in found}
    unknown += [f"{method} {route} is no operation of a function" for method, route in OPERATIONS.keys() - known]
    if unknown:
        raise Undescribed("; ".join(sorted(unknown)))
    return found


def describe(root: Path = ROOT) -> Json:
    """The whole description. Raises Undescribed."""
    found = endpoints(root)
    refs, schemas = _schemas(found)
    paths: dict[str, Json] = {}
    for one in found:
        paths.setdefault(f"/{one.function.route}", {})[one.contract.method.lower()] = _operation(one, refs, schemas)
    used = {code for one in found for code in one.codes}
    return {
        **api_parts.HEAD,
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "x-errors": explanations(root),
        "components": {
            "securitySchemes": api_parts.SECURITY,
            "parameters": api_parts.PARAMETERS,
            "headers": api_parts.HEADERS,
            "examples": {code: {"value": api_parts.failure(ERRORS[code])} for code in sorted(used)},
            "schemas": {**_without_queries(found, schemas), "Error": api_parts.error_schema(sorted(ERRORS))},
        },
    }


def explanations(root: Path = ROOT) -> list[Json]:
    """What docs/errors.md says of each code, by status: `{code, status, text}`. Raises Undescribed."""
    sections = re.split(r"^## ", (root / GUIDE).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    texts = {head: " ".join(body.split()) for head, _, body in (section.partition("\n") for section in sections)}
    wrong = sorted(texts.keys() ^ ERRORS.keys()) + [
        code for code in texts.keys() & ERRORS.keys() if not _opens(code, texts[code])
    ]
    if wrong:
        raise Undescribed(f"{GUIDE} and the error tree differ: {', '.join(wrong)}")
    codes = sorted(ERRORS, key=lambda code: (ERRORS[code].status, code))
    return [{"code": code, "status": ERRORS[code].status, "text": texts[code].partition(". ")[2]} for code in codes]


def _opens(code: str, text: str) -> bool:
    return text.startswith(f"{ERRORS[code].status}. ")


def _schemas(found: list[Endpoint]) -> tuple[dict[type[BaseModel], Json], dict[str, Json]]:
    """The reference of each model, and the schemas that are referred to, by name."""
    models = {model for one in found for model in _models_of(one)}
    ordered = sorted(models, key=lambda model: (model.__name__, model.__module__))
    references, definitions = models_json_schema([(model, "validation") for model in ordered], ref_template=REF)
    schemas = {name: clean(schema) for name, schema in sorted(definitions["$defs"].items())}
    doubled = [name for name in schemas if "__" in name]
    if doubled:
        raise Undescribed(f"two models of one name; rename one: {', '.join(doubled)}")
    for one in found:
        rows, takes = _rows_of(one), one.contract.takes
        if rows is not None and takes is not None:
            schemas[takes.__name__]["properties"]["rows"]["items"] = references[(rows, "validation")]
    for model in ordered:
        groups = exclusive(model)
        if groups and model.__name__ in schemas:
            schemas[model.__name__] |= groups
    return {model: references[(model, "validation")] for model in ordered}, schemas


def _without_queries(found: list[Endpoint], schemas: Mapping[str, Json]) -> dict[str, Json]:
    """The schemas that something refers to: a query's fields stand as parameters."""
    queries = {one.contract.takes.__name__ for one in found if one.contract.method in _IN_QUERY and one.contract.takes}
    return {name: schema for name, schema in schemas.items() if name not in queries}


def _rows_of(one: Endpoint) -> type[BaseModel] | None:
    """The door's model of a row, where its handler checks rows one by one."""
    found: type[BaseModel] | None = getattr(sys.modules[one.contract.handler.__module__], one.told.rows or "-", None)
    return found


def _models_of(one: Endpoint) -> Iterator[type[BaseModel]]:
    bodies = [one.contract.takes, _rows_of(one)]
    replies = [content for status in one.told.replies for content in _contents(one.told.replies[status])]
    for model in (*bodies, *replies):
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield model


def _contents(replies: Any) -> tuple[Any, ...]:
    return replies if isinstance(replies, tuple) else (replies,)


def _operation(one: Endpoint, refs: Mapping[type[BaseModel], Json], schemas: Mapping[str, Json]) -> Json:
    method, handler = one.contract.method, one.contract.handler
    name = f"{one.function.package}_{one.function.name}" + ("" if one.is_alone else f"_{method.lower()}")
    operation: Json = {
        "operationId": name,
        "tags": [one.function.package],
        "summary": one.told.summary or _sentence(one.purpose),
        "description": _description(one, (handler.__doc__ or "").strip()),
        "security": [{"apiKey": [scope]} for scope in _scopes(one)],
    }
    parameters = _parameters(one, refs, schemas)
    if parameters:
        operation["parameters"] = parameters
    body = _body(one, refs, schemas)
    if body:
        operation["requestBody"] = {"required": True, "content": body}
    operation["responses"] = _responses(one, refs, schemas)
    return operation


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")


def _scopes(one: Endpoint) -> list[str]:
    return [one.contract.scope, *one.contract.also] if one.contract.scope else []


def _description(one: Endpoint, doc: str) -> str:
    names = " or ".join(f"`{scope}`" for scope in _scopes(one))
    scope = f"Scope {names}." if names else "No API key."
    key = " Needs an `Idempotency-Key`." if one.is_money else ""
    return f"{_sentence(one.purpose)}. {scope}{key}\n\n{doc}"


def _parameters(one: Endpoint, refs: Mapping[type[BaseModel], Json], schemas: Mapping[str, Json]) -> list[Json]:
    found: list[Json] = [{"$ref": "#/components/parameters/IdempotencyKey"}] if one.is_money else []
    for name, (text, pattern) in one.told.headers.items():
        schema = {"type": "string", "pattern": pattern}
        found.append({"name": name, "in": "header", "required": True, "description": text, "schema": schema})
    for name, (text, pattern) in one.told.queries.items():
        found.append(
            parameter_schema(name, {"type": "string", "pattern": pattern, "description": text}, is_required=False)
        )
    model = one.contract.takes
    if model is not None and one.contract.method in _IN_QUERY:
        takes = schemas[refs[model]["$ref"].rpartition("/")[2]]
        for name, given in takes.get("properties", {}).items():
            found.append(parameter_schema(name, given, is_required=name in takes.get("required", ())))
    return found


def _body(one: Endpoint, refs: Mapping[type[BaseModel], Json], schemas: Mapping[str, Json]) -> Json:
    if one.contract.method in _IN_QUERY:
        return {}
    bodies: Mapping[str, Any] = one.told.bodies or {"application/json": one.contract.takes}
    content: Json = {}
    for media_type, told in bodies.items():
        model = told or one.contract.takes
        if isinstance(model, dict):
            content[media_type] = {"schema": model, "example": model["examples"][0]}
        elif model is not None:
            told_of = {name: {"value": value} for name, value in one.told.examples.items()}
            content[media_type] = {
                "schema": refs[model],
                "examples": told_of or examples_of(model, refs[model], schemas),
            }
    return content


def _responses(one: Endpoint, refs: Mapping[type[BaseModel], Json], schemas: Mapping[str, Json]) -> Json:
    by_status: dict[str, Json] = {}
    headers = _headers(one)
    for status, replies in one.told.replies.items():
        content: Json = {}
        for reply in _contents(replies):
            media_type, described = _content(reply, refs, schemas)
            content[media_type] = _or(content.get(media_type), described)
        by_status[str(status)] = {"description": _what(replies), "headers": headers, "content": content}
    for status in sorted({ERRORS[code].status for code in one.codes}):
        codes = [code for code in one.codes if ERRORS[code].status == status]
        failing = api_parts.failures(codes, headers, is_retryable=any(ERRORS[c].retry_after_seconds for c in codes))
        by_status[str(status)] = _either(by_status.get(str(status)), failing)
    return dict(sorted(by_status.items()))


def _headers(one: Endpoint) -> Json:
    names = ["X-Request-Id", "traceparent"]
    if one.contract.scope is not None:
        names += ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    if one.is_money:
        headers["Idempotent-Replayed"] = {"$ref": "#/components/headers/Idempotent-Replayed"}
    return headers


def _content(reply: Any, refs: Mapping[type[BaseModel], Json], schemas: Mapping[str, Json]) -> tuple[str, Json]:
    """The media type of a reply and its description."""
    if isinstance(reply, Document):
        kind = "object" if isinstance(reply.example, dict) else "string"
        return reply.media_type, {"schema": {"type": kind, "description": reply.what}, "example": reply.example}
    example = {"status": "success", "data": example_of(refs[reply], schemas), "message": reply.__name__.lower()}
    return "application/json", {"schema": api_parts.envelope(refs[reply]), "example": example}


def _or(first: Json | None, second: Json) -> Json:
    """Two JSON replies of one status: one object, or a page of them."""
    return second if first is None else {**first, "schema": {"anyOf": [first["schema"], second["schema"]]}}


def _what(replies: Any) -> str:
    first = _contents(replies)[0]
    return first.what if isinstance(first, Document) else (first.__doc__ or "").strip()


def _either(success: Json | None, failing: Json) -> Json:
    """A status that means both, as 503 of health does."""
    if success is None:
        return failing
    fine, bad = (response["content"]["application/json"] for response in (success, failing))
    examples = {"success": {"value": fine["example"]}, **bad["examples"]}
    content = {"application/json": {"schema": {"anyOf": [fine["schema"], bad["schema"]]}, "examples": examples}}
    return {**failing, "description": f"{success['description']} Or: {failing['description']}", "content": content}


def render(description: Json, *, is_compact: bool = False) -> str:
    """The description as text: for people with line breaks, for the wire without."""
    if is_compact:
        return json.dumps(description, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(description, ensure_ascii=False, indent=2) + "\n"


def stale(root: Path = ROOT) -> list[Path]:
    """The files that are not what the code says; nothing is written."""
    return [
        path for path, text in _files(root).items() if not (root / path).is_file() or (root / path).read_text() != text
    ]


def _files(root: Path) -> dict[Path, str]:
    description = describe(root)
    return {DOCUMENTED: render(description), SERVED: render(description, is_compact=True)}


def main(arguments: list[str]) -> int:
    """Write both files, or with --check compare them; exit 1 with a line for each problem."""
    parser = argparse.ArgumentParser(prog="./doit openapi", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail on what is not up to date")
    options = parser.parse_args(arguments)
    try:
        changed = stale()
        if not options.check:
            for path, text in _files(ROOT).items():
                (ROOT / path).write_text(text)
                print(f"{'wrote' if path in changed else 'kept'} {path}")
            return 0
    except (Undescribed, NoExample) as problem:
        print(f"openapi: {problem}", file=sys.stderr)
        return 1
    for path in changed:
        print(f"openapi: {path} is not what the code says; run ./doit openapi", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
