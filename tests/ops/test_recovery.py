"""The brake on money: a person's, and the one that a restore leaves."""

import pytest

from getsmart import config, mongo
from getsmart.services import tick
from getsmart.stores import controls
from ops import recovery
from tests.edge import Raw
from tests.money import MINT_PATH, Bench


def test_on_off_and_status(system: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command says how it stands then, and the brake who put it on, since when and why."""
    assert recovery.main(["status"]) == 0
    assert capsys.readouterr().out == "not recovering: money moves\n"
    for words in (["on", "--because", "the cap is broken", "--who", "ada"], ["status"]):
        assert recovery.main(words) == 0
        said = capsys.readouterr().out
        assert said.startswith("stopped by ada since ")
        assert said.endswith(": the cap is broken. ./doit recovery off ends it\n")
    stopped = system.controls.find_one({"_id": "recovery"}) or {}
    assert stopped.keys() == {"_id", "stopped"}  # nothing was restored
    assert recovery.main(["off"]) == 0
    assert capsys.readouterr().out == "not recovering: money moves\n"


def test_a_brake_needs_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever comes next has to know why."""
    for words in (["on"], ["on", "--because", " "]):
        with pytest.raises(SystemExit, match="2"):
            recovery.main(words)
        assert "on needs --because TEXT" in capsys.readouterr().err


def test_a_brake_lasts_until_a_person_takes_it_off(bench: Bench, pauses: list[float]) -> None:
    """A tick that reaches the chain's head ends what a restore began, and never what a person stopped."""
    bench.catch_up()
    minted = bench.mint("5")
    assert recovery.main(["on", "--because", "looked at"]) == 0
    sent = bench.mark()
    for _ in range(3):
        bench.time.advance(40)
        tick.run()
    refused = bench.mint("1")
    assert (refused.status, refused.code) == (503, "recovering")
    assert bench.calls(MINT_PATH, sent) == []
    assert bench.status(minted) == "confirmed"  # what was sent comes to its end
    assert recovery.main(["on", "--because", "by a snapshot of the provider", "--restored"]) == 0
    tick.run()
    assert "is_recovering" in controls.read_recovery()
    assert not controls.read_recovery()["is_recovering"]
    assert bench.mint("1").code == "recovering"
    assert recovery.main(["off"]) == 0
    assert bench.mint("1").status == 202
    bench.settle()
    bench.audit()


def test_an_empty_database_is_not_the_one_that_is_meant(system: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither supply nor colour: money is not stopped there, and nobody is told that it was."""
    system.controls.delete_many({})
    assert recovery.main(["on", "--because", "an emergency"]) == 1
    assert "this database holds no supply and no colour" in capsys.readouterr().err
    assert system.controls.count_documents({}) == 0


def test_too_early_is_refused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the chain was read to its head a node's word is waited for; forced, what may have been is held back."""
    controls.stop("ada", "restored")
    controls.set_recovering(is_recovering=True)
    assert recovery.main(["off"]) == 1
    assert "the chain was not read past the moment of the restore yet" in capsys.readouterr().err
    assert controls.is_recovering()
    assert recovery.main(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("coming past the restore ends it")
    assert recovery.main(["off", "--force"]) == 0
    known = controls.read_recovery()
    assert (known["is_recovering"], known["is_overshadowed"], known.get("stopped")) == (False, True, None)
    controls.stop("ada", "restored again")
    controls.set_recovering(is_recovering=True)
    bench.catch_up()
    tick.run()
    assert recovery.main(["off"]) == 0
    assert not controls.is_recovering()


def test_without_a_node_a_person_ends_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody can read the chain, and nobody ever has: then it is believed. A database under restore is not opened."""
    monkeypatch.delenv("CHAIN_RPC_URL")
    config.forget()
    controls.set_recovering(is_recovering=True)
    bench.raw.controls.update_one({"_id": "recovery"}, {"$set": {"is_being_restored": True}})
    assert recovery.main(["off"]) == 1
    assert "a restore is under way" in capsys.readouterr().err
    assert recovery.main(["status"]) == 0
    assert "being restored" in capsys.readouterr().out
    bench.raw.controls.update_one({"_id": "recovery"}, {"$unset": {"is_being_restored": ""}})
    bench.raw.controls.insert_one({"_id": "reconciliation", "to_block": 1, "block_hash": "0x", "version": 1})
    assert recovery.main(["off"]) == 1  # a node has been read somewhere: this terminal does not know it
    bench.raw.controls.delete_one({"_id": "reconciliation"})
    assert recovery.main(["off"]) == 0
    assert not controls.is_recovering()


def test_a_missing_database_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, and the variable's name."""
    monkeypatch.delenv("MONGODB_URI", raising=False)
    config.forget()
    mongo.forget()
    assert recovery.main(["status"]) == 1
    assert capsys.readouterr().err == "recovery: environment: MONGODB_URI (missing)\n"
    config.forget()
