"""POST /wallets/create at its door."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from getsmart import config
from tests.edge import (
    BAD_EMAILS,
    BAD_LABELS,
    BAD_METADATA,
    Case,
    Door,
    MakeClient,
    Raw,
    assert_headers,
    assert_plain_main,
    check,
    common,
    dump,
    wrong_values,
)
from tests.support import Client, Provider, call

ADA = {"owner": {"email": "ada@example.com"}}
DOOR = Door("wallets/create", "POST", "wallets:write", {**ADA, "label": "Ada", "metadata": {"course": "1"}})


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, keys, bodies and queries are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_fields_that_are_wrong(subtests: pytest.Subtests, system: Raw, app: Client) -> None:
    """Each field is checked by name, down to the entry of the metadata."""
    cases = [
        *wrong_values(DOOR, app.token, "owner.email", BAD_EMAILS),
        *wrong_values(DOOR, app.token, "owner", [None, 7, True, [], "ada@example.com"]),
        *wrong_values(DOOR, app.token, "owner.surprise", ["x"]),
        *wrong_values(DOOR, app.token, "label", BAD_LABELS),
        *wrong_values(DOOR, app.token, "metadata", BAD_METADATA),
        *wrong_values(DOOR, app.token, "metadata.course", [7, None, [], {}]),
    ]
    check(subtests, system, DOOR, cases)


def test_a_refusal_repeats_no_address(app: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """An e-mail address in the place of a name reaches neither the reply nor the log."""
    answer = app.post(DOOR.path, {**ADA, "bob@example.com": 1, "metadata": {"eve@example.com": 7}})
    assert answer.code == "invalid_request"
    twice = app.get("wallets/get", "carl@example.com=1&carl@example.com=2")
    assert twice.code == "invalid_request"
    assert "example.com" not in answer.text + twice.text + capsys.readouterr().out


def test_a_body_of_unknown_names_gets_a_reply_that_can_be_carried(app: Client) -> None:
    """The reply to the largest body of wrong names stays far below the megabyte that the platform carries."""
    answer = app.post(DOOR.path, {f"{number:x}": 1 for number in range(60_000)})
    assert answer.code == "invalid_request"
    assert len(answer.text) < 20_000


def test_the_first_call_ever_is_201_and_the_next_ones_200(system: Raw, app: Client) -> None:
    """One wallet a person, whatever the case of letters; a repeated call changes nothing."""
    first = call(DOOR.path, DOOR.event(app.token))
    assert first.status == 201
    assert_headers(first)
    assert first.data.keys() == {"wallet_id", "owner", "address", "label", "metadata", "created_at", "erased_at"}
    assert first.data["owner"] == {"email": "ada@example.com"}
    assert (first.data["label"], first.data["metadata"]) == ("Ada", {"course": "1"})
    before = dump(system)
    again = app.post(DOOR.path, {"owner": {"email": " ADA@Example.COM\t"}})
    assert (again.status, again.data) == (200, first.data)
    assert dump(system) == before


def test_sixteen_at_once_make_one_wallet(system: Raw, app: Client) -> None:
    """In a race of sixteen first calls one is 201, fifteen are 200, and all name the same wallet."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: app.post(DOOR.path, ADA), range(16)))
    assert sorted(answer.status for answer in answers) == [200] * 15 + [201]
    assert len({answer.data["wallet_id"] for answer in answers}) == 1
    assert system.wallets.count_documents({}) == 1
    (row,) = system.wallets.find({})
    assert (len(row["links"]), len(row["outbox"])) == (1, 1)


def test_sixteen_applications_at_once_share_one_wallet(system: Raw, make_client: MakeClient) -> None:
    """In a race of sixteen clients each is linked once, and each is told once."""
    clients = [make_client(f"client-{number}") for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda client: client.post(DOOR.path, ADA), clients))
    assert sorted(answer.status for answer in answers) == [200] * 15 + [201]
    (row,) = system.wallets.find({})
    names = sorted(f"client-{number}" for number in range(16))
    assert sorted(link["client_id"] for link in row["links"]) == names
    assert sorted(event["client_id"] for event in row["outbox"]) == names


