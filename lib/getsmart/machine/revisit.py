"""What was undecided is looked at again: Transfers whose row may still come, and breaks that are not booked yet."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from getsmart import chain, clock
from getsmart.breaks import TAKEN_BACK, BreakRow, Leg, SightingRow, is_its_own
from getsmart.chain import ChainTransfer
from getsmart.ids import lowest_id
from getsmart.machine import compare, correct, discrepancies, matching, onward
from getsmart.machine.compare import key_of
from getsmart.machine.matching import Moments
from getsmart.machine.recovery import lift_shadow
from getsmart.models import TransactionRow, is_final
from getsmart.stores import breaks, controls, onchain, progress, transactions, wallets

_BATCH = 500
_DUE = 100
_NEWCOMERS, _CLOSED = 100, 50
_UNWITNESSED = 50
_WRITTEN: tuple[Literal["address"], Literal["address_key"]] = ("address", "address_key")  # as an order may name it
_SWEEP = timedelta(seconds=30)
_STORED_WITHIN_MS = 900_000
_NEVER = datetime.fromtimestamp(0, UTC)
_EVER = datetime.max.replace(tzinfo=UTC)


def look(recovery: dict[str, Any], *, is_all_read: bool) -> None:
    """Everything that is due by now; what comes rarely is looked for every 30 s.

    `recovery` is what is known of the last restore; `is_all_read` whether the chain has been read up to the depth.
    """
    due = breaks.find_sightings(clock.now(), _BATCH)
    if due:
        _look_at(due, recovery, is_all_read=is_all_read)
    noted = controls.read_all().get(progress.NAME, {})
    _book_some(noted.get("due_to", ""))
    is_time = clock.now() - noted.get("swept_at", _NEVER) >= _SWEEP
    if noted.get("sweep_after") or is_time:
        _sweep(noted.get("sweep_after") or "")
        if is_all_read:
            lift_shadow(recovery)


def decide(recovery: dict[str, Any], end: float) -> bool:
    """Judge every Transfer in no row's name, due or not, and try every break that is due, now that all is read.

    Whether each of them was: what a row may still name, or a person has to say, waits, and so does what an account does
    not hold enough for. `end` is when to stop, by the monotonic clock; the next run goes on from there.
    """
    seen: set[str] = set()
    while page := breaks.find_unjudged(recovery["at"], _BATCH):
        new = [row for row in page if row["_id"] not in seen]
        if not new or (seen and clock.monotonic() > end):
            return False
        seen |= {row["_id"] for row in new}
        _look_at(new, recovery, is_all_read=True)
    return _book_all(end)


def _book_some(reached: str) -> None:
    """Try some of the breaks that are due, from where the last run stopped: those that can't be booked hold up none."""
    due = breaks.find_due(_DUE, reached)
    for row in due:
        _book(row)
    now_at = due[-1]["_id"] if len(due) == _DUE else ""
    if now_at != reached:
        progress.note({"due_to": now_at})


def _book_all(end: float) -> bool:
    """Try each break that is due, once; whether all were, and none is left that could have been booked.

    Where there is no more time the next run goes on behind those that can't be.
    """
    left, after = 0, controls.read_all().get(progress.NAME, {}).get("tried_to", "")
    while page := breaks.find_due(_DUE, after):
        after = page[-1]["_id"]
        left += sum(not (_book(row) or _must_wait(row)) for row in page)
        if clock.monotonic() > end:
            progress.note({"tried_to": "" if left else after})
            return False
    progress.note({"tried_to": ""})
    return left == 0


def _look_at(due: list[SightingRow], recovery: dict[str, Any], *, is_all_read: bool) -> None:
    logs = [compare.as_transfer(row) for row in due]
    rows = {row["_id"]: row for row in due}
    found = compare.match(logs)
    sides = discrepancies.accounts_of(logs)
    times = {row["block_number"]: chain.Block(row["block_number"], row["block_hash"], row["mined_at"]) for row in due}
    compare.apply(found, sides, times)
    ended = [clash.log for clash in found.clashes] + [one for _, twins in found.twins for one in twins]
    for row, one in found.pairs:
        if row["status"] == "confirmed":
            _explained(one, row)
        if is_final(row["status"]) and not _is_still_reorged(row):
            ended.append(one)
        else:
            breaks.look_again(key_of(one), _later(rows[key_of(one)], is_ambiguous=False))
    for one in found.rest:
        seen = rows[key_of(one)]
        known = (recovery.get("restored_at"), is_all_read, recovery.get("lost_since"))
        at = Moments(seen["mined_at"], seen["seen_at"], clock.now(), *known)
        judged_for = recovery["at"] if is_all_read and recovery.get("is_recovering") else None
        if _judge(seen, one, sides[key_of(one)], at, judged_for):
            ended.append(one)
    breaks.lose_sight([key_of(one) for one in ended])


