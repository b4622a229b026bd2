"""A transfer with consent, and processes that die, come late or come second: one end, the same one."""

from functools import partial
from typing import Any

import pytest

from getsmart.machine import consent, send
from getsmart.stores import transactions
from tests.consenting import ENDED, MINED, TOKEN_LIFE, Pair
from tests.consenting import pair as pair  # noqa: PLC0414 - the fixture
from tests.crashes import Crashes
from tests.money import BEYOND_LEASES, QUIET, units
from tests.support import Answer, unique


def test_a_late_answer_does_not_wake_what_was_given_up(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that arrives after the row became unknown was given to nobody: it stays unknown."""
    asked = pair.transfer()
    row: Any = pair.bench.row(asked)
    stale = {name: value for name, value in row.items() if not name.startswith("consent_")}
    stale |= {"status": "queued", "version": row["version"] - 1}
    assert send._asked(stale, send.protocol.ConsentNeeded("other"))["consent_token"] == row["consent_token"]
    gone = dict.fromkeys(("consent_token", "consent_expires_at"), "")
    pair.bench.raw.transactions.update_one({"_id": row["_id"]}, {"$set": {"status": "queued"}, "$unset": gone})
    moved = send._asked(stale, send.protocol.ConsentNeeded("twin"))
    assert (moved["status"], moved["consent_token"]) == ("awaiting_consent", "twin")


def test_who_comes_second_changes_nothing(pair: Pair) -> None:
    """Each step loses to whoever moved the row first, and says how it stands."""
    asked = pair.transfer()
    stale: Any = pair.bench.row(asked)
    pair.pass_time(ENDED)
    assert consent._remember(stale, "x")["status"] == "expired"
    assert consent.deny(stale)["status"] == "expired"
    assert consent.deny(pair.bench.row(asked))["status"] == "expired"  # type: ignore[arg-type]
    assert consent.wait(stale)["status"] == "expired"
    assert consent._end(stale)["status"] == "expired"
    status = consent.ProviderStatus("completed", "0x1", None, (), None)
    assert consent._adopt(stale, "x", status)["status"] == "expired"
    found = consent.FoundTransfer("0x" + "cd" * 32, stale["consent_from_block"] + 1, 0, units("7"))
    assert consent._settle(stale, [found], found.block_number, [])["status"] == "expired"
    pair.bench.audit()


def test_an_id_taken_between_look_and_write(pair: Pair) -> None:
    """The unique index decides: the second one is told that it is not its own."""
    asked, other = pair.transfer(), pair.transfer()
    reported = pair.answer(other)
    pair.bench.time.advance(MINED)
    pair.report(other, reported)
    status = consent.ProviderStatus("completed", "0x1", None, (), None)
    row: Any = pair.bench.row(asked)
    with pytest.raises(consent.InvalidState):
        consent._adopt(row, reported, status)
    taken = pair.bench.row(other)["settlement"]
    found = consent.FoundTransfer(taken["tx_hash"], 10**6, taken["log_index"], units("7"))
    assert consent._settle(row, [found], 10**6, [])["status"] == "awaiting_consent"


def test_killed_anywhere_while_asking(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The retry of the caller finishes it: one token, one transaction, and approved it moves once."""
    crashes = Crashes(monkeypatch)
    boundaries = crashes.boundaries(partial(pair.transfer, "1"))
    assert "after getsmart.chain.head" in boundaries
    for boundary in boundaries:
        key = unique("killed")
        crashes.die(boundary, partial(pair.transfer, "1", key=key))
        pair.bench.time.advance(BEYOND_LEASES)
        asked = pair.transfer("1", key=key)
        assert (asked.status, asked.data["status"]) == (202, "awaiting_consent"), boundary
        reported = pair.answer(asked)
        pair.bench.time.advance(MINED)
        assert pair.report(asked, reported).data["status"] == "confirmed", boundary
    assert pair.bench.logs(pair.target["address"]) == len(boundaries)
    pair.pass_time(ENDED, 2)
    pair.pass_time(QUIET)
    pair.bench.audit()


@pytest.mark.parametrize("approved", [True, False])
def test_killed_anywhere_while_ending(pair: Pair, monkeypatch: pytest.MonkeyPatch, approved: bool) -> None:
    """The tick dies at each boundary of looking at a row whose time is over; the next one ends it the same way."""
    crashes = Crashes(monkeypatch)

    def over() -> Answer:
        asked = pair.transfer("1")
        if approved:
            pair.answer(asked)
        pair.bench.time.advance(ENDED)
        return asked

    def look(asked: Answer) -> Any:
        row: Any = transactions.find(asked.data["transaction_id"], None)
        return consent.look(row)

    first = over()
    boundaries = crashes.boundaries(partial(look, first))
    assert len(boundaries) >= 6
    ended = "confirmed" if approved else "expired"
    for boundary in boundaries:
        asked = over()
        crashes.die(boundary, partial(look, asked))
        pair.pass_time(QUIET)
        assert pair.bench.status(asked) == ended, boundary
    pair.pass_time(QUIET)
    pair.pass_time(QUIET)
    expected = len(boundaries) + 1 if approved else 0
    assert pair.bench.logs(pair.target["address"]) == expected
    pair.bench.audit()


def test_killed_anywhere_while_reporting(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser asks again, or nobody does: confirmed once."""
    crashes = Crashes(monkeypatch)

    def approved() -> tuple[Answer, str]:
        asked = pair.transfer("1")
        reported = pair.answer(asked)
        pair.bench.time.advance(MINED)
        return asked, reported

    boundaries = crashes.boundaries(partial(pair.report, *approved()))
    for boundary in boundaries:
        asked, reported = approved()
        crashes.die(boundary, partial(pair.report, asked, reported))
        pair.pass_time(TOKEN_LIFE + 1)
        assert pair.bench.status(asked) == "confirmed", boundary
    assert pair.bench.logs(pair.target["address"]) == len(boundaries) + 1
    pair.bench.audit()
