"""A transfer that its owner has to approve: each way of ending, whatever browsers and relays do."""

from collections.abc import Callable
from typing import Any

import pytest

from getsmart.machine import consent, send
from getsmart.metakeep.protocol import ProviderRequest
from getsmart.services import tick
from tests.consenting import ENDED, MINED, TOKEN_LIFE, Pair
from tests.consenting import pair as pair  # noqa: PLC0414 - the fixture
from tests.money import QUIET, TRANSFER_PATH
from tests.support import unique


def test_the_token_is_for_its_client_while_it_awaits(pair: Pair, make_client: Callable[..., Any]) -> None:
    """In the reply and its repetition and in tokens/transaction; in no event, no stored reply, and not for an admin."""
    key = unique("key")
    asked, again = pair.transfer(key=key), pair.transfer(key=key)
    assert (asked.status, asked.data["status"], again.text) == (202, "awaiting_consent", asked.text)
    token = asked.data["consent_token"]
    assert len(token) > 40
    assert pair.read(asked)["consent_token"] == token
    row = pair.bench.row(asked)
    assert (row["consent_token"], row["hold"]["state"]) == (token, "held")
    assert asked.data["consent_expires_at"] > asked.data["created_at"]
    assert pair.bench.balance()["pending_out"] == "7"
    admin = make_client("operator", scopes=["admin"])
    seen = admin.get("tokens/transaction", f"transaction_id={row['_id']}").data
    assert seen["consent_token"] is None
    tick.run()
    del row["consent_token"]
    assert token not in str(row)
    assert token not in str(list(pair.bench.raw.events.find()))
    pair.bench.audit()


def test_after_its_end_no_token_is_left(pair: Pair) -> None:
    """Neither in the row, nor in the repetition of the reply, which is otherwise what it was."""
    key = unique("key")
    asked = pair.transfer(key=key)
    pair.pass_time(ENDED)
    pair.ends(asked, "expired", logs=0)
    assert asked.data["consent_token"] not in str(pair.bench.row(asked))
    assert pair.read(asked)["consent_token"] is None
    repeated = pair.transfer(key=key)
    assert repeated.headers["Idempotent-Replayed"] == "true"
    assert repeated.data == {**asked.data, "consent_token": None}


def test_a_reason_that_looks_like_the_mark_is_left_alone(pair: Pair) -> None:
    """The token is put where the field is, and nowhere else."""
    asked = pair.transfer(reason='"consent_token":null')
    assert asked.data["reason"] == '"consent_token":null'
    assert asked.data["consent_token"]


def test_approved_and_reported(pair: Pair) -> None:
    """Mined when the browser reports: confirmed at once; the same report again changes nothing."""
    asked = pair.transfer()
    reported = pair.answer(asked)
    pair.bench.time.advance(MINED)
    answer = pair.report(asked, reported)
    assert (answer.status, answer.data["status"]) == (200, "confirmed")
    assert (answer.data["metakeep_transaction_id"], answer.data["consent_token"]) == (reported, None)
    again = pair.report(asked, reported)
    assert (again.status, again.data) == (200, answer.data)
    pair.ends(asked, "confirmed", logs=1)


def test_reported_while_it_is_queued(pair: Pair) -> None:
    """Kept as a candidate, and confirmed by the tick once MetaKeep shows the Transfer."""
    pair.bench.time.stand()
    asked = pair.transfer()
    reported = pair.answer(asked)
    for _ in range(2):
        answer = pair.report(asked, reported)
        assert (answer.status, answer.data["status"]) == (200, "awaiting_consent")
    assert pair.bench.row(asked)["consent_candidates"] == [reported]
    pair.pass_time(MINED)
    pair.ends(asked, "confirmed", logs=1)


def test_denied(pair: Pair) -> None:
    """Our relay says so, the chain shows nothing: cancelled soon after, and the hold is back."""
    pair.bench.time.stand()
    asked = pair.transfer()
    pair.answer(asked, "deny")
    assert pair.deliver("consent.denied", consentToken=asked.data["consent_token"])["outcome"] == "pending"
    pair.deliver("consent.denied", consentToken=asked.data["consent_token"])
    pair.pass_time(14)
    assert pair.bench.status(asked) == "awaiting_consent"
    pair.pass_time(2)
    pair.ends(asked, "cancelled", logs=0)
    assert pair.read(asked)["failure"]["code"] == "consent_denied"
    assert pair.deliver("consent.denied", consentToken=asked.data["consent_token"])["outcome"] == "unrelated"


def test_denied_after_another_device_approved(pair: Pair) -> None:
    """A denial is only a hint: the Transfer on the chain counts."""
    asked = pair.transfer()
    pair.answer(asked)
    pair.deliver("consent.denied", consentToken=asked.data["consent_token"])
    pair.pass_time(16)
    pair.ends(asked, "confirmed", logs=1)


