"""API keys on the command line."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from getsmart import config, mongo, tokens
from ops import keys
from tests.edge import Raw
from tests.support import Client

CREATE = ["create", "--client", "academy", "--scopes", "tokens:read, wallets:read,"]


def row_of(raw: Raw) -> dict[str, Any]:
    """The only key there is."""
    (row,) = raw.api_keys.find({})
    return row


def test_a_key_is_made_and_shown_once(system: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    """Its id, its token, a word of warning; the token works and only a digest of its secret is kept."""
    assert keys.main(CREATE) == 0
    key_id, token, warning = capsys.readouterr().out.splitlines()
    assert "keep it now" in warning
    row = row_of(system)
    assert (row["_id"], row["client_id"], row["mode"]) == (key_id, "academy", "test")
    assert (row["scopes"], row["limits"]) == (["tokens:read", "wallets:read"], {})
    assert (row["allowed_ips"], row["expires_at"], row["revoked_at"]) == ([], None, None)
    assert row["secret_sha256"] == tokens.digest(tokens.parse(token).secret)
    assert Client(token).get("tokens/info").status == 200
    assert token not in str(row)


def test_everything_a_key_can_have(system: Raw) -> None:
    """Mode, limits, expiry and address list, as the options say."""
    options = ["--mode", "live", "--per-second", "5", "--per-hour", "7", "--expires", "2030-01-31T00:00:00Z"]
    assert keys.main([*CREATE, *options, "--allow-ip", "192.0.2.7", "--allow-ip", "2001:db8::/32"]) == 0
    row = row_of(system)
    assert (row["mode"], row["limits"]) == ("live", {"per_second": 5, "per_hour": 7})
    assert row["expires_at"] == datetime(2030, 1, 31, tzinfo=UTC)
    assert row["allowed_ips"] == ["192.0.2.7/32", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        (["--no-limits"], {"per_second": None, "per_hour": None}),
        (["--no-limits", "--per-hour", "9"], {"per_second": None, "per_hour": 9}),
        (["--per-second", "3"], {"per_second": 3}),
    ],
)
def test_limits(system: Raw, options: list[str], limits: dict[str, int | None]) -> None:
    """None at all, or one of the two."""
    assert keys.main([*CREATE, *options]) == 0
    assert row_of(system)["limits"] == limits


def test_an_expiry_without_a_zone_is_utc(system: Raw) -> None:
    """As all times here."""
    assert keys.main([*CREATE, "--expires", "2030-01-31"]) == 0
    assert row_of(system)["expires_at"] == datetime(2030, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "--client", "a", "--scopes", "tokens:read,tokens:steal"], "unknown scope: tokens:steal"),
        (["create", "--client", "a", "--scopes", ","], "unknown scope: none given"),
        ([*CREATE, "--allow-ip", "192.0.2.1/24"], "has host bits set"),
        ([*CREATE, "--allow-ip", "home"], "'home'"),
        ([*CREATE, "--per-second", "0"], "at least 1"),
        ([*CREATE, "--per-hour", "-1"], "at least 1"),
        (["revoke", "key_none"], "no active key key_none"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    system: Raw, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """Exit 1, one line that says why, and no key."""
    assert keys.main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"database tests\nkeys: [^\n]*\n", printed.err)
    assert words in printed.err
    assert system.api_keys.count_documents({}) == 0


@pytest.mark.parametrize(
    "arguments", [[], ["make"], ["create"], ["revoke"], [*CREATE, "--expires", "soon"], [*CREATE, "--mode", "x"]]
)
def test_what_is_no_command_shows_how_it_is_used(
    system: Raw, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Exit 2 with the usage, as programs do."""
    with pytest.raises(SystemExit) as caught:
        keys.main(arguments)
    assert caught.value.code == 2
    assert "usage: ./doit keys" in capsys.readouterr().err


def test_the_list_shows_every_key_and_no_secret(system: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    """Oldest first, with state, last use and scopes."""
    used = keys.create(client_id="used", scopes=["tokens:read"])
    ends = keys.create(client_id="ends", scopes=["admin"], expires_at=datetime(2030, 1, 31, tzinfo=UTC))
    gone = keys.create(client_id="gone", scopes=["admin"], mode="live")
    assert Client(used.token).get("tokens/info").status == 200
    assert keys.main(["revoke", gone.key_id]) == 0
    capsys.readouterr()
    assert keys.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        [used.key_id, "used", "test"],
        [ends.key_id, "ends", "test"],
        [gone.key_id, "gone", "live"],
    ]
    assert re.search(r"active  last used 20\S+Z  tokens:read$", lines[0])
    assert "until 2030-01-31T00:00:00.000Z  last used never" in lines[1]
    assert "revoked" in lines[2]
    assert not any(row["secret_sha256"] in "".join(lines) for row in system.api_keys.find({}))


def test_a_key_is_revoked_once(system: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    """The second time says that there is no such active key."""
    key = keys.create(client_id="a", scopes=["admin"])
    assert keys.main(["revoke", key.key_id]) == 0
    assert capsys.readouterr().out == f"{key.key_id} is revoked\n"
    assert keys.main(["revoke", key.key_id]) == 1


def test_without_a_database_it_says_so(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variable that is missing is named, a database that is away is said, both in one line."""
    mongo.forget()
    monkeypatch.setenv("MONGODB_URI", "")
    config.forget()
    assert keys.main(["list"]) == 1
    assert capsys.readouterr().err == "keys: environment: MONGODB_URI (missing)\n"
    monkeypatch.setenv("MONGODB_URI", "mongodb://user:s3cret@127.0.0.1:9/")  # pragma: allowlist secret
    monkeypatch.setattr(mongo, "_SERVER_SELECTION_MS", 100)
    config.forget()
    assert keys.main(["list"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("keys: 127.0.0.1:9")
    assert printed.count("\n") == 1
    assert "s3cret" not in printed
    mongo.forget()
