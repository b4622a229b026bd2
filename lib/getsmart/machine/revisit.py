"""What was undecided is looked at again: Transfers whose row may still come, and breaks that are not booked yet."""

from datetime import datetime, timedelta

from getsmart import chain, clock
from getsmart.breaks import BreakRow, SightingRow
from getsmart.chain import ChainTransfer
from getsmart.machine import compare, correct, discrepancies, matching
from getsmart.machine.compare import key_of
from getsmart.machine.matching import Moments
from getsmart.models import TransactionRow, is_final
from getsmart.stores import breaks, controls, onchain, progress, transactions

_BATCH = 500
_DUE = 100
_UNWITNESSED = 50
_SWEEP = timedelta(seconds=30)


def look(restored_at: datetime | None, *, is_all_read: bool) -> None:
    """Everything that is due by now; what comes rarely is looked for every 30 s. See Moments for the arguments."""
    due = breaks.find_sightings(clock.now(), _BATCH)
    if due:
        _look_at(due, restored_at, is_all_read=is_all_read)
    for row in breaks.find_due(_DUE):
        _book(row)
    swept_at = controls.read_all().get(progress.NAME, {}).get("swept_at")
    if swept_at is None or clock.now() - swept_at >= _SWEEP:
        _sweep(is_all_read=is_all_read)
        progress.note({"swept_at": clock.now()})


def _look_at(due: list[SightingRow], restored_at: datetime | None, *, is_all_read: bool) -> None:
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
        at = Moments(seen["mined_at"], seen["seen_at"], clock.now(), restored_at, is_all_read)
        if _judge(seen, one, sides[key_of(one)], at):
            ended.append(one)
    breaks.lose_sight([key_of(one) for one in ended])


def _is_still_reorged(row: TransactionRow) -> bool:
    """Whether it was found again, and its entries could not be counted again yet."""
    current = transactions.find(row["_id"], None) if "reorged_at" in row else None
    return current is not None and "reorged_at" in current


def _later(row: SightingRow, *, is_ambiguous: bool) -> datetime:
    return clock.now() + discrepancies.look_again_in(is_ambiguous=is_ambiguous, seen_at=row["seen_at"])


def _judge(row: SightingRow, one: ChainTransfer, sides: tuple[str, str], at: Moments) -> bool:
    """Decide about a Transfer that no row knows by its hash; whether that is the end of it."""
    equal = breaks.find_equal_sightings(one.sender, one.recipient, str(one.amount))
    rivals = compare.rivals_for(one, sides)
    verdict = matching.without_hash(at, len(equal), rivals)
    match verdict.action:
        case "missing":
            _close(one, "no transaction can be its cause any more")
            discrepancies.missing_in_ledger(one, row["mined_at"], sides)
            return True
        case "settle":
            return discrepancies.settle(verdict.rows[0], one)
        case "ambiguous":
            discrepancies.ambiguous(one, row["mined_at"], verdict.rows)
    breaks.look_again(row["_id"], _later(row, is_ambiguous=verdict.action == "ambiguous"))
    return False


def _close(one: ChainTransfer, why: str) -> None:
    for raised in breaks.find_of_log(one.tx_hash, one.log_index):
        if raised["status"] == "open" and raised["type"] == "ambiguous":
            correct.fall(raised, why)


def _explained(one: ChainTransfer, row: TransactionRow) -> None:
    """A row has this Transfer: whatever was said about it is over."""
    for raised in breaks.find_of_log(one.tx_hash, one.log_index):
        if raised["status"] == "open":
            correct.fall(raised, f"it is {row['_id']}'s")


def _book(row: BreakRow) -> None:
    """Try again what an account did not hold enough for."""
    if row["due"] == "fall":
        correct.fall(row, "its block was reorganised away")
    elif row["type"] == "reorged":
        discrepancies.reverse(row)
    else:
        one = _as_transfer(row)
        sides = discrepancies.accounts_of([one])[key_of(one)]
        cause = onchain.find_settled(row["tx_hash"], row["log_index"])
        if cause is not None:
            correct.fall(row, f"it is {cause['_id']}'s")
        elif row["type"] != "missing_in_ledger" or not compare.rivals_for(one, sides):
            correct.stand(row, matching.legs(*sides, one.amount))


def _as_transfer(row: BreakRow) -> ChainTransfer:
    sides = row["found"]
    return ChainTransfer(
        row["tx_hash"],
        row["log_index"],
        row["block_number"],
        row["block_hash"],
        sides["sender"],
        sides["recipient"],
        int(sides["amount"]),
    )


def _sweep(*, is_all_read: bool) -> None:
    """Rows that only MetaKeep has confirmed are looked up; open breaks are held against rows and wallets that came.

    The shadow of a restore goes once none is left, and never before the chain has been read: more may come.
    """
    for row in onchain.find_unwitnessed(clock.now() - matching.HORIZON, _UNWITNESSED):
        compare.look_for(row)
    found = breaks.find_open(_BATCH)
    opened = [row for row in found if "log_index" in row]
    for raised in found:
        if raised["type"] == "ambiguous" and "transaction_id" in raised:
            _is_decided(raised)
    settled = {
        (row["settlement"]["tx_hash"], row["settlement"]["log_index"]): row
        for row in onchain.find_by_hashes(sorted({row["tx_hash"] for row in opened}))
        if "settlement" in row
    }
    for raised in opened:
        cause = settled.get((raised["tx_hash"], raised["log_index"]))
        if cause is not None and raised["type"] in ("missing_in_ledger", "ambiguous"):
            correct.fall(raised, f"it is {cause['_id']}'s")
        elif cause is None:
            _move_to_new_wallet(raised)
    if is_all_read and not any(row["type"] == "missing_in_ledger" for row in opened):
        controls.end_shadow()


def _is_decided(raised: BreakRow) -> None:
    """The transaction that was held back has come to its end."""
    row = transactions.find(raised.get("transaction_id", ""), None)
    if row is not None and is_final(row["status"]):
        correct.fall(raised, f"{row['_id']} is {row['status']}")


def _move_to_new_wallet(raised: BreakRow) -> None:
    """An address that was nobody's when its Transfer was booked has become a wallet of ours."""
    if raised["type"] != "missing_in_ledger" or "due" in raised:
        return
    one = _as_transfer(raised)
    legs = matching.legs(*discrepancies.accounts_of([one])[key_of(one)], one.amount)
    if len(legs) > len(raised["standing"]):
        breaks.change(raised, {"due": "stand"})