def test_the_relay_reports_an_approval(pair: Pair) -> None:
    """The browser is gone, our relay is not: its id is a candidate like a browser's."""
    pair.bench.time.stand()
    asked = pair.transfer()
    told = {"consentToken": asked.data["consent_token"], "transactionId": pair.answer(asked)}
    assert pair.deliver("consent.approved", **told)["outcome"] == "pending"
    pair.bench.time.advance(MINED)
    assert pair.deliver("consent.approved", **told)["outcome"] == "applied"
    pair.ends(asked, "confirmed", logs=1)


def test_a_relay_that_errs_moves_nothing(pair: Pair) -> None:
    """An id that is not this transfer's, a token without an id and an unknown token are unrelated or wait."""
    asked = pair.transfer()
    token = asked.data["consent_token"]
    assert pair.deliver("consent.approved", consentToken=token, transactionId="nobody")["outcome"] == "unrelated"
    assert pair.deliver("consent.expired", consentToken=token)["outcome"] == "pending"
    assert pair.deliver("consent.denied", consentToken="unknown")["outcome"] == "unrelated"
    assert pair.bench.status(asked) == "awaiting_consent"


def test_a_browser_that_never_returns(pair: Pair) -> None:
    """Never approved: expired two minutes after the token, not before, and the hold is back."""
    asked = pair.transfer()
    pair.pass_time(TOKEN_LIFE - 5)
    pair.pass_time(10)
    pair.pass_time(100)
    assert pair.bench.status(asked) == "awaiting_consent"
    pair.pass_time(20)
    pair.ends(asked, "expired", logs=0)
    assert pair.read(asked)["failure"]["code"] == "consent_expired"


def test_approved_at_the_last_second_by_a_browser_that_dies(pair: Pair) -> None:
    """Nobody tells us: the chain does, when the token is over."""
    pair.bench.time.stand()
    asked = pair.transfer()
    pair.bench.time.advance(TOKEN_LIFE - 1)
    pair.answer(asked)
    pair.pass_time(MINED)
    pair.ends(asked, "confirmed", logs=1)
    assert pair.read(asked)["metakeep_transaction_id"] is None


def test_a_lie_moves_nothing_and_blocks_nothing(pair: Pair) -> None:
    """Someone else's id, another amount, used before, unknown: 409 each; the true id counts afterwards."""
    other_amount, used = pair.transfer("8"), pair.transfer()
    wrong_amount = pair.answer(other_amount)
    used_id = pair.answer(used)
    pair.bench.time.advance(MINED)
    assert pair.report(used, used_id).data["status"] == "confirmed"
    foreign = pair.bench.mint("7")
    pair.bench.settle()
    asked = pair.transfer()
    for lie in (wrong_amount, used_id, str(pair.bench.row(foreign)["metakeep_transaction_id"]), "nobody"):
        answer = pair.report(asked, lie)
        assert (answer.status, answer.code) == (409, "invalid_state")
    assert pair.bench.status(asked) == "awaiting_consent"
    truth = pair.answer(asked)
    pair.bench.time.advance(MINED)
    assert pair.report(asked, truth).data["status"] == "confirmed"
    assert pair.report(other_amount, wrong_amount).data["status"] == "confirmed"
    pair.bench.audit()


def test_an_equal_transfer_from_before_is_not_this_one(pair: Pair) -> None:
    """Made elsewhere with the same parties and amount: only what came after we asked can be ours."""
    older = pair.transfer()
    old_id = pair.answer(older)
    pair.bench.time.advance(MINED)
    pair.bench.raw.transactions.delete_one({"_id": pair.bench.row(older)["_id"]})
    asked = pair.transfer()
    assert pair.report(asked, old_id).code == "invalid_state"
    pair.pass_time(ENDED)
    assert pair.bench.status(asked) == "expired"


def test_a_failed_approval_is_no_evidence(pair: Pair) -> None:
    """Reverted or never mined: the id shows no Transfer and could be anybody's; the row ends with its time."""
    pair.bench.time.stand()
    for kind in ("failed", "cancelled"):
        pair.bench.provider.fault(TRANSFER_PATH, kind)
        asked = pair.transfer()
        reported = pair.answer(asked)
        assert pair.report(asked, reported).data["status"] == "awaiting_consent"
        pair.pass_time(MINED)
        assert "consent_candidates" not in pair.bench.row(asked) or not pair.bench.row(asked)["consent_candidates"]
        assert pair.report(asked, reported).code == "invalid_state"
        pair.pass_time(ENDED)
        pair.ends(asked, "expired", logs=0)


