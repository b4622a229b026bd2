"""The errors that callers can meet, against the contract's table."""

import re

import pytest

from getsmart import errors
from getsmart.errors import GetSmartError, InvalidRequest

# The contract: one HTTP status for a code.
TABLE = {
    400: {"invalid_json", "invalid_request", "idempotency_key_missing", "idempotency_key_invalid"},
    401: {"unauthenticated", "signature_invalid"},
    403: {"forbidden_scope", "forbidden_ip"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    409: {
        *("idempotency_in_progress", "insufficient_balance", "supply_exhausted", "badge_already_claimed"),
        *("invalid_state", "limit_exceeded"),
    },
    413: {"too_large"},
    415: {"unsupported_media_type"},
    422: {"idempotency_mismatch"},
    429: {"rate_limited"},
    500: {"internal"},
    502: {"provider_rejected"},
    503: {"provider_unavailable", "database_unavailable", "recovering", "misconfigured", "unavailable"},
    504: {"deadline_exceeded"},
}
WAITING_HELPS = {"idempotency_in_progress", "rate_limited", *TABLE[503]}


def tree(base: type[GetSmartError] = GetSmartError) -> list[type[GetSmartError]]:
    """The base and everything below it in this module."""
    below = [kind for child in base.__subclasses__() for kind in tree(child)]
    return [kind for kind in (base, *below) if kind.__module__ == errors.__name__]


def test_the_tree_is_the_contracts_table() -> None:
    """Every code has its one status, and there is none too many or too few."""
    found: dict[int, set[str]] = {}
    for kind in tree():
        found.setdefault(kind.status, set()).add(kind.code)
    assert found == TABLE


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
def test_each_error_is_safe_to_show(kind: type[GetSmartError]) -> None:
    """One sentence for the caller, Retry-After exactly where waiting helps, a line of documentation."""
    error = kind()
    assert re.fullmatch(r"[A-Z][^\n]+", error.safe_message)
    assert (error.retry_after_seconds is not None) == (error.code in WAITING_HELPS)
    assert (error.details, error.headers, str(error)) == ([], {}, error.safe_message)
    assert kind.__doc__


def test_the_module_draws_the_tree() -> None:
    """The drawing at its top names every error with its status."""
    for kind in tree():
        name = kind.__name__
        assert re.search(rf"\b{name}\b", errors.__doc__ or ""), name


def test_the_logs_words_are_not_the_callers() -> None:
    """`str` is for the log; the message, if given, is for the caller, and both may be."""
    error = errors.Internal("table x is broken")
    assert (str(error), error.safe_message) == ("table x is broken", "Something went wrong on our side.")
    told = errors.InvalidState(message="It is final.")
    assert (str(told), told.safe_message) == ("It is final.", "It is final.")
    assert errors.InvalidState.safe_message != "It is final."
    assert errors.RateLimited(retry_after_seconds=9).retry_after_seconds == 9


def test_one_field() -> None:
    """The short form for a single wrong field."""
    error = InvalidRequest.field("amount", "must be more than zero")
    assert error.details == [{"field": "amount", "problem": "must be more than zero"}]
    assert str(error) == "amount: must be more than zero"