@pytest.mark.parametrize("kind", ["500", "429"])
def test_a_provider_that_fails_leaves_nothing(
    system: Raw, app: Client, provider: Provider, pauses: list[float], kind: str
) -> None:
    """While MetaKeep fails nothing is kept and the caller is asked to come again; then the wallet is made."""
    provider.fault("/v3/getWallet", kind, times=50)
    before = dump(system)
    answer = app.post(DOOR.path, ADA)
    assert (answer.status, answer.code) == (503, "provider_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert dump(system) == before
    provider.clear()
    assert app.post(DOOR.path, ADA).status == 201


def test_a_provider_that_is_not_there_leaves_nothing(
    subtests: pytest.Subtests, system: Raw, app: Client, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection is 503 provider_unavailable."""
    monkeypatch.setenv("METAKEEP_BASE_URL", "http://127.0.0.1:9")
    config.forget()
    check(subtests, system, DOOR, [Case("closed port", DOOR.event(app.token), 503, "provider_unavailable")])


def test_a_provider_that_refuses_leaves_nothing(
    subtests: pytest.Subtests, system: Raw, app: Client, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal for good is 502 provider_rejected: here MetaKeep answers that there is no such path."""
    from getsmart.metakeep import protocol

    lost = protocol.ProviderRequest("/v3/nothing", b"{}")
    monkeypatch.setattr(protocol, "get_wallet", lambda email: lost)
    check(subtests, system, DOOR, [Case("404", DOOR.event(app.token), 502, "provider_rejected")])
    assert pauses == []


@pytest.mark.parametrize(
    "variable", ["METAKEEP_BASE_URL", "METAKEEP_SIGNING_HOST", "METAKEEP_API_KEY", "METAKEEP_API_SECRET"]
)
def test_a_missing_variable_is_misconfigured(
    system: Raw, app: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    """503 to the caller, the variable's name in the log, no value of any variable in either."""
    secret = config.read(config.ProviderSettings).api_secrets[0]
    monkeypatch.delenv(variable)
    config.forget()
    before = dump(system)
    answer = app.post(DOOR.path, ADA)
    assert (answer.status, answer.code) == (503, "misconfigured")
    assert dump(system) == before
    logged = capsys.readouterr().out
    assert f"{variable} (missing)" in logged
    assert variable not in answer.text
    assert secret not in logged + answer.text


def test_a_wrong_secret_is_misconfigured(
    app: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A secret of another key is found before anything is sent, and never shown."""
    wrong = "account_secret_" + "A" * 42 + "E"
    monkeypatch.setenv("METAKEEP_API_SECRET", wrong)
    config.forget()
    answer = app.post(DOOR.path, ADA)
    assert (answer.status, answer.code) == (503, "misconfigured")
    logged = capsys.readouterr().out
    assert "METAKEEP_API_SECRET" in logged
    assert wrong not in logged + answer.text


def test_base64_carries_the_same_request(app: Client) -> None:
    """However the platform carried the body, the answer is the same."""
    import base64

    plain = call(DOOR.path, DOOR.event(app.token))
    packed = base64.b64encode(json.dumps(DOOR.body).encode()).decode()
    encoded = call(DOOR.path, DOOR.event(app.token, body=packed, is_base64=True))
    assert (plain.status, encoded.status) == (201, 200)
    assert plain.data == encoded.data


def test_clients_have_their_own_label_and_metadata(app: Client, make_client: MakeClient) -> None:
    """A second client gets the same wallet, and neither sees what the other calls it."""
    mine = app.post(DOOR.path, {**ADA, "label": "mine", "metadata": {"a": "1"}})
    other = make_client("other")
    theirs = other.post(DOOR.path, {**ADA, "label": "theirs"})
    assert (mine.status, theirs.status) == (201, 200)
    assert mine.data["wallet_id"] == theirs.data["wallet_id"]
    assert (theirs.data["label"], theirs.data["metadata"]) == ("theirs", {})
    renamed: Any = app.post(DOOR.path, {**ADA, "metadata": {"b": "2"}}).data
    assert (renamed["label"], renamed["metadata"]) == ("mine", {"b": "2"})
    assert other.post(DOOR.path, ADA).data == theirs.data
