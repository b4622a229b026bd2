"""Strict JSON: UTF-8, no name twice, nothing that can't be kept or sent on."""

import json
from typing import Any


def parse(raw: bytes) -> Any:
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
