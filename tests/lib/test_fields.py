"""The field types that doors share."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from getsmart.fields import (
    Address,
    BadgeText,
    BaseUnits,
    Body,
    Email,
    EmailPrefix,
    Label,
    Metadata,
    Moment,
    Query,
    Reason,
    TransactionId,
    WalletId,
    normalise_email,
    problem,
)
from tests.edge import (
    BAD_AMOUNTS,
    BAD_BADGE_TEXTS,
    BAD_EMAILS,
    BAD_LABELS,
    BAD_METADATA,
    BAD_REASONS,
    BAD_WALLET_IDS,
)

SHORT = st.text(max_size=9)
FAIR = settings(derandomize=True, deadline=None, database=None)


def parse(kind: Any, value: Any) -> Any:
    """Validate as a body's field is: strictly."""
    return TypeAdapter(kind).validate_python(value, strict=True)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (BaseUnits, BAD_AMOUNTS),
        (Email, BAD_EMAILS),
        (WalletId, BAD_WALLET_IDS),
        (BadgeText, (*BAD_BADGE_TEXTS, "\ud800")),
        (Reason, (*BAD_REASONS, "\udfff")),
        (Label, (*BAD_LABELS, "a\ud83d")),
        (Metadata, (*BAD_METADATA, {"a": "\ud800"}, {"a": 1}, {1: "a"})),
        (Address, ("", "0x", "0x" + "g" * 40, "0x" + "0" * 41, "0x" + "0" * 40 + "\n", 7, None)),
        (TransactionId, ("", "txn_", "wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV", "txn_01ARZ3NDEKTSV4RRFFQ69G5FAV\n", 7, None)),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else str(value)[:30],
)
def test_values_that_are_refused(kind: Any, values: tuple[Any, ...]) -> None:
    """Whatever has not the form is refused; nothing is converted on the way."""
    for value in values:
        with pytest.raises(ValidationError):
            parse(kind, value)


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        (BaseUnits, "0.5", 5 * 10**17),
        (Email, "\t Ada.L+x@Example.Co.UK ", "ada.l+x@example.co.uk"),
        (Email, "a" * 64 + "@" + "b" * 60 + ".example.com", "a" * 64 + "@" + "b" * 60 + ".example.com"),
        (WalletId, "wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV", "wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        (TransactionId, "txn_7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "txn_7ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
        (Address, "0x" + "aB" * 20, "0x" + "aB" * 20),
        (Label, "\U0001f393" * 100, "\U0001f393" * 100),
        (Reason, "x" * 500, "x" * 500),
        (BadgeText, " " * 128, " " * 128),
        (Metadata, {}, {}),
        (Metadata, {"x" * 40: "y" * 500}, {"x" * 40: "y" * 500}),
        (Metadata, {str(number): "" for number in range(50)}, {str(number): "" for number in range(50)}),
    ],
)
def test_values_that_are_taken(kind: Any, value: Any, kept: Any) -> None:
    """Up to their documented edges; only an e-mail address and an amount change their form."""
    assert parse(kind, value) == kept


@FAIR
@given(st.one_of(st.emails(), st.text(max_size=30), st.builds(" {}@{}.com\t".format, SHORT, SHORT)))
def test_normalising_an_address_twice_is_normalising_it_once(text: str) -> None:
    """One person has one form: ASCII, lower case, trimmed."""
    try:
        email = normalise_email(text)
    except ValueError:
        return
    assert normalise_email(email) == email
    assert normalise_email(text.upper()) == email
    assert (email.isascii(), email.lower(), email.strip()) == (True, email, email)


def test_bodies_and_queries_take_no_unknown_names_and_convert_nothing() -> None:
    """A misspelt field is an error, not a default; a string is no number; an input never changes."""

    class Some(Body):
        number: int

    class Names(Query):
        name: str = "x"

    assert Some.model_validate({"number": 7}).number == 7
    for content in ({"number": "7"}, {"number": 7, "more": 1}, {}, [], None):
        with pytest.raises(ValidationError):
            Some.model_validate(content)
    with pytest.raises(ValidationError):
        Names.model_validate({"nam": "y"})
    with pytest.raises(ValidationError):
        Names().name = "z"  # type: ignore[misc]


def test_a_problem_keeps_its_sentence_whatever_braces_it_holds() -> None:
    """The sentence reaches the caller as it is."""
    made = problem("one_of", "say {this}", field="a")
    assert (made.message(), made.type, (made.context or {})["field"]) == ("say {this}", "one_of", "a")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.5Z", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("0001-01-01T00:00:00.000001Z", datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_a_time_is_utc(text: str, moment: datetime) -> None:
    """RFC 3339 with Z, from the first to the last year of the calendar."""
    assert parse(Moment, text) == moment


@pytest.mark.parametrize(
    "text",
    ["2026-02-29T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00z", "\u0662026-01-01T00:00:00Z", 7, None, True],
)
def test_what_is_no_time_is_refused(text: Any) -> None:
    """Another zone, another form, another alphabet, a day that never was."""
    with pytest.raises(ValidationError):
        parse(Moment, text)


def test_the_beginning_of_an_address_is_in_its_one_form() -> None:
    """Lower case, trimmed, as addresses are kept."""
    assert parse(EmailPrefix, " Ada@EX\t") == "ada@ex"
