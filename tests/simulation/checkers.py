"""The judges of money: I1 to I4 and I7, each from what there is, by rules of its own and not by the product's code.

Every check yields sentences; none means that the promise held. The states and their moves are read from the product,
as they are drawn there; whatever else is compared is recomputed.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise

from getsmart.amounts import MAX_SUPPLY
from getsmart.models import BURNED, EXTERNAL, ISSUANCE, MOVES, SYSTEM_ACCOUNTS, TREASURY, is_final
from getsmart.mongo import to_units
from tests.simulation.actors import MOST_SKEW, Op, Reply
from tests.simulation.facts import Facts, Transfer, signed
from tests.simulation.world import Row

ZERO_ADDRESS = "0x" + "0" * 40
_REFUSALS = frozenset(
    {
        *(
            "supply_exhausted",
            "insufficient_balance",
            "badge_already_claimed",
            "limit_exceeded",
            "idempotency_mismatch",
        ),
        *("invalid_state", "not_found"),
    }
)
_HORIZON = timedelta(minutes=15)  # design section 4: later nothing is sent again
_SKEW = timedelta(seconds=MOST_SKEW)
Check = Callable[[Facts], Iterator[str]]


def is_at_rest(row: Row) -> bool:
    """Whether nothing of the row is still to come by itself: it is final, or the chain alone could tell."""
    return is_final(row["status"]) or (row["status"] == "unknown" and "due_at" not in row)


def nobody_is_forgotten(facts: Facts) -> Iterator[str]:
    """I1 at any moment: an open row is due, unless it has no id to ask about and is too old to be sent again."""
    for row in facts.transactions:
        if is_final(row["status"]) or "due_at" in row:
            continue
        age = facts.now - row.get("send_started_at", row["created_at"])
        if row["status"] != "unknown" or "metakeep_transaction_id" in row or age < _HORIZON - 2 * _SKEW:
            yield f"I1: {row['_id']} is {row['status']} after {age}, and nobody looks at it again"


def not_too_much(facts: Facts) -> Iterator[str]:
    """I2 at any moment: of no reserve more is available than the books and the open rows leave.

    But for a claim that came after a repair: whoever takes it over sets its amount aside, or voids it, before anything
    of it is sent (docs/adr/0040). In the end there is no such excuse: `reserves_are_right`.
    """
    for name, (available, expected) in facts.reserves().items():
        if available > expected + facts.unbacked(name):
            yield f"I2: {name} has {available - expected} base units more available than there are"
    minted = -facts.posted[ISSUANCE] + facts.gone
    if minted + facts.held.get("supply", 0) > MAX_SUPPLY:
        yield "I2: minted and reserved exceed the cap"


def reserves_are_right(facts: Facts) -> Iterator[str]:
    """In the end nothing is leaked: what is available is what the books and the open rows leave."""
    for name, (available, expected) in facts.reserves().items():
        if available != expected:
            yield f"I2: {name}: available is {available}, and should be {expected}"


def answered_once(facts: Facts) -> Iterator[str]:
    """I1: one row for a key, however often it was used; each 2xx has it; all replies to it are the same bytes."""
    for (client, path, key), ops in _by_key(facts).items():
        good = {reply.body for op in ops for reply in op.replies if reply.status < 300}
        rows = _rows_of(facts, client, path, key)
        if good and len(rows) != 1:
            yield f"I1: {key} of {client} was answered 2xx and stands for {len(rows)} rows"
        if len({_without_token(body) for body in good}) > 1:
            yield f"I1: {key} of {client} was answered in {len(good)} ways"
        if not good and rows and all(_is_refusal(op.final) for op in ops):
            yield f"I1: {key} of {client} was refused, and stands for a row"
    for op in facts.ops:
        yield from _answers_of(op)


def _answers_of(op: Op) -> Iterator[str]:
    if op.final is None:
        yield f"I1: {op.name} has no definite answer: {[reply.code or reply.status for reply in op.replies][-3:]}"
    for reply in op.replies:
        if reply.code in ("internal", "misconfigured") or (reply.status == 400 and op.client != "admin"):
            yield f"I1: {op.name} was answered {reply.status} {reply.code}: {reply.body[:200]}"


def _is_refusal(reply: Reply | None) -> bool:
    return reply is not None and reply.code in _REFUSALS


def _by_key(facts: Facts) -> dict[tuple[str, str, str], list[Op]]:
    """Calls by the key they share; those that use another's key for something else are judged by their refusal."""
    found: dict[tuple[str, str, str], list[Op]] = defaultdict(list)
    for op in facts.ops:
        if op.key is not None:
            found[op.client, op.path, op.key].append(op)
    return found


