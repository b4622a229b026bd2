"""CSV: what was in the fields comes back, and no cell is a formula."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getsmart.tables import csv_reply

COLUMNS = ("name", "from.address", "count")


def read(page: dict[str, Any]) -> list[list[str]]:
    """The table as a program reads it."""
    return list(csv.reader(io.StringIO(csv_reply("x", COLUMNS, page).body, newline="")))


def cell(value: Any) -> str:
    """What becomes of one value."""
    return read({"items": [{"name": value}], "next_cursor": None})[1][0]


def test_a_page_is_a_table() -> None:
    """Field names as headers, fields of objects by their path, nothing for null, the cursor in a header."""
    page = {"items": [{"name": "a", "from": {"address": "0x1"}, "count": 7}, {"name": None, "from": None}]}
    reply = csv_reply("things", COLUMNS, {**page, "next_cursor": "abc"})
    assert reply.body == "name,from.address,count\r\na,0x1,7\r\n,,\r\n"
    assert reply.status == 200
    assert reply.headers == {
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Disposition": 'attachment; filename="things.csv"',
        "X-Next-Cursor": "abc",
    }
    assert "X-Next-Cursor" not in csv_reply("things", COLUMNS, {**page, "next_cursor": None}).headers


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\tx", "\r=1", "\n=1", "-1e5", "=", "--1", "-1,5"])
def test_what_a_spreadsheet_would_run_is_text(text: str) -> None:
    """A leading apostrophe makes it a text."""
    assert cell(text) == "'" + text


@pytest.mark.parametrize(
    "text", ["-1", "+1.5", "-0.000000000000000001", "1000", "a=b", " =1", "'=1", "\u00e4", 'say "x", y']
)
def test_numbers_and_plain_texts_are_left_alone(text: str) -> None:
    """A negative number is no formula."""
    assert cell(text) == text


@settings(derandomize=True, deadline=None, database=None)
@given(st.text(alphabet=st.characters(exclude_categories=("Cs",))))
def test_every_text_comes_back(text: str) -> None:
    """Whatever the quoting needs; but for the apostrophe."""
    assert cell(text).removeprefix("'") == text.removeprefix("'")
    assert not cell(text).startswith(("=", "@"))
