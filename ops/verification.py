"""The checks behind `./doit verify`: what must be true of every account, transaction, entry and event (I2 to I5).

Everything is read in batches, in the order of an index, so that memory does not grow with the data. A batch in which
something looks wrong is read once more in one snapshot: only what is wrong there too is reported.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import pymongo
from pymongo.client_session import ClientSession

from getsmart import clock, config
from getsmart.amounts import GENESIS_SUPPLY, MAX_SUPPLY
from getsmart.models import ISSUANCE, MOVES, SUPPLY, SYSTEM_ACCOUNTS, TREASURY, is_final
from getsmart.mongo import Document, database, to_units, transact
from getsmart.stores import batches, events, ledger, transactions

PARTS = ("accounts", "transactions", "corrections", "entries", "events")
_BATCH = 500
_GENESIS = "genesis"
_HOLDS = {"confirmed": "settled", "failed": "returned", "cancelled": "returned", "expired": "returned"}
# A reserve below what it should be is a call that died: the tick mends it within minutes.
_MENDED_WITHIN = timedelta(minutes=10)
_PATIENCE = timedelta(days=1)

Advance = Callable[[str, int], None]
Item = TypeVar("Item")


class Violation(NamedTuple):
    """What does not hold: of which invariant, of which kind, whom it concerns, and the facts."""

    invariant: str
    kind: str
    subject: str
    facts: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.invariant} {self.kind} {self.subject}: {self.facts}"


def count(name: str) -> int:
    """Roughly how many documents a part has."""
    return database()[name].estimated_document_count()


def verify(advance: Advance) -> Iterator[Violation]:
    """Every violation that the database holds; `advance` is told how many documents of a part were checked.

    It takes the time that it takes: collections are read whole, which a call's deadline is not for.
    """
    with pymongo.timeout(_PATIENCE.total_seconds()):  # not None, which means the client's own 8 s
        yield from _verify(advance)


def _verify(advance: Advance) -> Iterator[Violation]:
    sums: dict[str, int] = defaultdict(int)
    yield from _in_batches("accounts", {}, _accounts, advance)
    yield from _in_batches("transactions", {}, _transactions, advance)
    yield from _in_batches("corrections", {}, _corrections, advance)
    yield from _entries(sums, advance)
    yield from _controls(sums)
    yield from _events(advance)


def _chunks(rows: Iterable[Item], size: int = _BATCH) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _in_batches(
    name: str,
    query: Document,
    check: Callable[[Sequence[Document], ClientSession | None], Iterator[Violation]],
    advance: Advance,
) -> Iterator[Violation]:
    """Check a collection batch by batch; a batch with something wrong is read again, in one snapshot."""
    unread = dict.fromkeys(("reply", "request.body", "audit", "changed_by"), 0)
    for rows in _chunks(database()[name].find(query, unread).batch_size(_BATCH)):
        if any(True for _ in check(rows, None)):
            yield from transact(lambda session, rows=rows: _again(name, rows, check, session))  # type: ignore[misc]
        advance(name, len(rows))


def _again(
    name: str,
    rows: Sequence[Document],
    check: Callable[[Sequence[Document], ClientSession | None], Iterator[Violation]],
    session: ClientSession,
) -> list[Violation]:
    ids = [row["_id"] for row in rows]
    return list(check(list(database()[name].find({"_id": {"$in": ids}}, session=session)), session))


def _accounts(rows: Sequence[Document], session: ClientSession | None) -> Iterator[Violation]:
    """I3: a wallet's lines are numbered without a gap, each carries the balance after it, and their sum is posted."""
    ids = [row["_id"] for row in rows]
    order = [("account", 1), ("account_sequence", 1)]
    lines: dict[str, tuple[int, int]] = {}  # account -> (its last sequence, its running balance)
    for entry in database().entries.find({"account": {"$in": ids}}, session=session).sort(order):
        sequence, balance = lines.get(entry["account"], (0, 0))
        balance += _signed(entry)
        number = entry.get("account_sequence", 0)
        if number != sequence + 1:
            yield Violation("I3", "entry_gap", entry["account"], f"line {number} follows line {sequence}")
        elif to_units(entry["balance_after"]) != balance:
            told = to_units(entry["balance_after"])
            yield Violation("I3", "running_balance", entry["_id"], f"says {told}, its lines make {balance}")
        lines[entry["account"]] = (number, balance)
    held = _held(ids, session)
    for row in rows:
        yield from _account(row, *lines.get(row["_id"], (0, 0)), held[row["_id"]])