def _is_still_reorged(row: TransactionRow) -> bool:
    """Whether it was found again, and its entries could not be counted again yet."""
    current = transactions.find(row["_id"], None) if "reorged_at" in row else None
    return current is not None and "reorged_at" in current


def _later(row: SightingRow, *, is_ambiguous: bool) -> datetime:
    return clock.now() + discrepancies.look_again_in(is_ambiguous=is_ambiguous, seen_at=row["seen_at"])


def _judge(
    row: SightingRow, one: ChainTransfer, sides: tuple[str, str], at: Moments, judged_for: datetime | None
) -> bool:
    """Decide about a Transfer that no row knows by its hash; whether that is the end of it."""
    equal = breaks.find_equal_sightings(one.sender, one.recipient, str(one.amount))
    rivals = compare.rivals_for(one, sides)
    verdict = matching.without_hash(at, len(equal), rivals)
    match verdict.action:
        case "missing":
            cause = onchain.find_settled(one.tx_hash, one.log_index)  # it may have ended since the rows were looked up
            if cause is not None:
                _explained(one, cause)
                return onward.pass_on([cause])
            _close(one, "no transaction can be its cause any more")
            discrepancies.missing_in_ledger(one, row["mined_at"], sides)
            return True
        case "settle":
            return discrepancies.settle(verdict.rows[0], one) and onward.pass_on(verdict.rows)
        case "ambiguous":
            discrepancies.ambiguous(one, row["mined_at"], verdict.rows)
    breaks.look_again(row["_id"], _later(row, is_ambiguous=verdict.action == "ambiguous"), judged_for)
    return False


def _close(one: ChainTransfer, why: str) -> None:
    for raised in breaks.find_of_log(one.tx_hash, one.log_index):
        if raised["status"] == "open" and raised["type"] == "ambiguous":
            correct.fall(raised, why)


def _explained(one: ChainTransfer, row: TransactionRow) -> None:
    """A row has this Transfer: whatever was said about it is over."""
    for raised in breaks.find_of_log(one.tx_hash, one.log_index):
        current = transactions.find(row["_id"], None) if raised["status"] == "open" else None
        if current is not None:
            onward.explain(raised, current)


def _book(row: BreakRow) -> bool:
    """Try again what an account did not hold enough for; whether that is done."""
    if row["due"] == "fall":
        return correct.fall(row, TAKEN_BACK) is not None
    if row["type"] == "reorged":
        return correct.fall(row, "its block is back") is not None if _is_back(row) else discrepancies.reverse(row)
    cause = onchain.find_settled(row["tx_hash"], row["log_index"])
    if cause is not None:
        return onward.explain(row, cause) is not None
    if row["status"] == "resolved" and is_its_own(row):
        # A transaction's, which has its Transfer elsewhere by now.
        return correct.fall(row, TAKEN_BACK, leaving=[Leg(*leg) for leg in row["standing"]]) is not None
    one, sides = _of(row)
    if _is_waited_for(row, one, sides):
        return False
    return discrepancies.book(row, one, matching.legs(*sides, one.amount)) is not None


def _is_back(row: BreakRow) -> bool:
    """Whether the chain has the block again that was reorganised away: nothing is to be booked back."""
    number = row.get("block_number")
    there = chain.blocks([number]).get(number) if number is not None else None
    return there is not None and there.hash == row.get("block_hash")


def _must_wait(row: BreakRow) -> bool:
    """Whether it can't be done now: something under way holds what it takes, or may turn out to be its cause."""
    if row["due"] == "fall":
        return correct.is_short(row, [Leg(*leg).back() for leg in row["standing"]])
    if row["type"] == "reorged":
        return correct.is_short(row, discrepancies.legs_back(row))
    one, sides = _of(row)
    return _is_waited_for(row, one, sides) or correct.is_short(row, matching.legs(*sides, one.amount))


def _is_waited_for(row: BreakRow, one: ChainTransfer, sides: tuple[str, str]) -> bool:
    """Whether a row under way may turn out to be its cause."""
    if row["type"] != "missing_in_ledger":
        return False
    return any(not matching.is_newer(rival, row.get("mined_at", _EVER)) for rival in compare.rivals_for(one, sides))


def _of(row: BreakRow) -> tuple[ChainTransfer, tuple[str, str]]:
    """The Transfer that a break is about, and the accounts of its two sides."""
    one = _as_transfer(row)
    return one, discrepancies.accounts_of([one])[key_of(one)]


