"""Bodies with many rows: one JSON object, or a row a line (NDJSON); every row checked, every problem told.

The contract of such an endpoint leaves its rows unchecked, since the edge would stop at what has the wrong form: what
is wrong with the others (a wallet that is nobody's) is to stand in the same reply.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from getsmart import jsontext
from getsmart.errors import InvalidRequest
from getsmart.front import Request, read_json
from getsmart.web import describe, read_query, refuse_query

NDJSON = "application/x-ndjson"
_MOST_BYTES = 600_000  # of problems in one reply: the platform carries 1 MB of JSON in which our JSON is a string
_MOST_LINES = 20_000  # each costs as much as a small body; no list has so many rows
Row = TypeVar("Row", bound=BaseModel)
Problem = dict[str, str]


def read(request: Request[Any]) -> dict[str, Any]:
    """`{"rows": [...], ...}`; beside NDJSON the other names are in the query. Raises as `read_json`, InvalidRequest."""
    if request.media_type != NDJSON:
        refuse_query(request.query)
        return read_json(request)
    if request.body.count(b"\n") > _MOST_LINES:
        raise InvalidRequest.field("rows", f"must be at most {_MOST_LINES} lines, empty ones among them")
    others: dict[str, Any] = read_query(request.query)
    return {**others, "rows": [_line(line) for line in request.body.split(b"\n") if line.strip()]}


def _line(line: bytes) -> Any:
    """A line's JSON; what is none becomes null, which no row may be."""
    try:
        return jsontext.parse(line)
    except ValueError:
        return None


def check(model: type[Row], rows: Sequence[Any]) -> tuple[list[Row | None], list[Problem]]:
    """Each row as its model, None where it is not one, and what is wrong with those."""
    good: list[Row | None] = []
    problems: list[Problem] = []
    for number, row in enumerate(rows):
        try:
            good.append(model.model_validate(row))
        except ValidationError as error:
            good.append(None)
            problems += [_problem(number, item) for item in error.errors(include_url=False, include_input=False)]
    return good, problems


def _problem(number: int, item: Any) -> Problem:
    found = describe(item)
    if not item["loc"]:
        return {"field": f"rows[{number}]", "problem": "must be an object"}
    return {"field": f"rows[{number}].{found['field']}", "problem": found["problem"]}


def refuse(problems: Sequence[Problem]) -> None:
    """Raise InvalidRequest with all the problems, by row, if there are any; past what a reply carries, their number."""
    told: list[Problem] = []
    size = 0
    for problem in sorted(problems, key=_row_number):
        size += len(problem["field"]) + len(problem["problem"]) + 40
        if size > _MOST_BYTES:
            told.append({"field": "rows", "problem": f"{len(problems) - len(told)} more problems"})
            break
        told.append(problem)
    if told:
        raise InvalidRequest(f"{len(problems)} problems in rows", details=told)


def _row_number(problem: Problem) -> int:
    return int(problem["field"].partition("[")[2].partition("]")[0])