def test_a_stuck_candidate_holds_the_end_up_only_for_a_while(pair: Pair) -> None:
    """It may be ours and unmined: 15 minutes more, then the chain decides."""
    pair.bench.provider.fault(TRANSFER_PATH, "stuck")
    asked = pair.transfer()
    pair.report(asked, pair.answer(asked))
    pair.pass_time(ENDED)
    assert pair.bench.status(asked) == "awaiting_consent"
    pair.pass_time(800)
    assert pair.bench.status(asked) == "expired"


def test_only_the_newest_candidates_are_kept(pair: Pair) -> None:
    """A browser that offers any number of queued ids does not fill our row; the right one is found all the same."""
    ids = []
    for _ in range(12):
        pair.bench.provider.fault(TRANSFER_PATH, "stuck")
        ids.append(pair.answer(pair.transfer("1")))
    asked = pair.transfer()
    for stuck in ids:
        assert pair.report(asked, stuck).status == 200
    assert pair.bench.row(asked)["consent_candidates"] == ids[-10:]
    pair.answer(asked)
    pair.pass_time(TOKEN_LIFE + 1)
    pair.pass_time(120)
    assert pair.bench.status(asked) == "confirmed"


def test_equal_transfers_get_a_transfer_each(pair: Pair) -> None:
    """Three alike, two approved, no browser comes back: two are confirmed by two different logs, one expires."""
    asked = [pair.transfer() for _ in range(3)]
    pair.answer(asked[1])
    pair.answer(asked[2])
    pair.pass_time(TOKEN_LIFE + 5)
    assert {pair.bench.status(one) for one in asked} == {"awaiting_consent"}
    for _ in range(4):
        pair.pass_time(QUIET)
    assert sorted(pair.bench.status(one) for one in asked) == ["confirmed", "confirmed", "expired"]
    hashes = {pair.bench.row(one).get("tx_hash") for one in asked}
    assert len(hashes) == 3
    assert pair.bench.logs(pair.target["address"]) == 2
    pair.bench.audit()


def test_an_equal_transfer_that_was_reported_keeps_what_is_its_own(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """MetaKeep still calls the younger's id queued when the older one, which nobody approved, looks at the chain."""
    older, younger = pair.transfer(), pair.transfer()
    its_id, real = pair.answer(younger), consent.client.call

    def lagging(request: ProviderRequest, **options: Any) -> dict[str, Any]:
        answer = real(request, **options)
        return {"status": "QUEUED"} if its_id.encode() in request.body else answer

    monkeypatch.setattr(consent.client, "call", lagging)
    assert pair.report(younger, its_id).data["status"] == "awaiting_consent"
    pair.pass_time(TOKEN_LIFE + 5)
    pair.pass_time(QUIET)
    pair.pass_time(QUIET)
    assert {pair.bench.status(one) for one in (older, younger)} == {"awaiting_consent"}
    monkeypatch.setattr(consent.client, "call", real)
    for _ in range(4):
        pair.pass_time(QUIET)
    assert (pair.bench.status(older), pair.bench.status(younger)) == ("expired", "confirmed")
    assert pair.bench.row(younger)["metakeep_transaction_id"] == its_id
    pair.bench.audit()


def test_a_younger_equal_transfer_does_not_hold_the_older_up(pair: Pair) -> None:
    """What was asked for after the block cannot be its cause."""
    older = pair.transfer()
    pair.answer(older)
    pair.bench.time.advance(MINED)
    pair.bench.new_wallet()
    younger = pair.transfer()
    pair.pass_time(TOKEN_LIFE)
    assert (pair.bench.status(older), pair.bench.status(younger)) == ("confirmed", "awaiting_consent")


def test_transfers_that_nobody_awaits_take_no_report(pair: Pair) -> None:
    """A mint, and a transfer that has ended."""
    minted = pair.bench.mint()
    assert pair.report(minted, "any").code == "invalid_state"
    asked = pair.transfer()
    pair.pass_time(ENDED)
    assert pair.report(asked, "any").code == "invalid_state"


def test_a_consent_for_a_mint_is_a_surprise(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """MetaKeep asks for consent to what needs none: put off, and unknown in the end rather than lost."""
    answer = {"status": "USER_CONSENT_NEEDED", "consentToken": "surprise"}
    monkeypatch.setattr(send.client, "call", lambda *_, **__: answer)
    minted = pair.bench.mint()
    assert minted.data["status"] == "queued"
    assert pair.bench.row(minted)["is_ambiguous"]


def test_a_wallet_does_not_pay_itself_nor_more_than_it_has(pair: Pair) -> None:
    """Both are refused before anything is claimed."""
    itself = pair.transfer(to_wallet_id=pair.bench.wallet["wallet_id"])
    assert (itself.status, itself.fields) == (400, ["to_wallet_id"])
    assert pair.transfer("100.000000000000000001").code == "insufficient_balance"
    outside = pair.transfer(to_wallet_id=None, to_address=pair.bench.wallet["address"])
    assert (outside.status, outside.fields) == (400, ["to_address"])