def _as_transfer(row: BreakRow) -> ChainTransfer:
    sides = row["found"]
    return ChainTransfer(
        row["tx_hash"],
        row["log_index"],
        row.get("block_number", 0),
        row.get("block_hash", ""),
        sides["sender"],
        sides["recipient"],
        int(sides["amount"]),
    )


def _sweep(after: str) -> None:
    """Rows that only MetaKeep has confirmed are looked up; open breaks are held against rows and wallets that came.

    So many a run, from where the last one stopped, until all were: however many there are, each has its turn.
    """
    if not after:
        for row in onchain.find_unwitnessed(clock.now() - matching.HORIZON, _UNWITNESSED):
            compare.look_for(row)
    found = breaks.find_open(_BATCH, after=after)
    compare.look_for_displaced(found)
    _hold_against_rows(found)
    is_over = len(found) < _BATCH
    progress.note({"sweep_after": "", "swept_at": clock.now()} if is_over else {"sweep_after": found[-1]["_id"]})


def _hold_against_rows(found: Sequence[BreakRow]) -> None:
    opened = [row for row in found if "log_index" in row]
    for raised in found:
        if raised["type"] == "ambiguous" and "transaction_id" in raised:
            _is_decided(raised)
    settled = {
        (row["settlement"]["tx_hash"], row["settlement"]["log_index"]): row
        for row in onchain.find_by_hashes(sorted({row["tx_hash"] for row in opened}))
        if "settlement" in row
    }
    onward.pass_on(list(settled.values()))  # also where a break of another kind stood in their place
    alone: list[BreakRow] = []
    for raised in opened:
        cause = settled.get((raised["tx_hash"], raised["log_index"]))
        if cause is not None and raised["type"] in ("missing_in_ledger", "ambiguous"):
            onward.explain(raised, cause)
        elif cause is None and raised["type"] == "missing_in_ledger" and "due" not in raised:
            alone.append(raised)
    for raised in _with_more_legs(alone):
        discrepancies.book_more(raised)


def _is_decided(raised: BreakRow) -> None:
    """The transaction that was held back has come to its end."""
    row = transactions.find(raised.get("transaction_id", ""), None)
    if row is not None and is_final(row["status"]):
        correct.fall(raised, f"{row['_id']} is {row['status']}")


def _with_more_legs(found: Sequence[BreakRow]) -> list[BreakRow]:
    """Those of which more is ours than is booked: an address that was nobody's then has become a wallet of ours."""
    sides = discrepancies.accounts_of([_as_transfer(raised) for raised in found])

    def legs(raised: BreakRow) -> list[Leg]:
        one = _as_transfer(raised)
        return matching.legs(*sides[key_of(one)], one.amount)

    return [raised for raised in found if len(legs(raised)) > len(raised["standing"])]


def welcome() -> None:
    """Look up, every 30 s, what new wallets had before they were ours: what we had paid to them, and what was closed.

    A page a run. Each pass begins a quarter of an hour before the last one did: an id is made before its wallet is
    stored, and who judged a Transfer may have asked for wallets just before. Raises ChainUnavailable.
    """
    # The place had another name while it was only looked up what was closed: under this one all begins anew.
    noted = controls.read_all().get(progress.NAME, {})
    last = noted.get("greeted_at", _NEVER)
    if not noted.get("greet") and clock.now() - last < _SWEEP:
        return
    first: dict[str, Any] = {"begun_at": clock.now(), "wallet": lowest_id("wlt", last, -_STORED_WITHIN_MS), "break": ""}
    place = noted.get("greet") or first
    new = wallets.find_new(place["wallet"], _NEWCOMERS)
    paid = onchain.find_paid_outside([row[name] for row in new for name in _WRITTEN], _CLOSED) if new else []
    if not onward.pass_on(paid) or len(paid) == _CLOSED:
        return  # somebody else was at one of them, or there are more: once more
    page = breaks.find_closed_of([row["address_key"] for row in new], _CLOSED, place["break"]) if new else []
    done = [discrepancies.book_more(raised) for raised in compare.are_there(_with_more_legs(page))]
    if not all(done):
        return  # somebody else was at one of them: once more
    if len(page) == _CLOSED:
        progress.note({"greet": {**place, "break": page[-1]["_id"]}})
    elif len(new) == _NEWCOMERS:
        progress.note({"greet": {**place, "wallet": new[-1]["_id"], "break": ""}})
    else:
        progress.note({"greet": None, "greeted_at": place["begun_at"]})
