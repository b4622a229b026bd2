"""What reconciliation does about what it found: settle, keep an eye on it, or raise a break and book it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from getsmart import clock, config, log
from getsmart.breaks import NOTHING_MOVED, BreakRow, BreakType, Leg, is_its_own, log_key, sides_of
from getsmart.chain import ChainTransfer
from getsmart.ids import new_id
from getsmart.machine import correct, matching
from getsmart.machine.conclude import confirm
from getsmart.machine.matching import Clash
from getsmart.metakeep.protocol import Transfer
from getsmart.models import EXTERNAL, TransactionRow
from getsmart.mongo import to_units
from getsmart.stores import breaks, transactions, wallets
from getsmart.stores.onchain import annotate, find_settled

REORGED = "transaction.reorged"
_QUICK, _SLOW = timedelta(seconds=5), timedelta(seconds=60)


def accounts_of(logs: Sequence[ChainTransfer]) -> dict[str, tuple[str, str]]:
    """The ledger accounts of each log's two sides, by the log's key."""
    treasury = config.read(config.TokenSettings).treasury_address.lower()
    ours = wallets.find_ids_by_address(sorted({side for one in logs for side in (one.sender, one.recipient)}))

    def sides(one: ChainTransfer) -> tuple[str, str]:
        origin = matching.account_of(one.sender, treasury=treasury, is_recipient=False, wallets=ours)
        return origin, matching.account_of(one.recipient, treasury=treasury, is_recipient=True, wallets=ours)

    return {log_key(one.tx_hash, one.log_index): sides(one) for one in logs}


def settle(row: TransactionRow, found: ChainTransfer) -> bool:
    """Confirm the one row that this Transfer can be of; False when somebody else moved it first."""
    current = transactions.find(row["_id"], None)
    if current is not None and current["status"] == "queued":
        current = give_up(current)
    if current is None or current["status"] != "unknown":
        return False
    evidence = {"tx_hash": found.tx_hash, **place_of(found), "settlement": settlement_of(found)}
    try:
        done = confirm(current, evidence, None)
    except DuplicateKeyError:
        return False  # another row has it
    if done is not None:
        log.event("transaction.settled_by_chain", transaction_id=row["_id"], tx_hash=found.tx_hash)
    return done is not None


def give_up(row: TransactionRow) -> TransactionRow | None:
    """A row whose effect may be on the chain is not sent any more: evidence decides."""
    return transactions.move(row, "unknown", {"is_in_flight": False, "is_ambiguous": True})


def place_of(found: ChainTransfer) -> dict[str, Any]:
    """Where it stands."""
    return {"block_number": found.block_number, "block_hash": found.block_hash}


def settlement_of(found: ChainTransfer) -> dict[str, Any]:
    """What it settles: one transaction at most, by a unique index."""
    return {"tx_hash": found.tx_hash, "log_index": found.log_index}


def missing_in_ledger(
    found: ChainTransfer, mined_at: datetime, sides: tuple[str, str], transaction_id: str | None = None
) -> None:
    """A Transfer that no transaction caused: a break, and its movements through `external`.

    `transaction_id` names a row that has ended without effect although the chain has one.
    """
    legs = matching.legs(*sides, found.amount)
    more: dict[str, Any] = {"mined_at": mined_at, "found": sides_of(found)}
    if transaction_id is not None:
        more["transaction_id"] = transaction_id
    row = _raise("missing_in_ledger", found, more, is_due=bool(legs))
    if legs and row is not None:
        book(row, found, legs)
    elif not legs:
        row = row or _left_open(found)
        if row is not None:
            correct.fall(row, NOTHING_MOVED)


def _left_open(found: ChainTransfer) -> BreakRow | None:
    """The break that somebody raised to close it, and died between."""
    known = breaks.find_subject(_subject("missing_in_ledger", found))
    return known if known is not None and known["status"] == "open" and not known["standing"] else None


def book(row: BreakRow, found: ChainTransfer, legs: Sequence[Leg]) -> BreakRow | None:
    """Book the legs of a Transfer in nobody's name that are not booked yet; None as for `correct.stand`.

    Also where a row ends in this moment that has the Transfer: the next run finds that, and closes the break.
    """
    return correct.stand(row, legs, also=lambda session: _is_nobodys(found, session))


def _is_nobodys(found: ChainTransfer, session: ClientSession) -> bool:
    cause = find_settled(found.tx_hash, found.log_index, session=session)
    return cause is None or cause["status"] != "confirmed"


def clash(one: Clash, mined_at: datetime, sides: tuple[str, str], wanted: Transfer) -> None:
    """A row's own transaction of the chain did something else: booked unless the row was, which a person mends."""
    legs = [] if one.row["status"] == "confirmed" else matching.legs(*sides, one.log.amount)
    more = {"transaction_id": one.row["_id"], "expected": sides_of(wanted), "found": sides_of(one.log)}
    row = _raise(one.type, one.log, {**more, "mined_at": mined_at}, is_due=bool(legs))
    if row is not None and legs:
        correct.stand(row, legs)


def ambiguous(found: ChainTransfer, mined_at: datetime, candidates: Sequence[TransactionRow]) -> None:
    """Nothing is guessed: a person says whose it is. What could be its own is not sent any more."""
    for row in candidates:
        current = transactions.find(row["_id"], None) if row["status"] == "queued" else None
        if current is not None and current["status"] == "queued":
            give_up(current)
    more = {"mined_at": mined_at, "found": sides_of(found), "candidates": sorted(row["_id"] for row in candidates)}
    _raise("ambiguous", found, more, is_due=False)