def _account(row: Document, sequence: int, balance: int, held: int) -> Iterator[Violation]:
    posted = to_units(row["posted"])
    if posted != balance:
        yield Violation("I3", "account_balance", row["_id"], f"posted {posted}, its entries make {balance}")
    if row["sequence"] != sequence:
        yield Violation("I3", "account_sequence", row["_id"], f"counts {row['sequence']} lines, there are {sequence}")
    yield from _available("I3", row, posted - held)


def _available(invariant: str, row: Document, expected: int) -> Iterator[Violation]:
    """What may still be taken: never negative, never more than the books leave, and less only until it is mended."""
    available, name = to_units(row["available"]), row["_id"]
    if available < 0:
        yield Violation(invariant, "available_negative", name, f"available {available}")
    if available > expected:
        yield Violation(invariant, "available_too_much", name, f"available {available}, the books leave {expected}")
    if available < expected and not _will_be_mended(row):
        yield Violation(invariant, "available_too_little", name, f"available {available}, the books leave {expected}")


def _will_be_mended(row: Document) -> bool:
    return "taken_at" in row and clock.now() - row["taken_at"] < _MENDED_WITHIN


def _held(names: Sequence[str], session: ClientSession | None) -> dict[str, int]:
    held: dict[str, int] = defaultdict(int)
    query = {"hold.name": {"$in": list(names)}, "hold.state": "held"}
    for row in database().transactions.find(query, {"hold": 1, "amount": 1}, session=session):
        held[row["hold"]["name"]] += to_units(row["amount"])
    return held


def _signed(entry: Mapping[str, Any]) -> int:
    return to_units(entry["amount"]) * (1 if entry["direction"] == "credit" else -1)


def _transactions(rows: Sequence[Document], session: ClientSession | None) -> Iterator[Violation]:
    """I3 and I4: a confirmed transaction has its two entries, any other has none; states moved as they may."""
    entries = _entries_of(rows, session)
    for row in rows:
        yield from _states(row)
        is_booked = row["status"] == "confirmed"
        yield from _pair(row, entries[row["_id"]], is_booked=is_booked)


def _corrections(rows: Sequence[Document], session: ClientSession | None) -> Iterator[Violation]:
    entries = _entries_of(rows, session)
    for row in rows:
        yield from _pair(row, entries[row["_id"]], is_booked=True)


def _entries_of(rows: Sequence[Document], session: ClientSession | None) -> dict[str, dict[str, Document]]:
    """The entries of each row by their own id, whatever they say that they are of: their ids are made of the row's."""
    found: dict[str, dict[str, Document]] = defaultdict(dict)
    names = [row.get("transaction_id", row["_id"]) for row in rows]
    for entry in database().entries.find({"transaction_id": {"$in": names}}, session=session):
        owner, _, _ = entry["_id"].rpartition(":")
        found[owner][entry["_id"]] = entry
    return found


def _pair(row: Document, entries: Mapping[str, Document], *, is_booked: bool) -> Iterator[Violation]:
    for direction, side in (("debit", "origin"), ("credit", "target")):
        entry = entries.get(f"{row['_id']}:{direction}")
        if not is_booked:
            if entry is not None:
                yield Violation("I3", "entry_unfounded", entry["_id"], f"{row['_id']} is {row['status']}")
        elif entry is None:
            yield Violation("I3", "entry_missing", row["_id"], f"no {direction} of {row[side]['account']}")
        elif (entry["account"], entry["direction"], entry["amount"]) != (
            row[side]["account"],
            direction,
            row["amount"],
        ):
            said = f"{entry['direction']} {to_units(entry['amount'])} of {entry['account']}"
            yield Violation("I3", "entry_differs", entry["_id"], f"{said}, ordered {to_units(row['amount'])}")