def _rows_of(facts: Facts, client: str, path: str, key: str) -> list[Row]:
    if path == "tokens/airdrop":
        return [row for row in facts.rows["batches"] if row["client_id"] == client and key in row["idempotency_keys"]]
    route = f"/v1/{path}"
    return [
        row
        for row in facts.transactions
        if (row["client_id"], row["route"], row["idempotency_key"]) == (client, route, key)
    ]


def _without_token(body: str) -> str:
    """A consent token is never kept with a reply: docs/adr/0006."""
    content = json.loads(body)
    if content.get("data", {}).get("consent_token"):
        content["data"]["consent_token"] = None
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return body


def one_effect(facts: Facts) -> Iterator[str]:
    """I1 and I7: no Transfer is two rows', and one that is a row's has its parties and amount; no key is nobody's."""
    for transfer in facts.transfers:
        own = [row for row in facts.transactions if transfer.tx_hash in _hashes(facts, row)]
        if len(own) == 1:
            yield from _matches(facts, own[0], transfer)
        elif own:
            yield f"I7: a Transfer on the chain is {len(own)} transactions'"
    for key, _ in facts.answers:
        if not any(row["request"]["idempotency_key"] == key for row in facts.transactions):
            yield "I1: MetaKeep was asked under a key that is no row's"


def asked_one_at_a_time(facts: Facts) -> Iterator[str]:
    """I1: who sends a row has it alone for as long as a call may take, whatever two clocks say."""
    for key in sorted(facts.overlapping):
        yield f"I1: MetaKeep was asked under {key[:8]} by two calls at once"


def each_transfer_is_known(facts: Facts) -> Iterator[str]:
    """I7: in the end each Transfer has settled one transaction, or stands as an open break of a type."""
    breaks = {row.get("tx_hash") for row in facts.rows["breaks"] if row["status"] == "open"}
    for transfer in facts.transfers:
        is_settled = is_booked(facts, transfer)
        if not is_settled and transfer.tx_hash not in breaks:
            yield "I7: a Transfer on the chain is no transaction's, and no break"
        if is_settled and transfer.tx_hash in breaks:
            yield "I7: a Transfer on the chain is a transaction's, and a break as well"


def is_booked(facts: Facts, transfer: Transfer) -> bool:
    """Whether it has settled a transaction; that MetaKeep was asked for it by one is not enough."""
    return any(row["status"] == "confirmed" and row["tx_hash"] == transfer.tx_hash for row in facts.transactions)


def each_has_its_effect(facts: Facts) -> Iterator[str]:
    """I1 and I7: a row has one Transfer at most, and a confirmed one has it."""
    seen = Counter(transfer.tx_hash for transfer in facts.transfers)
    for row in facts.transactions:
        found = [tx_hash for tx_hash in _hashes(facts, row) if seen[tx_hash]]
        if len(found) > 1 or any(seen[tx_hash] > 1 for tx_hash in found):
            yield f"I1: {row['_id']} has {len(found)} effects on the chain"
        if row["status"] == "confirmed" and not found:
            yield f"I7: {row['_id']} is confirmed, and nothing of it is on the chain"


def _hashes(facts: Facts, row: Row) -> set[str]:
    """Under which hashes the row may have an effect: what MetaKeep answered to its key, and what it says itself."""
    key = row["request"]["idempotency_key"]
    told = [answer.get("transactionHash") for known, answer in facts.answers if known == key]
    return {one for one in (*told, row.get("tx_hash")) if one}


def _matches(facts: Facts, row: Row, transfer: Transfer) -> Iterator[str]:
    wanted = (_address(facts, row["origin"]), _address(facts, row["target"]), to_units(row["amount"]))
    if wanted != (transfer.sender, transfer.recipient, transfer.units):
        yield f"I7: the Transfer of {row['_id']} has other parties or another amount"
    if is_final(row["status"]) and row["status"] != "confirmed":
        yield f"I1: {row['_id']} is {row['status']}, and its Transfer is on the chain"
    if row["status"] == "confirmed" and row["tx_hash"] != transfer.tx_hash:
        yield f"I7: {row['_id']} names another hash than its Transfer has"


def _address(facts: Facts, party: Row) -> str:
    if party["account"] in (ISSUANCE, BURNED):
        return ZERO_ADDRESS
    return facts.treasury_address if party["account"] == TREASURY else str(party["address"]).lower()


def badges_once(facts: Facts) -> Iterator[str]:
    """I1: a badge claim is rewarded once, and free again only where nothing came of it."""
    claims: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in facts.transactions:
        if "badge_claim" in row:
            claims[row["client_id"], row["badge_claim"]["badge_id"], row["badge_claim"]["claimant"]].append(row)
            is_over = row["status"] in ("failed", "cancelled", "expired")
            if is_over == ("badge_lock" in row):
                yield f"I1: {row['_id']} is {row['status']}, and its badge is {'locked' if is_over else 'free'}"
    for claim, rows in claims.items():
        if sum(row["status"] not in ("failed", "cancelled", "expired") for row in rows) > 1:
            yield f"I1: badge {claim} is rewarded twice"


