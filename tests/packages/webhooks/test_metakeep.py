"""POST /webhooks/metakeep at its door; what a genuine delivery does is tested with the service."""

import json

import pytest

from getsmart import config
from tests.edge import Case, Door, MakeClient, Raw, assert_plain_main, check, common

DOOR = Door("webhooks/metakeep", "POST", None)
BODY = json.dumps({"eventId": "e1", "eventType": "transaction", "data": {}})
HEADERS = {
    "content-type": "application/json",
    "x-api-key": "A" + "A" * 43,
    "x-timestamp": "1700000000000",
    "x-api-signature": "AAAA",
}


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, paths, sizes and encodings are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_deliveries_that_are_not_genuine(subtests: pytest.Subtests, system: Raw) -> None:
    """Whatever is wrong with a signature, the sender learns only that it is not valid."""
    cases = [
        Case("no headers", DOOR.event(None, body=BODY), 401, "signature_invalid"),
        Case("unknown sender", DOOR.event(None, body=BODY, headers=HEADERS), 401, "signature_invalid"),
        *(
            Case(
                f"without {name}",
                DOOR.event(None, body=BODY, headers={**HEADERS, name: None}),
                401,
                "signature_invalid",
            )
            for name in HEADERS
        ),
    ]
    check(subtests, system, DOOR, cases)


@pytest.mark.parametrize(
    "variable", ["METAKEEP_WEBHOOK_SCHEME", "METAKEEP_WEBHOOK_SENDER_KEYS", "METAKEEP_WEBHOOK_HOST"]
)
def test_a_missing_variable_asks_the_sender_to_come_again(
    subtests: pytest.Subtests,
    system: Raw,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
) -> None:
    """Our own failure is a 5xx, so that the delivery is tried again once it is mended."""
    monkeypatch.delenv(variable)
    config.forget()
    check(subtests, system, DOOR, [Case(variable, DOOR.event(None, body=BODY), 503, "misconfigured")])
    assert f"{variable} (missing)" in capsys.readouterr().out
