"""A transfer that its owner has to approve: each way of ending, whatever browsers, relays and processes do."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from getsmart import config
from getsmart.machine import consent, send
from getsmart.metakeep.signing import SigningKey
from getsmart.services import inbound, tick
from getsmart.stores import transactions
from tests.crashes import Crashes
from tests.deliveries import delivery
from tests.money import QUIET, STATUS_PATH, TRANSFER_PATH, Bench, units
from tests.node import Node, receipt, transfer_log
from tests.support import Answer, unique

RELAY = SigningKey.from_secret("c" * 42 + "A")
TOKEN_LIFE = 600.0
MINED = 3.0
ENDED = TOKEN_LIFE + 121.0


@dataclass
class Pair:
    """Two wallets, and transfers from the first, which holds 100 GETS, to the second."""

    bench: Bench
    target: dict[str, Any]

    def transfer(self, amount: str = "7", *, key: str | None = None, **more: Any) -> Answer:
        """POST tokens/transfer from the wallet."""
        body = {
            "from_wallet_id": self.bench.wallet["wallet_id"],
            "to_wallet_id": self.target["wallet_id"],
            "amount": amount,
            **more,
        }
        return self.bench.app.post("tokens/transfer", body, key=key or unique("consent"))

    def answer(self, asked: Answer, action: str = "approve") -> str:
        """What the person does in MetaKeep's frame; the id that their browser gets."""
        reply = self.bench.provider.private("consent", consentToken=asked.data["consent_token"], action=action)
        return str(reply.get("transactionId", ""))

    def report(self, asked: Answer, metakeep_transaction_id: str) -> Answer:
        """POST tokens/consent."""
        body = {
            "transaction_id": asked.data["transaction_id"],
            "metakeep_transaction_id": metakeep_transaction_id,
        }
        return self.bench.app.post("tokens/consent", body)

    def pass_time(self, seconds: float, looks: int = 1) -> None:
        """Let time go by, and the tick look."""
        self.bench.time.advance(seconds)
        for _ in range(looks):
            tick.run()

    def read(self, asked: Answer) -> dict[str, Any]:
        """GET tokens/transaction."""
        return self.bench.app.get("tokens/transaction", f"transaction_id={asked.data['transaction_id']}").data

    def ends(self, asked: Answer, status: str, *, logs: int) -> None:
        """The transaction has ended so, the chain has so many Transfers to the target, and the books agree."""
        assert self.bench.status(asked) == status, self.bench.row(asked)
        assert self.bench.logs(self.target["address"]) == logs
        moved = units("7") * logs
        assert self.bench.on_chain() == units("100") - moved
        assert self.bench.available(self.bench.wallet["wallet_id"]) == units("100") - moved
        self.bench.audit()

    def deliver(self, event_type: str, **data: str) -> dict[str, str]:
        """A genuine delivery of our relay."""
        body = b'{"type":"%b","data":%b}' % (event_type.encode(), _json(data))
        headers = delivery(RELAY, body, at_ms=_now_ms(self.bench), event_id=unique("event"), host="localhost")
        return inbound.receive(headers, body)


def _json(data: dict[str, str]) -> bytes:
    return json.dumps(data).encode()


def _now_ms(bench: Bench) -> int:
    return int(bench.now().timestamp() * 1000)