def ceilings_hold(facts: Facts) -> Iterator[str]:
    """A key's daily ceiling is never passed, and what was minted is counted."""
    for key in facts.rows["api_keys"]:
        ceiling = key["limits"].get("mint_per_day")
        if ceiling is None:
            continue
        mints = [row for row in facts.transactions if row["audit"]["key_id"] == key["_id"] and row["kind"] == "mint"]
        total = sum(to_units(row["amount"]) for row in mints)
        counted = [row for row in facts.rows["ceilings"] if row["_id"] == key["_id"]]
        if total > int(ceiling):
            yield f"I2: {key['_id']} minted {total} of {ceiling}"
        if total > sum(to_units(row["mint"]) for row in counted if "mint" in row):
            yield f"I2: {key['_id']} minted more than was counted"


def books_balance(facts: Facts) -> Iterator[str]:
    """I3: a transaction's entries sum to zero; accounts and books are the sums of their entries, numbered gaplessly."""
    by_transaction: dict[str, list[Row]] = defaultdict(list)
    by_account: dict[str, list[Row]] = defaultdict(list)
    for entry in facts.rows["entries"]:
        by_transaction[entry.get("break_id") or entry["transaction_id"]].append(entry)
        by_account[entry["account"]].append(entry)
    for name, entries in by_transaction.items():
        if sum(map(signed, entries)) != 0:
            yield f"I3: the entries of {name} do not sum to zero"
    for row in facts.transactions:
        entries = sorted(by_transaction[row["_id"]], key=lambda entry: entry["direction"])
        wanted = [("credit", row["target"]["account"]), ("debit", row["origin"]["account"])]
        booked = [(entry["direction"], entry["account"]) for entry in entries if entry["amount"] == row["amount"]]
        if booked != (wanted if row["status"] == "confirmed" else []) or len(booked) != len(entries):
            yield f"I3: {row['_id']} is {row['status']}, and its entries are {booked}"
    yield from _accounts(facts, by_account)
    yield from _books(facts)


def _accounts(facts: Facts, by_account: dict[str, list[Row]]) -> Iterator[str]:
    accounts = {row["_id"]: row for row in facts.rows["accounts"]}
    for name, entries in by_account.items():
        if name in SYSTEM_ACCOUNTS:
            continue
        if name not in accounts:
            yield f"I3: {name} has entries and no account"
            continue
        balance = 0
        for number, entry in enumerate(sorted(entries, key=lambda one: one["account_sequence"]), 1):
            balance += signed(entry)
            if entry["account_sequence"] != number or to_units(entry["balance_after"]) != balance or balance < 0:
                yield f"I3: line {number} of {name} is not its running balance"
        if (to_units(accounts[name]["posted"]), accounts[name]["sequence"]) != (balance, len(entries)):
            yield f"I3: the balance of {name} is not the sum of its entries"


def _books(facts: Facts) -> Iterator[str]:
    books = facts.control("books")
    waiting = [row for name in ("transactions", "corrections") for row in facts.rows[name] if row.get("is_unsummed")]
    unsummed = {f"{row['_id']}:{direction}" for row in waiting for direction in ("debit", "credit")}
    sums = dict.fromkeys((*SYSTEM_ACCOUNTS, "wallets"), 0)
    sums[ISSUANCE], sums[EXTERNAL] = -facts.gone, facts.gone
    for entry in facts.rows["entries"]:
        if entry["_id"] not in unsummed:
            sums[entry["account"] if entry["account"] in SYSTEM_ACCOUNTS else "wallets"] += signed(entry)
    for name, total in sums.items():
        if to_units(books[name]) != total:
            yield f"I3: the books say {to_units(books[name])} for {name}, and its entries {total}"


def chain_agrees(facts: Facts) -> Iterator[str]:
    """I7: what each wallet and the treasury have on the chain is what the books say, unless something is unknown."""
    on_chain: dict[str, int] = defaultdict(int)
    for transfer in facts.transfers:
        on_chain[transfer.sender] -= transfer.units
        on_chain[transfer.recipient] += transfer.units
    is_unbooked = any(row["status"] == "open" and not row["standing"] for row in facts.rows["breaks"])
    if is_unbooked or any(row["status"] == "unknown" for row in facts.transactions):
        return
    for wallet in facts.rows["wallets"]:
        if on_chain[wallet["address_key"]] != facts.posted.get(wallet["_id"], 0):
            yield f"I7: {wallet['_id']} has {on_chain[wallet['address_key']]} on the chain, not what the books say"