def _raise(type_: BreakType, found: ChainTransfer, more: dict[str, Any], *, is_due: bool) -> BreakRow | None:
    """The break about this Transfer, new or opened again; None when it is open already, or a person closed it."""
    facts = {**settlement_of(found), **place_of(found), **more}
    return open_break(type_, _subject(type_, found), str(found.amount), facts, due="stand" if is_due else None)


def _subject(type_: BreakType, found: ChainTransfer) -> str:
    return f"{type_}:{log_key(found.tx_hash, found.log_index)}"


def open_break(
    type_: BreakType, subject: str, amount: str, facts: dict[str, Any], *, due: Literal["stand"] | None
) -> BreakRow | None:
    """Insert a break, or open again one that reconciliation itself had closed; None when there is nothing to do."""
    if due is not None:
        facts = {**facts, "due": due}
    made = new_break(type_, subject, amount, facts)
    row: BreakRow | None = made
    if not breaks.insert(made):
        known = breaks.find_subject(subject)
        if known is None or known["status"] == "open" or not is_its_own(known):
            return None
        row = breaks.change(known, {**facts, "amount": amount, "status": "open"}, ("resolution",))
    _tell(row)
    return row


def new_break(type_: BreakType, subject: str, amount: str, facts: dict[str, Any]) -> BreakRow:
    """An open break that has booked nothing, with these facts; nobody has kept it yet."""
    at = clock.now()
    row: Any = {
        "_id": new_id("brk"),
        "version": 1,
        "subject": subject,
        "type": type_,
        "status": "open",
        "first_seen": at,
        "updated_at": at,
        "standing": [],
        "bookings": 0,
        "amount": amount,
        **facts,
    }
    made: BreakRow = row
    return made


def _tell(opened: BreakRow | None) -> None:
    if opened is not None:
        seen = {name: opened.get(name) for name in ("tx_hash", "log_index", "block_number", "transaction_id")}
        log.event("break.found", level="error", break_id=opened["_id"], type=opened["type"], **seen)


def book_more(row: BreakRow) -> bool:
    """More of its Transfer is ours by now: that is due. What reconciliation had closed is open again.

    False where somebody else changed the break.
    """
    if row["status"] == "resolved" and is_its_own(row):
        opened = breaks.change(row, {"status": "open", "due": "stand"}, ("resolution",))
        _tell(opened)
        return opened is not None
    return breaks.change(row, {"due": "stand"}) is not None


def vanished(row: TransactionRow, wanted: Transfer, *, was_reorganised: bool) -> None:
    """A confirmed row whose Transfer is not on the chain: booked back where the chain itself took it away."""
    of = str(row.get("block_hash", "")) if was_reorganised else str(row.get("block_number", "none"))
    type_: BreakType = "reorged" if was_reorganised else "missing_on_chain"
    facts: dict[str, Any] = {"transaction_id": row["_id"], "tx_hash": row.get("tx_hash"), "expected": sides_of(wanted)}
    facts |= {name: row[name] for name in ("block_number", "block_hash") if name in row}
    units = str(to_units(row["amount"]))
    raised = open_break(type_, f"{type_}:{row['_id']}:{of}", units, facts, due="stand" if was_reorganised else None)
    if raised is not None and was_reorganised:
        reverse(raised)


def reverse(row: BreakRow) -> bool:
    """Book a reorganised transaction back, say so on its row, and tell its client; the state stays.

    False where an account does not hold enough: it is tried again.
    """
    current = transactions.find(row.get("transaction_id", ""), None)
    if current is None:
        return False
    return _with_row(row, current, _back(current), {"reorged_at": clock.now()}, ("block_number", "block_hash"))


def legs_back(row: BreakRow) -> list[Leg]:
    """What booking a reorganised transaction back moves."""
    current = transactions.find(row.get("transaction_id", ""), None)
    return [] if current is None else _back(current)


def _back(current: TransactionRow) -> list[Leg]:
    back = Leg(current["target"]["account"], current["origin"]["account"])
    return [Leg(current["passed_on"]["wallet_id"], EXTERNAL), back] if "passed_on" in current else [back]


def _with_row(
    row: BreakRow, current: TransactionRow, legs: Sequence[Leg], changes: dict[str, Any], gone: Sequence[str]
) -> bool:
    def tell(session: ClientSession) -> bool:
        return annotate(current, changes, gone, event_type=REORGED, session=session)

    return correct.stand(row, legs, also=tell) is not None


def returned(row: TransactionRow, found: ChainTransfer) -> bool:
    """A transaction that had been reorganised away was mined again: its entries count again, and its client is told.

    Also where a person has closed the break meanwhile: what it booked back is undone all the same. False where an
    account does not hold enough, or somebody else changed one of them: it is tried again.
    """
    current = transactions.find(row["_id"], None)
    if current is None or "reorged_at" not in current:
        return current is not None
    changes = {**place_of(found), "settlement": settlement_of(found)}

    def tell(session: ClientSession | None) -> bool:
        return annotate(current, changes, ("reorged_at",), event_type=REORGED, session=session)

    raised = breaks.find_reorged(row["_id"])
    if raised is None:
        return tell(None)  # nothing is booked back
    why = f"mined again in block {found.block_number}"
    if raised["status"] == "resolved":
        why += "; {who} had closed it: {why}".format(**raised["resolution"])
    return correct.fall(raised, why, also=tell) is not None


def look_again_in(*, is_ambiguous: bool, seen_at: datetime) -> timedelta:
    """When an undecided Transfer is looked at next: soon at first, then every minute."""
    return _SLOW if is_ambiguous else max(_QUICK, min(_SLOW, (clock.now() - seen_at) / 4))
