"""The test key of a local run is made once, and again only when it would not work."""

import json
from pathlib import Path

import pytest

from getsmart import clock, tokens
from getsmart.models import AuditLine
from getsmart.stores import keys
from local import prepare
from ops.keys import SCOPES


@pytest.fixture
def file(tmp_path: Path, system: object) -> Path:
    """Where the key is kept, beside a migrated database."""
    return tmp_path / "credentials.json"


def prepared(file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run it; the key it announces."""
    assert prepare.main([str(file)]) == 0
    return str(json.loads(capsys.readouterr().out)["api_key"])


def test_a_key_is_made_kept_and_given_again(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has every scope and no rate limit; only its owner can read the file."""
    token = prepared(file, capsys)
    assert prepared(file, capsys) == token
    assert file.stat().st_mode & 0o777 == 0o600
    row = keys.find(tokens.parse(token).key_id)
    assert row is not None
    assert (row["client_id"], row["limits"]) == ("local", {"per_second": None, "per_hour": None})
    assert len(row["scopes"]) == len(set(SCOPES))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"api_key": "nonsense"}',  # pragma: allowlist secret
        '{"api_key": 1}',
    ],
)
def test_a_file_without_a_key_is_replaced(file: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    """Whatever stands in it."""
    file.write_text(content)
    assert json.loads(file.read_text() or "null") != {"api_key": prepared(file, capsys)}
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_key_that_no_longer_works_is_replaced(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that was revoked, and one that the database does not know, as after its data was removed."""
    first = prepared(file, capsys)
    at = clock.now()
    line: AuditLine = {"key_id": "operator", "source": "terminal", "request_id": "req_1", "at": at}
    keys.revoke(tokens.parse(first).key_id, at, line)
    second = prepared(file, capsys)
    assert second != first
    file.write_text(json.dumps({"api_key": tokens.render(tokens.issue("test", "key_01JD0000000000000000000000"))}))
    assert prepared(file, capsys) not in {first, second}
