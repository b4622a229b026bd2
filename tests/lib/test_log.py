"""One JSON line an event, and nothing secret in it."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getsmart import clock, log, tokens
from getsmart.ids import new_id
from local.sandbox.credentials import random_secret


def test_an_event_is_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Time, level and name first; a None is left out; line breaks and any script survive as JSON."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    log.event("a.b", request_id="req_1", absent=None, text="two\nlines \u00e4 \ud800", moment=moment)
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    line = json.loads(text)
    assert list(line)[:3] == ["at", "level", "event"]
    assert (line["level"], line["event"], line["request_id"]) == ("info", "a.b", "req_1")
    assert line["text"] == "two\nlines \u00e4 \ud800"
    assert "absent" not in line
    assert line["at"].endswith("Z")


def test_a_failure_names_its_type_and_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """The text of a foreign exception is redacted and at most 500 characters long."""
    log.failure("x.failed", RuntimeError("for bob@example.com " + "y" * 600 + "!"), route="/v1/x")
    line = json.loads(capsys.readouterr().out)
    assert (line["level"], line["event"]) == ("error", "x.failed")
    assert (line["error_type"], line["route"]) == ("RuntimeError", "/v1/x")
    assert len(line["error"]) == 500
    assert "bob" not in line["error"]


@pytest.mark.parametrize(
    "secret",
    [
        tokens.render(tokens.issue("test", new_id("key"))),
        tokens.render(tokens.issue("live", new_id("key"))),
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",  # pragma: allowlist secret
        random_secret(),
        "-" + "a" * 41 + "-",
        "account_secret_" + random_secret(),
        "bob@example.com",
        "o'brien+{x}@example.co.uk",
        "mongodb://user:pass@host:27017/db?authSource=admin",  # pragma: allowlist secret
        "mongodb+srv://user:pass@cluster.example.com",  # pragma: allowlist secret
    ],
    ids=["test key", "live key", "webhook", "raw", "dashes", "account", "email", "odd email", "uri", "srv"],
)
def test_secrets_are_redacted(secret: str) -> None:
    """Keys, connection strings and e-mail addresses go, wherever they stand; the rest of the text stays."""
    for template in ("{}", "at {}, twice", "'{}'", "(({}))", "x={} y"):
        shown = log.redact(template.format(secret))
        assert secret not in shown
        assert "[redacted]" in shown
    assert log.redact(f"at {secret} twice").endswith(" twice")


@pytest.mark.parametrize(
    "text", ["0x" + "ab" * 32, "txn_01ARZ3NDEKTSV4RRFFQ69G5FAV", "E11000 duplicate key", "key_1 lacks a:b"]
)
def test_ids_are_not(text: str) -> None:
    """Hashes and ids are what a log is for."""
    assert log.redact(text) == text


@settings(derandomize=True, deadline=None, database=None)
@given(st.emails().filter(str.isascii))
def test_no_address_survives(email: str) -> None:
    """Any ASCII mailbox is gone, local part and all."""
    assert log.redact(f"user {email} failed").split("@")[0] == log.redact(f"user {email} failed")


def test_the_time_is_the_librarys(capsys: pytest.CaptureFixture[str]) -> None:
    """A simulation's log carries its time."""
    clock.set_clock(lambda: datetime(2030, 1, 1, tzinfo=UTC))
    try:
        log.event("a")
    finally:
        clock.set_clock(None)
    assert json.loads(capsys.readouterr().out)["at"] == "2030-01-01T00:00:00.000Z"
