"""Mint, transfer and burn from call to confirmation, over the real database, provider sandbox and chain."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from getsmart import config
from getsmart.amounts import UNIT
from tests.money import MINT_PATH, Bench, in_parallel, units
from tests.support import Answer, Client, unique

OUTSIDE = "0x00000000000000000000000000000000000000A1"


def test_a_badge_mint_is_confirmed_and_booked(bench: Bench) -> None:
    """A badge claim mints 1,000 GETS on chain, and the books say the same."""
    minted = bench.claim_badge("b1", unique("c"))
    assert minted.status == 202, minted.text
    assert (minted.data["status"], minted.headers["Idempotent-Replayed"]) == ("submitted", "false")
    bench.settle()
    transaction = bench.app.get("tokens/transaction", f"transaction_id={minted.data['transaction_id']}").data
    assert transaction["status"] == "confirmed"
    assert [step["status"] for step in transaction["timeline"]] == ["queued", "submitted", "confirmed"]
    balance = bench.balance()
    assert (balance["posted"], balance["available"], balance["ledger_sequence"]) == ("1000", "1000", 1)
    assert bench.on_chain() == 1000 * UNIT
    assert bench.logs() == 1
    bench.audit()


def test_an_amount_is_minted_to_the_last_base_unit(bench: Bench) -> None:
    """The smallest amount there is arrives as such."""
    minted = bench.mint("0.000000000000000001", reason="smallest")
    assert (minted.data["amount"], minted.data["reason"]) == ("0.000000000000000001", "smallest")
    bench.settle()
    assert bench.on_chain() == 1
    bench.audit()


def test_a_mint_on_its_way_is_pending_in(bench: Bench) -> None:
    """Until it is confirmed a mint is pending, not posted."""
    bench.mint("12.5")
    balance = bench.balance()
    assert (balance["posted"], balance["pending_in"], balance["available"]) == ("0", "12.5", "0")
    bench.settle()
    balance = bench.balance()
    assert (balance["posted"], balance["pending_in"], balance["available"]) == ("12.5", "0", "12.5")


def test_a_transfer_from_the_treasury_reaches_a_wallet(bench: Bench) -> None:
    """Treasury and wallet move by the same amount, in the books and on chain."""
    treasury = bench.on_chain(bench.sandbox.treasury_address)
    sent = bench.transfer("250")
    assert sent.data["from"] == {"account": "treasury"}
    bench.settle()
    assert bench.status(sent) == "confirmed"
    assert bench.on_chain() == 250 * UNIT
    assert bench.on_chain(bench.sandbox.treasury_address) == treasury - 250 * UNIT
    token = bench.app.get("tokens/info").data
    assert token["treasury"]["balance"] == "19999750"
    bench.audit()


def test_a_transfer_to_an_outside_address_is_booked_as_external(bench: Bench) -> None:
    """What leaves our wallets stays visible in the account `external`."""
    before = bench.on_chain(OUTSIDE)
    sent = bench.transfer("3", to_address=OUTSIDE)
    assert sent.data["to"] == {"address": OUTSIDE.lower(), "account": "external"}
    bench.settle()
    assert bench.status(sent) == "confirmed"
    assert bench.on_chain(OUTSIDE) == before + 3 * UNIT
    bench.audit()


@pytest.mark.parametrize("spelling", [str, str.lower])
def test_a_transfer_to_a_wallets_address_is_credited_to_the_wallet(
    bench: Bench, spelling: Callable[[str], str]
) -> None:
    """One of our wallets named by its address gets its credit, and its id is not given away."""
    sent = bench.transfer("4", to_address=spelling(bench.wallet["address"]))
    assert sent.data["to"] == {"address": bench.wallet["address"]}
    bench.settle()
    assert bench.balance()["posted"] == "4"
    bench.audit()


@pytest.mark.parametrize("which", ["zero", "contract", "treasury"])
def test_addresses_that_cannot_be_paid_are_refused(bench: Bench, which: str) -> None:
    """The zero address, the contract and the treasury itself are no targets, in any case of letters."""
    address = {
        "zero": "0x" + "0" * 40,
        "contract": bench.sandbox.token_address.lower(),
        "treasury": bench.sandbox.treasury_address.lower(),
    }[which]
    refused = bench.transfer("1", to_address=address)
    assert (refused.status, refused.code, refused.fields) == (400, "invalid_request", ["to_address"])
    assert bench.raw.transactions.find_one() is None
    bench.audit()


def test_transfers_to_an_address_can_be_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without METAKEEP_TRANSFER_TO_ADDRESS=on the inferred form is never used."""
    monkeypatch.delenv("METAKEEP_TRANSFER_TO_ADDRESS")
    config.forget()
    refused = bench.transfer("1", to_address=OUTSIDE)
    assert (refused.status, refused.fields) == (400, ["to_address"])
    assert bench.transfer("1").status == 202


