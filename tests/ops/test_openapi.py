"""The API's description is made of the code, complete, and what is committed."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from getsmart import errors
from ops import api_operations, openapi
from ops.api_schemas import NoExample, example_of, exclusive_names
from ops.functions import load

DESCRIPTION = openapi.describe()
OPERATIONS = [
    (path, method, operation) for path, methods in DESCRIPTION["paths"].items() for method, operation in methods.items()
]
ENDPOINTS = openapi.endpoints()
operations = pytest.mark.parametrize(
    ("path", "method", "operation"), OPERATIONS, ids=[f"{method} {path}" for path, method, _ in OPERATIONS]
)


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(inner)


def fits(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value is valid against a schema of the description."""
    return bool(validator(json.dumps(schema)).is_valid(value))


@cache
def validator(schema: str) -> Any:
    """The compiled form of a schema."""
    return jsonschema_rs.validator_for({**json.loads(schema), "components": DESCRIPTION["components"]})


def test_what_is_committed_is_what_the_code_says() -> None:
    """docs/openapi.json and the copy that is served; `./doit openapi` brings them up to date."""
    assert openapi.stale() == []


def test_every_operation_on_the_web_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    """One for each method of each function, and no other."""
    on_web = {f"/{function.route}" for function in load() if function.web}
    assert {path for path, _, _ in OPERATIONS} == on_web
    assert {(method.upper(), path[1:]) for path, method, _ in OPERATIONS} == api_operations.OPERATIONS.keys()
    assert openapi.main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_an_operation_nobody_told_of_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new endpoint without its reply, and a reply without its endpoint."""
    told = dict(api_operations.OPERATIONS)
    monkeypatch.delitem(api_operations.OPERATIONS, ("POST", "tokens/mint"))
    monkeypatch.setitem(api_operations.OPERATIONS, ("PATCH", "tokens/mint"), told["POST", "tokens/mint"])
    assert openapi.main([]) == 1
    said = capsys.readouterr().err
    assert "POST tokens/mint is not in ops/api_operations.py" in said
    assert "PATCH tokens/mint is no operation of a function" in said


def test_a_change_is_noticed_and_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check names the files that are stale; without it they are written."""
    described = tmp_path / "description.json"
    monkeypatch.setattr(openapi, "DOCUMENTED", described)
    monkeypatch.setattr(openapi, "SERVED", tmp_path / "served.json")
    assert openapi.main(["--check"]) == 1
    assert capsys.readouterr().err.count("run ./doit openapi") == 2
    assert openapi.main([]) == 0
    assert openapi.main(["--check"]) == 0
    assert json.loads(described.read_text()) == json.loads((tmp_path / "served.json").read_text()) == DESCRIPTION


def test_the_guide_to_errors_is_the_error_tree(tmp_path: Path) -> None:
    """A section a code that opens with its status, and no other; the page shows them with their anchors."""
    listed = DESCRIPTION["x-errors"]
    tree = {error.code: error.status for error in openapi.ERRORS.values()}
    assert {one["code"]: one["status"] for one in listed} == tree == {**tree, errors.Internal.code: 500}
    assert all(one["text"].endswith(".") and len(one["text"]) > 20 for one in listed)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/errors.md").write_text("# Errors\n\n## not_found\n\n405. What.\n\n## surprise\n\n400. What.\n")
    with pytest.raises(openapi.Undescribed, match=r"surprise, .*not_found"):
        openapi.explanations(tmp_path)


