"""Whether a reply is one that docs/openapi.json promises: status, media type, headers, fields, the error's code."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

_FILE = Path(__file__).resolve().parent.parent / "docs/openapi.json"
# Refusals that come before an operation is known, or for a request that no description can speak of.
_ANYWHERE = {404, 405, 413}
_ANYWHERE_CODES = {"invalid_json"}  # an event whose encoding flag is wrong, which only the platform could send


@cache
def _description() -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(_FILE.read_text())
    return whole


@cache
def _validator(path: str, method: str, status: str, media_type: str) -> Any:
    content = _description()["paths"][f"/{path}"][method]["responses"][status]["content"]
    return jsonschema_rs.validator_for({**content[media_type]["schema"], "components": _description()["components"]})


def assert_described(path: str, method: str, status: int, headers: Mapping[str, str], body: str) -> None:
    """Fail unless the reply is described; functions that are not on the web are not."""
    operation = _description()["paths"].get(f"/{path}", {}).get(method.lower())
    if operation is None or (status in _ANYWHERE and str(status) not in operation["responses"]):
        return
    described = operation["responses"].get(str(status))
    assert described is not None, f"{method} {path} never says {status}: {body[:500]}"
    media_type = headers["Content-Type"].partition(";")[0]
    assert media_type in described["content"], f"{method} {path} {status} never is {media_type}"
    if media_type == "application/json":
        content = json.loads(body)
        _validator(path, method.lower(), str(status), media_type).validate(content)
        if content.get("status") == "error":
            codes = described["content"][media_type]["examples"]
            code = content["error"]["code"]
            assert code in {*codes, *_ANYWHERE_CODES} or status in _ANYWHERE, (
                f"{method} {path} never says {code}: {body[:500]}"
            )
    required = {
        name for name, header in described["headers"].items() if name == "X-Request-Id" or header.get("required")
    }
    assert required <= headers.keys()