@pytest.fixture
def pair(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Two wallets of one application, and a relay whose key is pinned."""
    monkeypatch.setenv("METAKEEP_WEBHOOK_SENDER_KEYS", RELAY.public_key)
    config.forget()
    bench.catch_up()
    bench.funded("100")
    return Pair(bench, bench.new_wallet())


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change the environment; None unsets."""

    def change(**values: str | None) -> None:
        for name, value in values.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        config.forget()

    return change


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


def test_a_younger_equal_transfer_does_not_hold_the_older_up(pair: Pair) -> None:
    """What was asked for after the block cannot be its cause."""
    older = pair.transfer()
    pair.answer(older)
    pair.bench.time.advance(MINED)
    pair.bench.new_wallet()
    younger = pair.transfer()
    pair.pass_time(TOKEN_LIFE)
    assert (pair.bench.status(older), pair.bench.status(younger)) == ("confirmed", "awaiting_consent")


def test_without_a_node_only_evidence_ends_it(pair: Pair, setting: Callable[..., None]) -> None:
    """Nobody can show that nothing happened: it waits, reports count by MetaKeep alone, a dead denial ends it."""
    setting(CHAIN_RPC_URL=None)
    asked, told, denied = pair.transfer(), pair.transfer(), pair.transfer()
    reported = pair.answer(told)
    pair.bench.time.advance(MINED)
    assert pair.report(told, reported).data["status"] == "confirmed"
    pair.deliver("consent.denied", consentToken=denied.data["consent_token"])
    pair.pass_time(60)
    assert pair.bench.status(denied) == "awaiting_consent"
    pair.pass_time(3600)
    pair.pass_time(3600)
    assert (pair.bench.status(asked), pair.bench.status(denied)) == ("awaiting_consent", "cancelled")


def test_a_node_that_is_silent_claims_nothing(pair: Pair, setting: Callable[..., None]) -> None:
    """503, and no row: without the block of the beginning the end could not be shown."""
    setting(CHAIN_RPC_URL="http://127.0.0.1:9")
    refused = pair.transfer()
    assert (refused.status, refused.code) == (503, "provider_unavailable")
    pair.bench.audit()


def test_a_silent_provider_is_asked_again(pair: Pair, setting: Callable[..., None], pauses: list[float]) -> None:
    """503 for the browser, a later look for the tick; nothing is lost."""
    asked = pair.transfer()
    reported = pair.answer(asked)
    assert pair.report(asked, reported).status == 200
    pair.bench.time.advance(MINED)
    pair.bench.provider.fault(STATUS_PATH, "500", times=6)
    assert pair.report(asked, reported).code == "provider_unavailable"
    tick.run()
    assert pair.bench.status(asked) == "awaiting_consent"
    pair.bench.provider.clear()
    pair.pass_time(QUIET)
    pair.ends(asked, "confirmed", logs=1)


def test_at_depth_the_chain_must_have_passed_the_end(pair: Pair, setting: Callable[..., None]) -> None:
    """A node that lags proves nothing: the block that counts has to be younger than the end of the time."""
    asked = pair.transfer()
    end = pair.bench.row(asked)["consent_expires_at"].timestamp() + 120
    setting(CONFIRMATION_DEPTH="64")
    block = {"timestamp": hex(int(end) - 1)}
    with Node({"eth_blockNumber": hex(10_000), "eth_getLogs": [], "eth_getBlockByNumber": block}) as node:
        setting(CHAIN_RPC_URL=node.url)
        pair.pass_time(ENDED + 60)
        assert pair.bench.status(asked) == "awaiting_consent"
        spans = [q["params"][0] for q in node.questions if q["method"] == "eth_getLogs"]
        assert len(spans) == -(-(10_000 - pair.bench.row(asked)["consent_from_block"]) // 1_000)
        block["timestamp"] = hex(int(end) + 1)
        pair.pass_time(QUIET)
    pair.ends(asked, "expired", logs=0)


def test_a_transfer_that_lies_too_shallow_waits(pair: Pair, setting: Callable[..., None]) -> None:
    """Found, but not yet at the depth that counts: neither settled nor expired."""
    asked = pair.transfer()
    row = pair.bench.row(asked)
    log = transfer_log(
        pair.bench.sandbox.token_address, pair.bench.wallet["address"], pair.target["address"], units("7")
    )
    block = row["consent_from_block"] + 1
    log |= {"blockNumber": hex(block), "transactionHash": "0x" + "ab" * 32}
    setting(CONFIRMATION_DEPTH="5")
    with Node({"eth_blockNumber": hex(block + 4), "eth_getLogs": [log]}) as node:
        setting(CHAIN_RPC_URL=node.url)
        pair.pass_time(ENDED)
        assert pair.bench.status(asked) == "awaiting_consent"
        node.results["eth_blockNumber"] = hex(block + 5)
        pair.pass_time(QUIET)
    assert pair.bench.status(asked) == "confirmed"


def test_a_completed_report_that_the_node_has_not_seen_waits(pair: Pair, setting: Callable[..., None]) -> None:
    """MetaKeep is ahead of the node: the id stays a candidate."""
    asked = pair.transfer()
    reported = pair.answer(asked)
    pair.bench.time.advance(MINED)
    url = pair.bench.sandbox.rpc_url
    with Node({"eth_getTransactionReceipt": None}) as node:
        setting(CHAIN_RPC_URL=node.url)
        assert pair.report(asked, reported).data["status"] == "awaiting_consent"
    setting(CHAIN_RPC_URL=url)
    pair.pass_time(MINED)
    pair.ends(asked, "confirmed", logs=1)


def test_settled_later_where_the_witness_is_silent_meanwhile(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    """The id is taken, the settling is the tick's."""
    asked = pair.transfer()
    reported = pair.answer(asked)
    pair.bench.time.advance(MINED)
    real, calls = consent.settle.refresh, []

    def silent(row: Any, event: Any = None) -> Any:
        calls.append(row)
        raise consent.ProviderUnavailable("silent")

    monkeypatch.setattr(consent.settle, "refresh", silent)
    assert pair.report(asked, reported).data["status"] == "submitted"
    monkeypatch.setattr(consent.settle, "refresh", real)
    assert calls
    pair.pass_time(1)
    pair.ends(asked, "confirmed", logs=1)


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
        pair.bench.time.advance(16)
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


def test_a_node_that_talks_nonsense_moves_nothing(pair: Pair, setting: Callable[..., None]) -> None:
    """A malformed answer of the node moves nothing."""
    asked = pair.transfer()
    with Node({"eth_blockNumber": "0xffff", "eth_getLogs": [{"no": "log"}]}) as node:
        setting(CHAIN_RPC_URL=node.url)
        pair.pass_time(ENDED)
        assert pair.bench.status(asked) == "awaiting_consent"
        node.results["eth_getLogs"] = []
        node.results["eth_getBlockByNumber"] = receipt()
        setting(CONFIRMATION_DEPTH="1")
        pair.pass_time(QUIET)
        assert pair.bench.status(asked) == "awaiting_consent"