def test_a_burn_takes_from_the_wallet_and_not_from_the_cap(bench: Bench) -> None:
    """Burning lowers the balance at once, the circulation when confirmed, and never frees the cap."""
    bench.funded("100")
    free = bench.available("supply")
    burnt = bench.burn("30")
    balance = bench.balance()
    assert (balance["posted"], balance["pending_out"], balance["available"]) == ("100", "30", "70")
    bench.settle()
    assert bench.status(burnt) == "confirmed"
    balance = bench.balance()
    assert (balance["posted"], balance["available"], balance["ledger_sequence"]) == ("70", "70", 2)
    token = bench.app.get("tokens/info").data
    assert (token["burned"], token["circulating"], token["minted"]) == ("30", "20000070", "20000100")
    assert bench.available("supply") == free
    bench.audit()


@pytest.mark.parametrize("kind", ["mint", "transfer", "burn"])
def test_a_foreign_wallet_is_not_found(bench: Bench, make_client: Callable[..., Client], kind: str) -> None:
    """A wallet that a client is not linked to does not exist for it; nothing is set aside."""
    bench.app = make_client("stranger")
    answer = {"mint": bench.mint, "transfer": bench.transfer, "burn": bench.burn}[kind]("1")
    assert (answer.status, answer.code) == (404, "not_found")
    bench.audit()


def test_an_admin_may_mint_into_any_wallet(bench: Bench, make_client: Callable[..., Client]) -> None:
    """The scope admin sees every client's wallets."""
    bench.app = make_client("admins", scopes=["admin"])
    minted = bench.mint("1")
    assert minted.status == 202
    bench.settle()
    assert bench.status(minted) == "confirmed"


def test_a_replay_repeats_the_first_answer_byte_for_byte(bench: Bench) -> None:
    """The stored reply comes back for ever, whatever became of the transaction, in any order of the fields."""
    key = unique("key")
    first = bench.mint("5", key=key)
    bench.settle()
    turned = f'{{"amount": "5",  "wallet_id": "{bench.wallet["wallet_id"]}"}}'
    for again in (bench.mint("5", key=key), bench.app.post("tokens/mint", turned, key=key)):
        assert (again.status, again.text) == (first.status, first.text)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert bench.raw.transactions.count_documents({}) == 1
    assert bench.logs() == 1
    bench.audit()


def test_another_body_under_a_key_is_a_mismatch(bench: Bench) -> None:
    """422, whether the first call has ended or not; the key keeps its first meaning."""
    key = unique("key")
    bench.mint("5", key=key)
    refused = bench.mint("6", key=key)
    assert (refused.status, refused.code) == (422, "idempotency_mismatch")
    bench.audit()


def test_a_key_is_scoped_by_client_and_path(bench: Bench, make_client: Callable[..., Client]) -> None:
    """Another client or another endpoint may use the same key for its own purpose."""
    key = unique("key")
    other = make_client("second")
    email = bench.wallet["owner"]["email"]
    assert other.post("wallets/create", {"owner": {"email": email}}).status == 200
    answers = [bench.mint("5", key=key), bench.mint("6", key=key, client=other), bench.transfer("7", key=key)]
    assert [answer.status for answer in answers] == [202, 202, 202]
    bench.settle()
    assert bench.balance()["posted"] == "18"
    bench.audit()


def test_a_badge_is_claimed_once(bench: Bench) -> None:
    """The same badge and claimant under another key is refused, and what was set aside comes back."""
    claimant = unique("c")
    bench.claim_badge("b1", claimant)
    refused = bench.claim_badge("b1", claimant)
    assert (refused.status, refused.code) == (409, "badge_already_claimed")
    assert bench.claim_badge("b2", claimant).status == 202
    assert bench.claim_badge("b1", claimant.upper()).status == 202
    bench.settle()
    assert bench.claim_badge("b1", claimant).code == "badge_already_claimed"
    assert bench.balance()["posted"] == "3000"
    bench.audit()


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_badge_is_free_again_when_nothing_came_of_it(bench: Bench, end: str) -> None:
    """A mint that failed or was cancelled releases its badge claim for another key."""
    claimant = unique("c")
    bench.provider.fault(MINT_PATH, end)
    first = bench.claim_badge("b1", claimant)
    bench.settle()
    assert bench.status(first) == end
    assert bench.row(first)["badge_claim"] == {"badge_id": "b1", "claimant": claimant}
    second = bench.claim_badge("b1", claimant)
    bench.settle()
    assert bench.status(second) == "confirmed"
    assert bench.logs() == 1
    bench.audit()


def test_two_clients_may_reward_the_same_badge(bench: Bench, make_client: Callable[..., Client]) -> None:
    """Badge claims belong to their client."""
    other = make_client("second")
    other.post("wallets/create", {"owner": {"email": bench.wallet["owner"]["email"]}})
    claimant = unique("c")
    first = bench.claim_badge("b1", claimant)
    bench.app = other
    assert (first.status, bench.claim_badge("b1", claimant).status) == (202, 202)


