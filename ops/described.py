"""Whether a reply is one that docs/openapi.json promises: status, media type, headers, fields, the error's code."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs

from ops.functions import ROOT

_FILE = ROOT / "docs/openapi.json"
# Refusals that come before an operation is known, or for a request that no description can speak of.
_ANYWHERE = {404, 405, 413}
_ANYWHERE_CODES = {"invalid_json"}  # an event whose encoding flag is wrong, which only the platform could send


@cache
def description() -> dict[str, Any]:
    """The description in this tree."""
    whole: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return whole


@cache
def _validator(path: str, method: str, status: str, media_type: str) -> Any:
    content = description()["paths"][f"/{path}"][method]["responses"][status]["content"]
    return jsonschema_rs.validator_for({**content[media_type]["schema"], "components": description()["components"]})


def problem(path: str, method: str, status: int, headers: Mapping[str, str], body: str) -> str | None:
    """What is not as described in a reply of `<package>/<function>`; None for what is not on the web, too."""
    operation = description()["paths"].get(f"/{path}", {}).get(method.lower())
    if operation is None or (status in _ANYWHERE and str(status) not in operation["responses"]):
        return None
    described = operation["responses"].get(str(status))
    if described is None:
        return f"{method} {path} never says {status}: {body[:500]}"
    media_type = headers["Content-Type"].partition(";")[0]
    if media_type not in described["content"]:
        return f"{method} {path} {status} never is {media_type}"
    required = {
        name for name, header in described["headers"].items() if name == "X-Request-Id" or header.get("required")
    }
    if missing := sorted(name for name in required if name not in headers):
        return f"{method} {path} {status} lacks {', '.join(missing)}"
    return _content_problem(path, method, status, described, body) if media_type == "application/json" else None


def _content_problem(path: str, method: str, status: int, described: Mapping[str, Any], body: str) -> str | None:
    content = json.loads(body)
    try:
        _validator(path, method.lower(), str(status), "application/json").validate(content)
    except jsonschema_rs.ValidationError as error:
        return f"{method} {path} {status}: {error.message} at /{'/'.join(map(str, error.instance_path))}"
    if content.get("status") == "error":
        codes = {*described["content"]["application/json"]["examples"], *_ANYWHERE_CODES}
        if content["error"]["code"] not in codes and status not in _ANYWHERE:
            return f"{method} {path} never says {content['error']['code']}: {body[:500]}"
    return None