def states_moved(facts: Facts) -> Iterator[str]:
    """I4: timelines follow the drawn moves; a final row holds nothing, is never due, and names nobody any more."""
    states = {"confirmed": "settled", "failed": "returned", "cancelled": "returned", "expired": "returned"}
    for row in facts.transactions:
        steps = [step["status"] for step in row["timeline"]]
        if steps[0] != "queued" or steps[-1] != row["status"]:
            yield f"I4: {row['_id']} is {row['status']}, and its timeline {steps}"
        if any(later not in MOVES[earlier] for earlier, later in pairwise(steps)):
            yield f"I4: {row['_id']} went {steps}"
        if row["hold"]["state"] != states.get(row["status"], "held"):
            yield f"I4: {row['_id']} is {row['status']}, and its hold {row['hold']['state']}"
        if is_final(row["status"]) and ({"due_at", "incoming_wallet_id", "consent_token"} & row.keys()):
            yield f"I4: {row['_id']} is final, and still due or open"
        if is_final(row["status"]) != (row["request"]["body"] is None):
            yield f"I4: {row['_id']} is {row['status']}, and its request is still, or no longer, kept"


def all_is_final(facts: Facts) -> Iterator[str]:
    """I1: what was claimed has come to its end; what is unknown waits for evidence, and never for us."""
    for row in facts.transactions:
        if not is_at_rest(row):
            yield f"I1: {row['_id']} is still {row['status']}"
    waiting = {row.get("batch_id") for row in facts.transactions if row["status"] == "unknown"}
    for batch in facts.rows["batches"]:
        if batch["status"] not in ("completed", "accepting") and batch["_id"] not in waiting:
            yield f"I1: batch {batch['_id']} is still {batch['status']}"


def batches_whole(facts: Facts) -> Iterator[str]:
    """I1: of an accepted batch each row is one transaction; a reference stands for one batch."""
    if len({(row["client_id"], row["reference"]) for row in facts.rows["batches"]}) != len(facts.rows["batches"]):
        yield "I1: a reference stands for two batches"
    for batch in facts.rows["batches"]:
        made = [row for row in facts.transactions if row.get("batch_id") == batch["_id"]]
        kept = [row for row in facts.rows["batch_rows"] if row["batch_id"] == batch["_id"]]
        is_real = batch["status"] in ("queued", "running", "completed")
        if is_real and sorted(row["batch_row"] for row in made) != list(range(batch["unfolded"])):
            yield f"I1: batch {batch['_id']} has made rows {[row['batch_row'] for row in made]} of {batch['unfolded']}"
        if not is_real and made:
            yield f"I1: batch {batch['_id']} was not accepted, and has {len(made)} transactions"
        amounts = {row["row"]: (row["wallet_id"], row["amount"]) for row in kept}
        if any((row["target"]["account"], row["amount"]) != amounts.get(row["batch_row"]) for row in made):
            yield f"I1: a transaction of {batch['_id']} is not what its row asks for"
        if batch["status"] == "completed" and (to_units(batch["held"]) or len(made) != batch["total"]):
            yield f"I1: batch {batch['_id']} is completed with {len(made)} of {batch['total']} rows"


def wallets_are_single(facts: Facts) -> Iterator[str]:
    """One wallet for a person, one link for a client; who was erased is named nowhere."""
    emails = [row["email"] for row in facts.rows["wallets"] if "email" in row]
    if len(set(emails)) != len(emails):
        yield "wallets: one person has two"
    for row in facts.rows["wallets"]:
        clients = [link["client_id"] for link in row["links"]]
        if len(set(clients)) != len(clients):
            yield f"wallets: {row['_id']} is linked twice to one client"
        if "erased_at" in row and "email" in row:
            yield f"wallets: {row['_id']} is erased and named"


def keys_end(facts: Facts) -> Iterator[str]:
    """A key that was replaced ends; one that was revoked has ended."""
    for op in facts.ops:
        if op.path != "ops/keys" or op.final is None or op.final.status >= 300:
            continue
        name = op.body["replaces"] if op.body else op.query.removeprefix("key_id=")
        row = next(one for one in facts.rows["api_keys"] if one["_id"] == name)
        if row["expires_at" if op.body else "revoked_at"] is None:
            yield f"keys: {name} goes on, and should have ended"


ALWAYS: tuple[Check, ...] = (
    *(
        not_too_much,
        nobody_is_forgotten,
        one_effect,
        asked_one_at_a_time,
        each_has_its_effect,
        badges_once,
        ceilings_hold,
        batches_whole,
        wallets_are_single,
    ),
)
IN_THE_END: tuple[Check, ...] = (
    *(all_is_final, each_transfer_is_known, answered_once, reserves_are_right),
    *(books_balance, chain_agrees, states_moved, keys_end),
)
