"""Every reply that the tests see is one that docs/openapi.json promises."""

from collections.abc import Mapping

from ops import described


def assert_described(path: str, method: str, status: int, headers: Mapping[str, str], body: str) -> None:
    """Fail unless the reply is described; functions that are not on the web are not."""
    problem = described.problem(path, method, status, headers, body)
    assert problem is None, problem
