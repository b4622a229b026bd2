"""A page as CSV (RFC 4180): one column a field, named as in JSON, and no cell that a spreadsheet would run."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from getsmart.replies import Reply

# OWASP, CSV injection: a cell that begins so is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)


def csv_reply(name: str, columns: Sequence[str], page: dict[str, Any]) -> Reply:
    """200 with a page's items as a table; `from.address` is a field of an object. The next cursor is a header."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(_value(item, column)) for column in columns] for item in page["items"])
    headers = {
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Disposition": f'attachment; filename="{name}.csv"',
    }
    if page["next_cursor"] is not None:
        headers["X-Next-Cursor"] = page["next_cursor"]
    return Reply(200, text.getvalue(), headers)


def _value(item: Any, column: str) -> Any:
    for name in column.split("."):
        item = (item or {}).get(name)
    return item


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