def _states(row: Document) -> Iterator[Violation]:
    """I4."""
    steps = [step["status"] for step in row["timeline"]]
    if not steps or steps[0] != "queued" or steps[-1] != row["status"]:
        yield Violation("I4", "timeline_ends", row["_id"], f"{' > '.join(steps)} of a {row['status']} one")
    for earlier, later in pairwise(steps):
        if later not in MOVES.get(earlier, ()):
            yield Violation("I4", "move_not_drawn", row["_id"], f"{earlier} > {later}")
    if row["hold"]["state"] != _HOLDS.get(row["status"], "held"):
        yield Violation("I4", "hold_differs", row["_id"], f"{row['hold']['state']} of a {row['status']} one")
    if is_final(row["status"]) and "due_at" in row:
        yield Violation("I4", "final_is_due", row["_id"], "a final transaction is due for something")


def _entries(sums: dict[str, int], advance: Advance) -> Iterator[Violation]:
    """I3: nothing is booked twice or in nobody's name; the sums of the system accounts are kept for the books."""
    for chunk in _chunks(database().entries.find({}).batch_size(_BATCH)):
        for entry in chunk:
            sums[entry["account"] if entry["account"] in SYSTEM_ACCOUNTS else ledger.WALLETS] += _signed(entry)
        strange = [entry for entry in chunk if not _has_form(entry)]
        owners = {entry["_id"].rpartition(":")[0] for entry in chunk if entry not in strange} - {_GENESIS}
        known = _known(owners)
        for entry in chunk:
            owner, _, _ = entry["_id"].rpartition(":")
            if entry in strange:
                yield Violation(
                    "I3", "entry_doubled", entry["_id"], f"not an entry that {entry['transaction_id']} makes"
                )
            elif owner not in known and owner != _GENESIS and not _known({owner}):
                yield Violation("I3", "entry_orphaned", entry["_id"], "of a transaction that is not there")
        advance("entries", len(chunk))


def _has_form(entry: Mapping[str, Any]) -> bool:
    """Whether it has the id that its maker gives: a transaction makes one entry a direction, a break one a movement."""
    owner, _, direction = entry["_id"].rpartition(":")
    of = entry.get("break_id", entry["transaction_id"])
    return direction in ("debit", "credit") and (owner == of or owner.rpartition(":")[0] == of)


def _known(owners: set[str]) -> set[str]:
    found: set[str] = set()
    for name in ("transactions", "corrections"):
        found |= {row["_id"] for row in database()[name].find({"_id": {"$in": sorted(owners)}}, {"_id": 1})}
    return found


def _controls(sums: Mapping[str, int]) -> Iterator[Violation]:
    """I2 and I3 of the whole, in one snapshot; the sums of all entries count only while nothing was booked since."""

    def look(session: ClientSession) -> list[Violation]:
        return [*_supply(session), *_treasury(session)]

    yield from transact(look)
    total = sum(sums.values())
    if total:
        yield Violation("I3", "sum_not_zero", "entries", f"all entries make {total}")
    books = transact(_books)
    if books is None:
        yield Violation("I3", "books_missing", ledger.BOOKS, "no books; migrations are missing")
    elif any(books[name] != sums.get(name, 0) for name in books):
        yield from transact(_differences)


def _differences(session: ClientSession) -> list[Violation]:
    """Books and entries in one snapshot: only where they differed when they were read one after the other."""
    books, sums = _books(session) or {}, _sums(session)
    return [
        Violation("I3", "books_differ", name, f"the books say {said}, entries make {sums[name]}")
        for name, said in books.items()
        if said != sums[name]
    ]


