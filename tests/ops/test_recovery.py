"""The switch that stops money after a restore."""

import pytest

from getsmart import config, mongo
from ops import recovery
from tests.edge import Raw


def test_on_off_and_status(system: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command says how it stands then; a fresh database is not recovering."""
    for command, said in (("status", "not "), ("on", ""), ("status", ""), ("off", "not "), ("status", "not ")):
        assert recovery.main([command]) == 0
        assert capsys.readouterr().out == f"{said}recovering\n"


def test_a_missing_database_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, and the variable's name."""
    monkeypatch.delenv("MONGODB_URI", raising=False)
    config.forget()
    mongo.forget()
    assert recovery.main(["status"]) == 1
    assert capsys.readouterr().err == "recovery: environment: MONGODB_URI (missing)\n"
    config.forget()
