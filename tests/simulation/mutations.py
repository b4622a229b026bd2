"""Planted defects: each takes a real function's place for a while, and a judge has to see what comes of it.

A defect is what somebody might write by mistake: a step left out, done twice, too early, or by a little too much. Each
names the scenarios in which it can show.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from getsmart import log
from getsmart.machine import airdrop, claim, conclude, deliver, number, send, settle
from getsmart.metakeep import client, protocol
from getsmart.models import MOVES
from getsmart.mongo import database
from getsmart.outbound.post import Outcome
from getsmart.services import inbound as receiving
from getsmart.stores import ceilings, deliveries, endpoints, events, inbound, ledger, reserves, transactions

Replacement = Callable[..., Any]
Planted = tuple[Any, str, Callable[[Any], Replacement]]  # where, which function, and what it makes of the real one


@dataclass(frozen=True)
class Defect:
    """What is planted, and where it can show."""

    what: str
    scenarios: tuple[str, ...]
    planted: tuple[Planted, ...]
    where: str | None = None  # the kind of boundary at which something has to go wrong first


@contextmanager
def plant(name: str | None) -> Iterator[None]:
    """The product with this defect, or as it is."""
    with ExitStack() as stack:
        for place, function, make in DEFECTS[name].planted if name else ():
            stack.enter_context(patch.object(place, function, make(getattr(place, function))))
        yield


def _debit_lost(_real: Any) -> Replacement:
    return lambda row, *, session: ledger._enter(row, row["target"], "credit", session)


def _entry_twice(real: Any) -> Replacement:
    def post(row: Any, *, session: Any) -> None:
        real(row, session=session)
        entry = database().entries.find_one({"transaction_id": row["_id"], "direction": "credit"}, session=session)
        database().entries.insert_one({**entry, "_id": f"{row['_id']}:again", "account": "burned"}, session=session)

    return post


def _account_not_moved(real: Any) -> Replacement:
    def move(wallet_id: str, units: int, at: Any, session: Any, *, is_held: bool = True) -> Any:
        line = real(wallet_id, units, at, session, is_held=is_held)
        posted = ledger.posted(wallet_id, session=session)
        restored = {"posted": ledger.to_decimal(posted - units)}
        database().accounts.update_one({"_id": wallet_id}, {"$set": restored}, session=session)
        return line

    return move


def _summed_twice(real: Any) -> Replacement:
    return lambda rows: {name: 2 * units for name, units in real(rows).items()}


def _sent_twice(real: Any) -> Replacement:
    def call(request: Any, *, seconds: float, signer: str | None = None, begun: Any = None) -> Any:
        if request.path == "/v2/app/coin/mint":
            again = request._replace(idempotency_key=str(request.idempotency_key)[::-1])
            real(again, seconds=seconds, signer=signer, begun=begun)
        return real(request, seconds=seconds, signer=signer, begun=begun)

    return call


def _sleeps_on(real: Any) -> Replacement:
    return lambda request, *, seconds, signer=None, begun=None: real(request, seconds=seconds * 400, signer=signer)


def _another_key(real: Any) -> Replacement:
    def resend(row: Any, recovery: Any = None) -> Any:
        stored = {**row["request"], "idempotency_key": row["request"]["idempotency_key"][::-1]}
        return real({**row, "request": stored}, recovery)

    return resend


def _event_skipped(real: Any) -> Replacement:
    return lambda client_id, waiting: real(
        client_id, [one for one in waiting if one["type"] != "transaction.submitted"]
    )


def _by_clock(real: Any) -> Replacement:
    def fan_out(client_id: str, waiting: Any, numbers: Any) -> None:
        listening = endpoints.find_many([row["_id"] for row in endpoints.find_subscribed(client_id)])
        made = [row["created_at"] for row in listening.values()]
        real(client_id, [one for one in waiting if all(one["created_at"] >= at for at in made)], numbers)

    return fan_out


def _gap(real: Any) -> Replacement:
    return lambda found, first: real(found, first + (first > 8))


def _cleared_first(real: Any) -> Replacement:
    def number_now(limit: int) -> int:
        found = events.find_outboxes(limit)
        events.clear_outboxes(found)
        with patch.object(events, "find_outboxes", lambda *_: found):
            return int(real(limit))

    return number_now


def _delivery_dropped(real: Any) -> Replacement:
    return lambda rows: real(rows[1:])


def _said_to_be_told(real: Any) -> Replacement:
    def post(self: Any, headers: Any, body: bytes, *, seconds: float) -> Outcome:
        return Outcome(200, 1, "") if b"confirmed" in body else real(self, headers, body, seconds=seconds)

    return post


def _another_body(real: Any) -> Replacement:
    return lambda event: {**real(event), "data": {}}


def _too_little_taken(real: Any) -> Replacement:
    return lambda name, units: real(name, units - 1)


def _returned_twice(real: Any) -> Replacement:
    def give_back(name: str, units: int, begun: Any) -> None:
        real(name, units, begun)
        real(name, units, begun)

    return give_back


def _badge_released(real: Any) -> Replacement:
    return lambda row, status: (*real(row, status), "badge_lock") if status == "submitted" else real(row, status)


def _backward(real: Any) -> Replacement:
    return lambda row: transactions.note(row, {"status": "queued"}) if row["status"] == "submitted" else real(row)


def _rewritten(_real: Any) -> Replacement:
    def wait(row: Any) -> Any:
        moved = transactions.note(row, {"status": "failed", "timeline": [*row["timeline"], {**row["timeline"][-1]}]})
        return moved or row

    return wait


def _forgotten(real: Any) -> Replacement:
    return lambda row: transactions.note(real(row), {}, gone=("due_at",)) or row


def _other_bytes(real: Any) -> Replacement:
    return lambda row, *, is_replay: real(row, is_replay=is_replay)._replace(
        body=row["reply"]["body"] + " " * is_replay
    )


def _lease_ignored(real: Any) -> Replacement:
    return lambda row: real({**row, "lease_until": row["created_at"]})


def _lease_not_taken(real: Any) -> Replacement:
    def note(row: Any, changes: Any, *, is_conclusion: bool = False, gone: Any = ()) -> Any:
        is_mark = changes.get("is_in_flight", False)
        kept = {name: changes[name] for name in changes if not (is_mark and name == "lease_until")}
        return real(row, kept, is_conclusion=is_conclusion, gone=gone)

    return note


def _ended_anyway(_real: Any) -> Replacement:
    return lambda row, recovery=None: conclude.end_without_effect(row, "cancelled", None) or row


def _marked_first(real: Any) -> Replacement:
    def apply(event: Any) -> str:
        if not inbound.is_seen(event.event_id):
            inbound.mark(event.event_id, event.type, receiving.clock.now())
        with patch.object(inbound, "is_seen", lambda _: False), patch.object(inbound, "mark", lambda *_, **__: None):
            return str(real(event))

    return apply


def _unseen(_real: Any) -> Replacement:
    return lambda row, status, event: settle.confirm(
        row, {"tx_hash": status.tx_hash, "settlement": {"tx_hash": status.tx_hash, "log_index": 0}}, event
    )


def _other_amount(real: Any) -> Replacement:
    return lambda currency, email, units: real(currency, email, units + 10**18)


def _other_party(real: Any) -> Replacement:
    return lambda currency, _email, units: real(currency, "learner-b@example.com", units)


def _row_skipped(real: Any) -> Replacement:
    return lambda rows, *, session: real(list(rows)[1:], session=session)


def _no_ceiling(real: Any) -> Replacement:
    return lambda key_id, counter, units, ceiling: real(key_id, counter, 0 * units, ceiling)


def _address_logged(real: Any) -> Replacement:
    def mint(currency: str, email: str, units: int) -> Any:
        log.event("tokens.mint", to=email)
        return real(currency, email, units)

    return mint


def _refused_is_over(real: Any) -> Replacement:
    return lambda row, outage, *, is_ambiguous: (
        conclude.end_without_effect(row, "failed", None) or real(row, outage, is_ambiguous=is_ambiguous)
    )


_MONEY = ("mint", "mints", "treasury", "burn", "badge")

DEFECTS: dict[str, Defect] = {
    "lost_write": Defect("a debit is not booked", _MONEY, ((ledger, "post", _debit_lost),)),
    "entry_twice": Defect("a credit is booked twice", _MONEY, ((ledger, "post", _entry_twice),)),
    "account_not_moved": Defect("a wallet's account stays", _MONEY, ((ledger, "_move_wallet", _account_not_moved),)),
    "summed_twice": Defect("system accounts get it twice", _MONEY, ((ledger, "_sums", _summed_twice),)),
    "sent_twice": Defect("a mint leaves twice", ("mint",), ((client, "call", _sent_twice),)),
    "sleeps_on": Defect("who wakes late sends", ("mint", "mints"), ((client, "call", _sleeps_on),), where="provider"),
    "another_key": Defect(
        "sent again under another key",
        _MONEY,
        ((send, "resend", _another_key), (claim, "resend", _another_key)),
        where="provider",
    ),
    "event_skipped": Defect("a change has no event", _MONEY, ((number, "_number", _event_skipped),)),
    "told_by_clock": Defect("moments say who is told", ("endpoints",), ((number, "_fan_out", _by_clock),)),
    "gap": Defect("a number is left out", _MONEY, ((events, "number", _gap),)),
    "cleared_first": Defect("outboxes emptied before", _MONEY, ((number, "number_now", _cleared_first),)),
    "delivery_dropped": Defect("a delivery is not made", _MONEY, ((deliveries, "insert_many", _delivery_dropped),)),
    "said_to_be_told": Defect("delivered, never sent", _MONEY, ((deliver.Line, "post", _said_to_be_told),)),
    "another_body": Defect("something else is told", _MONEY, ((deliver, "event_payload", _another_body),)),
    "too_little_taken": Defect("a reserve off by one", _MONEY, ((reserves, "take", _too_little_taken),)),
    "returned_twice": Defect("a hold comes back twice", ("fated",), ((reserves, "give_back", _returned_twice),)),
    "badge_released": Defect("a badge free too early", ("badge",), ((transactions, "_gone", _badge_released),)),
    "backward": Defect("a state goes back", ("fated",), ((settle, "wait", _backward),)),
    "rewritten": Defect("a timeline is rewritten", ("fated",), ((settle, "wait", _rewritten),)),
    "forgotten": Defect("nobody looks again", ("fated",), ((settle, "wait", _forgotten),)),
    "other_bytes": Defect("a repeated reply differs", _MONEY, ((claim, "_answer", _other_bytes),)),
    "lease_ignored": Defect("a claim taken too early", ("mint",), ((transactions, "take_lease", _lease_ignored),)),
    "lease_not_taken": Defect(
        "sent beside the tick's call",
        ("mint",),
        ((transactions, "note", _lease_not_taken),),
        where="provider",
    ),
    "short_lease": Defect(
        "clocks apart send at once",
        ("mint", "mints"),
        ((transactions, "LEASE_SECONDS", lambda _real: 15),),
        where="provider",
    ),
    "cancelled_anyway": Defect(
        "what was sent is ended",
        _MONEY,
        ((send, "resend", _ended_anyway), (claim, "resend", _ended_anyway)),
        where="provider",
    ),
    "marked_first": Defect("seen before its effect", ("mint", "burn"), ((receiving, "_apply", _marked_first),)),
    "unseen": Defect(
        "confirmed without its Transfer",
        ("fated",),
        ((settle, "_completed", _unseen), (protocol, "_STATES", lambda real: {**real, "QUEUED": "completed"})),
    ),
    "other_amount": Defect("another amount is sent", ("mint",), ((protocol, "mint", _other_amount),)),
    "other_party": Defect("somebody else is paid", ("mint",), ((protocol, "mint", _other_party),)),
    "row_skipped": Defect("a row is not paid", ("airdrop",), ((transactions, "insert_many", _row_skipped),)),
    "completed_early": Defect(
        "completed with an open row",
        ("airdrop",),
        (
            (airdrop, "FINAL", lambda _real: frozenset(MOVES)),
            (transactions, "has_open_of_batch", lambda _real: lambda batch_id: False),
        ),
    ),
    "no_ceiling": Defect("a ceiling counts nothing", ("ceiling",), ((ceilings, "take", _no_ceiling),)),
    "address_logged": Defect("an address is logged", ("mint",), ((protocol, "mint", _address_logged),)),
    "outage_is_failure": Defect(
        "no answer taken for a no", ("mint", "treasury"), ((send, "_put_off", _refused_is_over),), where="provider"
    ),
    "no_horizon": Defect(
        "sent again after the horizon", ("away",), ((send, "HORIZON", lambda _: send.HORIZON * 400),), where="provider"
    ),
}