def test_parallel_mints_under_one_key_are_one_mint(bench: Bench) -> None:
    """32 at once: one row, one Transfer, one reserve; the others repeat the answer or are told to wait."""
    key = unique("key")
    answers = in_parallel([partial(bench.mint, "10", key=key)] * 32)
    accepted = [answer for answer in answers if answer.status == 202]
    assert len({answer.text for answer in accepted}) == 1
    assert [answer.headers["Idempotent-Replayed"] for answer in accepted].count("false") == 1
    waiting = [answer for answer in answers if answer.status != 202]
    assert {answer.code for answer in waiting} <= {"idempotency_in_progress"}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in waiting)
    bench.only_row()
    bench.audit()
    bench.settle()
    assert bench.logs() == 1
    assert bench.balance()["posted"] == "10"
    bench.audit()


def test_parallel_claims_of_one_badge_are_one_reward(bench: Bench) -> None:
    """The same badge under many keys: one gets it, the others are refused, nothing stays set aside."""
    claimant = unique("c")
    answers = in_parallel([partial(bench.claim_badge, "b1", claimant)] * 8)
    assert sorted(answer.status for answer in answers) == [202] + [409] * 7
    assert {answer.code for answer in answers if answer.status == 409} == {"badge_already_claimed"}
    bench.audit()


def _outcomes(answers: list[Answer]) -> tuple[int, list[str]]:
    return len([a for a in answers if a.status == 202]), [a.code for a in answers if a.status != 202]


def test_parallel_mints_never_exceed_the_cap(bench: Bench) -> None:
    """I2: exactly those that fit are accepted; the others claim nothing and say supply_exhausted."""
    bench.limit("supply", "55")
    answers = in_parallel([partial(bench.mint, "10")] * 12)
    assert _outcomes(answers) == (5, ["supply_exhausted"] * 7)
    assert bench.available("supply") == units("5")
    bench.settle()
    assert bench.balance()["posted"] == "50"
    bench.audit()
    assert bench.mint("5.000000000000000001").code == "supply_exhausted"
    assert bench.mint("5").status == 202


def test_parallel_transfers_never_exceed_the_treasury(bench: Bench) -> None:
    """Exactly those that fit are accepted; the others claim nothing and say insufficient_balance."""
    bench.limit("treasury", "45")
    answers = in_parallel([partial(bench.transfer, "10")] * 8)
    assert _outcomes(answers) == (4, ["insufficient_balance"] * 4)
    bench.settle()
    assert bench.balance()["posted"] == "40"
    assert bench.transfer("5.1").code == "insufficient_balance"
    bench.audit()


def test_parallel_burns_never_exceed_the_wallet(bench: Bench) -> None:
    """A wallet can burn what it has, once."""
    bench.funded("35")
    answers = in_parallel([partial(bench.burn, "10")] * 8)
    assert _outcomes(answers) == (3, ["insufficient_balance"] * 5)
    bench.settle()
    assert (bench.balance()["posted"], bench.on_chain()) == ("5", units("5"))
    bench.audit()


def test_an_empty_wallet_has_nothing_to_burn(bench: Bench) -> None:
    """A wallet that never moved has no account yet; a mint on its way cannot be burnt either."""
    assert bench.burn("1").code == "insufficient_balance"
    bench.mint("1")
    refused = bench.burn("1")
    assert (refused.status, refused.code) == (409, "insufficient_balance")
    bench.audit()


def test_a_refused_key_can_be_used_again(bench: Bench) -> None:
    """A 4xx claims nothing: the same key works once the cause is gone."""
    key = unique("key")
    assert bench.burn("1", key=key).status == 409
    bench.funded("1")
    assert bench.burn("1", key=key).status == 202


def test_wallet_entries_carry_sequence_and_running_balance(bench: Bench) -> None:
    """Each wallet entry knows its place and the balance after it."""
    bench.funded("7")
    bench.transfer("2")
    bench.settle()
    bench.burn("1")
    bench.settle()
    entries = list(bench.raw.entries.find({"account": bench.wallet["wallet_id"]}).sort("account_sequence", 1))
    seen = [(e["account_sequence"], e["direction"], int(e["balance_after"].to_decimal()) // UNIT) for e in entries]
    assert seen == [(1, "credit", 7), (2, "credit", 9), (3, "debit", 8)]
    bench.audit()


def test_the_persons_address_leaves_the_row_when_it_is_final(bench: Bench) -> None:
    """The stored request names a person only as long as it may be sent again."""
    email: str = bench.wallet["owner"]["email"]
    minted = bench.mint()
    assert email in bench.row(minted)["request"]["body"]
    bench.settle()
    row: dict[str, Any] = bench.row(minted)
    assert row["request"]["body"] is None
    assert email not in str(row)
    assert email not in str(list(bench.raw.events.find({"type": {"$regex": "^transaction"}})))
