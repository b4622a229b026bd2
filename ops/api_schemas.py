"""JSON schemas as pydantic makes them, tidied for readers, and examples made of them. Pure."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Json = dict[str, Any]


class NoExample(Exception):
    """A field has no example: its type lacks one (getsmart.fields.described); the text names the field."""


def exclusive_names(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields of which a model wants exactly one, as its validator says; empty if it does not."""
    for validator in model.__pydantic_decorators__.model_validators.values():
        names: tuple[str, ...] = getattr(validator.func, "exactly_one_of", ())
        if names:
            return names
    return ()


def exclusive(model: type[BaseModel]) -> Json:
    """What JSON schema says of `exactly_one`: a field that is null counts as absent."""
    names = exclusive_names(model)
    return (
        {"oneOf": [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in names]}
        if names
        else {}
    )


def clean(schema: Any) -> Any:
    """Without the titles and defaults that say nothing."""
    if isinstance(schema, list):
        return [clean(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidy: Json = {}
    for key, value in schema.items():
        if key in {"properties", "$defs"}:  # names of properties, one of which may be "title"
            tidy[key] = {name: clean(inner) for name, inner in value.items()}
        elif key in {"examples", "default", "const", "enum"}:
            tidy[key] = value
        elif key != "title":
            tidy[key] = clean(value)
    if "default" in tidy and (tidy["default"] is None or not _fits(tidy["default"], tidy)):
        del tidy["default"]
    return tidy


def _fits(default: Any, schema: Json) -> bool:
    return schema.get("type") != "string" or isinstance(default, str)


def parameter_schema(name: str, given: Json, *, is_required: bool) -> Json:
    """A query parameter of a property: absent is absent, there is no null in a query."""
    options = [option for option in given.get("anyOf", [given]) if option != {"type": "null"}]
    rest = {key: value for key, value in given.items() if key not in {"anyOf", "description", "examples"}}
    schema = {**(rest if "anyOf" in given else {}), **options[0]} if len(options) == 1 else given
    described = schema.get("description") or given.get("description") or _meaning(name)
    schema = {key: value for key, value in schema.items() if key != "description"}
    return {"name": name, "in": "query", "required": is_required, "description": described, "schema": schema}


_MEANINGS = {
    "wallet_id": "Which wallet.",
    "email": "The owner's address; compared trimmed and in lower case.",
    "address": "The wallet's address on chain, in any case of letters.",
    "transaction_id": "Which transaction.",
    "key_id": "Which key.",
    "limit": "How many at most.",
    "cursor": "Where to read on: next_cursor of the page before.",
}


def _meaning(name: str) -> str:
    return _MEANINGS.get(name, f"Only where `{name}` is this.")


def example_of(schema: Json, schemas: Mapping[str, Json], where: str = "") -> Any:
    """A value that fits, made of the examples of the types. Raises NoExample."""
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    listed = schema.get("examples") or schema.get("enum")
    if listed:
        return listed[0]
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example_of(schemas[name], schemas, name)
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], schemas, where)
    return _example_by_type(schema, schemas, where)


def _example_by_type(schema: Json, schemas: Mapping[str, Json], where: str) -> Any:
    if schema.get("type") == "array":
        return [example_of(schema["items"], schemas, where)]
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        return {name: example_of(inner, schemas, f"{where}.{name}") for name, inner in properties.items()}
    raise NoExample(f"{where} has no example: getsmart.fields.described gives it one")


def examples_of(model: type[BaseModel], reference: Json, schemas: Mapping[str, Json]) -> Json:
    """Named examples of a body: one, or one for each field of which it wants exactly one. Raises NoExample."""
    whole = example_of(reference, schemas)
    names = exclusive_names(model)
    if not names:
        return {"complete": {"value": whole}}
    return {
        name: {"value": {key: value for key, value in whole.items() if key == name or key not in names}}
        for name in names
    }