@operations
def test_an_operation_says_everything(path: str, method: str, operation: dict[str, Any]) -> None:
    """Summary, description, the request id on each reply; with a key: who may, how often, and what if not."""
    assert operation["summary"]
    assert len(operation["description"]) > 40
    replies = operation["responses"]
    assert all("X-Request-Id" in reply["headers"] for reply in replies.values())
    assert "500" in replies
    if operation["security"]:
        assert {"401", "403", "429", "503"} <= replies.keys()
        assert "RateLimit-Remaining" in replies["200" if "200" in replies else min(replies)]["headers"]
        assert "Retry-After" in replies["429"]["headers"]
    if "requestBody" in operation and operation["security"]:
        assert {"400", "413", "415"} <= replies.keys()
    names = [parameter.get("$ref", "") for parameter in operation.get("parameters", ())]
    if any(name.endswith("IdempotencyKey") for name in names):
        assert {"202", "409", "422", "504"} <= replies.keys()
        assert "Idempotent-Replayed" in replies["202"]["headers"]


@operations
def test_every_example_is_valid(path: str, method: str, operation: dict[str, Any]) -> None:
    """Of bodies and of replies, against the schemas beside them."""
    examples = DESCRIPTION["components"]["examples"]
    for content in walk(operation):
        if "schema" not in content:
            continue
        given = [content["example"]] if "example" in content else []
        given += [e.get("value", examples.get(e.get("$ref", "").rpartition("/")[2], {}).get("value")) for e in
                  content.get("examples", {}).values()]  # fmt: skip
        for example in given:
            assert fits(content["schema"], example), example


@pytest.mark.parametrize("one", ENDPOINTS, ids=[f"{e.contract.method} {e.function.route}" for e in ENDPOINTS])
def test_the_door_takes_its_own_examples(one: openapi.Endpoint) -> None:
    """Whoever copies an example of a body gets past validation."""
    path, method = f"/{one.function.route}", one.contract.method.lower()
    body = DESCRIPTION["paths"][path][method].get("requestBody", {"content": {}})["content"].get("application/json", {})
    for example in body.get("examples", {}).values():
        one.contract.takes.model_validate(example["value"])


def test_objects_have_no_surprises() -> None:
    """Every object that is described closes itself to unknown fields, but for maps of names."""
    for name, schema in DESCRIPTION["components"]["schemas"].items():
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False, name


def test_exactly_one_of_several_fields() -> None:
    """What a validator asks for stands in the schema too: one alternative, not none, not two; null is none."""
    mint = DESCRIPTION["components"]["schemas"]["MintBody"]
    wallet_id, badge = "wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV", {"badge_id": "a", "claimant": "b"}
    assert fits(mint, {"wallet_id": wallet_id, "amount": "1"})
    assert fits(mint, {"wallet_id": wallet_id, "badge_claim": badge})
    assert fits(mint, {"wallet_id": wallet_id, "badge_claim": None, "amount": "1"})
    assert not fits(mint, {"wallet_id": wallet_id})
    assert not fits(mint, {"wallet_id": wallet_id, "badge_claim": None})
    assert not fits(mint, {"wallet_id": wallet_id, "badge_claim": badge, "amount": "1"})
    assert exclusive_names(errors_free_model()) == ()


def errors_free_model() -> Any:
    """A model that wants nothing exclusive."""
    return next(one.contract.takes for one in ENDPOINTS if one.function.route == "tokens/burn")


@pytest.mark.parametrize("amount", ["0", "0.0", "-1", "1e3", "01", "1.", ".5", "1" * 14, "1." + "0" * 19, 1])
def test_a_bad_amount_is_bad_by_the_schema(amount: Any) -> None:
    """The pattern refuses what the code refuses."""
    assert not fits(DESCRIPTION["components"]["schemas"]["BurnBody"]["properties"]["amount"], amount)


def test_a_field_without_example_is_named() -> None:
    """Whoever adds a type learns which one has no example."""
    with pytest.raises(NoExample, match=r"Thing\.field"):
        example_of({"$ref": "#/x/Thing"}, {"Thing": {"type": "object", "properties": {"field": {"type": "string"}}}})
    assert example_of({"type": "array", "items": {"enum": [True]}}, {}) == [True]
    assert example_of({"enum": ["a", "b"]}, {}) == "a"