def _books(session: ClientSession) -> dict[str, int] | None:
    """What the books say, with what the tick has not folded in yet."""
    row = database().controls.find_one({"_id": ledger.BOOKS}, session=session)
    if row is None:
        return None
    said = {name: to_units(row[name]) for name in (*SYSTEM_ACCOUNTS, ledger.WALLETS)}
    for name in ("transactions", "corrections"):
        for one in database()[name].find({"is_unsummed": True}, session=session):
            for side, sign in (("origin", -1), ("target", 1)):
                account = one[side]["account"]
                said[account if account in SYSTEM_ACCOUNTS else ledger.WALLETS] += sign * to_units(one["amount"])
    return said


def _sums(session: ClientSession) -> dict[str, int]:
    """What all entries make, summed by the database."""
    account = {"$cond": [{"$in": ["$account", list(SYSTEM_ACCOUNTS)]}, "$account", ledger.WALLETS]}
    signed = {"$cond": [{"$eq": ["$direction", "credit"]}, "$amount", {"$multiply": ["$amount", -1]}]}
    stages: list[Document] = [{"$group": {"_id": account, "units": {"$sum": signed}}}]
    sums: dict[str, int] = defaultdict(int)
    for row in database().entries.aggregate(stages, session=session):
        sums[row["_id"]] = to_units(row["units"])
    return sums


def _supply(session: ClientSession) -> Iterator[Violation]:
    row = database().controls.find_one({"_id": SUPPLY}, session=session)
    if row is None:
        yield Violation("I2", "supply_missing", SUPPLY, "no supply; migrations are missing")
        return
    held = transactions.sum_held(SUPPLY, session=session) + batches.sum_held(session=session)
    minted = ledger.minted(session=session)
    if minted + held > MAX_SUPPLY:
        yield Violation("I2", "supply_exceeded", SUPPLY, f"minted {minted} and reserved {held} of {MAX_SUPPLY}")
    if minted < GENESIS_SUPPLY:
        yield Violation("I2", "genesis_missing", ISSUANCE, f"minted {minted}, genesis alone is {GENESIS_SUPPLY}")
    yield from _available("I2", row, MAX_SUPPLY - minted - held)


def _treasury(session: ClientSession) -> Iterator[Violation]:
    row = database().controls.find_one({"_id": TREASURY}, session=session)
    if row is None:
        yield Violation("I2", "treasury_missing", TREASURY, "no treasury; migrations are missing")
        return
    held = transactions.sum_held(TREASURY, session=session)
    yield from _available("I3", row, ledger.treasury(session=session) - held)


def _events(advance: Advance) -> Iterator[Violation]:
    """I5: each client's events are numbered without a gap, but for what retention, and restores, have taken away."""
    restored = events.restored()
    kept_since = clock.now() - timedelta(days=config.read(config.RetentionSettings).event_days)
    order = [("client_id", 1), ("sequence", 1)]
    last: Document = {}
    wanted = {"client_id": 1, "sequence": 1, "created_at": 1}
    for chunk in _chunks(database().events.find({}, wanted).sort(order).batch_size(_BATCH)):
        for event in chunk:
            yield from _numbering(last, event, kept_since, restored)
            last = event
        advance("events", len(chunk))


def _numbering(
    last: Mapping[str, Any], event: Mapping[str, Any], kept_since: Any, restored: Sequence[int]
) -> Iterator[Violation]:
    is_first = last.get("client_id") != event["client_id"]
    expected = 1 if is_first else last["sequence"] + 1
    if event["sequence"] == expected or event["sequence"] - 1 in restored:
        return
    # Only old events are taken away, so nothing is missing between young ones, or before a young first one.
    neighbour = event if is_first else last
    if neighbour["created_at"] > kept_since:
        facts = f"number {event['sequence']} where {expected} is next"
        yield Violation("I5", "event_gap", event["client_id"], facts)
