"""One window of the chain against the books: every Transfer finds its row or a break, every row its Transfer."""

from collections.abc import Sequence

from getsmart import chain, clock, config, log
from getsmart.amounts import GENESIS_SUPPLY
from getsmart.breaks import TAKEN_BACK, BreakRow, SightingRow, is_its_own, log_key, sides_of
from getsmart.chain import Block, ChainTransfer, TransferLog
from getsmart.machine import correct, discrepancies, matching, onward
from getsmart.machine.matching import ByHash, Known
from getsmart.machine.wanted import expected
from getsmart.models import ISSUANCE, TREASURY, TransactionRow, is_final
from getsmart.stores import breaks, controls, onchain, progress, transactions

_ABOUT_A_LOG = ("missing_in_ledger", "ambiguous", "amount_mismatch", "party_mismatch")


def window(transfers: Sequence[ChainTransfer], first: int, last: int) -> None:
    """Compare all Transfers of these blocks, and all rows and breaks that we believe to be in them."""
    found = match(transfers)
    doubtful = [*found.rest, *(clash.log for clash in found.clashes)]
    doubtful += [one for _, twins in found.twins for one in twins]
    doubtful += [one for row, one in found.pairs if is_final(row["status"]) and row["status"] != "confirmed"]
    sides, mined_at = discrepancies.accounts_of(doubtful), times_of(doubtful)
    known = {_key(row): row for row in breaks.find_of_hashes(sorted({one.tx_hash for one in found.rest}))}
    served = apply(found, sides, mined_at)
    kept = [one for one in found.rest if not _is_known(one, known) and not _is_genesis(one, sides[key_of(one)])]
    breaks.sight([sighting(one, mined_at[one.block_number].at) for one in kept])
    _look_for_rows(first, last, served)
    _look_for_breaks(transfers, first, last)


def match(transfers: Sequence[ChainTransfer]) -> ByHash:
    """What hashes tell of these Transfers."""
    rows = onchain.find_by_hashes(sorted({one.tx_hash for one in transfers}))
    return matching.by_hash(transfers, [Known(row, expected(row)) for row in rows])


def times_of(transfers: Sequence[ChainTransfer]) -> dict[int, Block]:
    """The blocks of these Transfers, for when they were mined; a question to the node only where one is asked about."""
    numbers = sorted({one.block_number for one in transfers})
    found: dict[int, Block] = {}
    for start in range(0, len(numbers), 50):
        found |= chain.blocks(numbers[start : start + 50])
    return found


def apply(found: ByHash, sides: dict[str, tuple[str, str]], mined_at: dict[int, Block]) -> set[str]:
    """Act on what hashes told; the ids of the rows whose Transfers were among them."""
    waiting = [sighting(one, clock.now(), row["_id"]) for row, one in found.pairs if _must_wait(row, one)]
    breaks.sight(waiting)
    onward.pass_on([row for row, _ in found.pairs])
    for row, one in found.pairs:
        if row["status"] != "confirmed" and is_final(row["status"]):
            discrepancies.missing_in_ledger(one, mined_at[one.block_number].at, sides[key_of(one)], row["_id"])
    for clash in found.clashes:
        at = mined_at[clash.log.block_number].at
        discrepancies.clash(clash, at, sides[key_of(clash.log)], expected(clash.row))
    for row, twins in found.twins:
        for one in twins:
            discrepancies.ambiguous(one, mined_at[one.block_number].at, [row])
    rows = [*(row for row, _ in found.pairs), *(clash.row for clash in found.clashes), *(row for row, _ in found.twins)]
    return {row["_id"] for row in rows}


def _must_wait(row: TransactionRow, one: ChainTransfer) -> bool:
    """Bring a confirmed row's place up to date; whether the Transfer has to be looked at again for its row's sake."""
    if row["status"] != "confirmed":
        return not is_final(row["status"])
    if "reorged_at" in row:
        return not discrepancies.returned(row, one)
    place, settlement = discrepancies.place_of(one), discrepancies.settlement_of(one)
    if row.get("settlement") != settlement or any(row.get(name) != value for name, value in place.items()):
        onchain.annotate(row, {**place, "settlement": settlement}, ("is_unwitnessed",))
        _close(row, "found on the chain")
    return False


def _close(row: TransactionRow, why: str) -> None:
    """Breaks that said that a row has no Transfer."""
    for raised in breaks.find_of_transaction(row["_id"]):
        if raised["type"] in ("missing_on_chain", "reorged"):
            correct.fall(raised, why)


def sighting(one: ChainTransfer, mined_at: object, transaction_id: str | None = None) -> SightingRow:
    """The record by which a Transfer is looked at again."""
    at = clock.now()
    row = {
        "_id": log_key(one.tx_hash, one.log_index),
        **one._asdict(),
        "amount": str(one.amount),
        "mined_at": mined_at,
        "seen_at": at,
        "due_at": at,
    }
    if transaction_id is not None:
        row["transaction_id"] = transaction_id
    return row  # type: ignore[return-value]


def _is_known(one: ChainTransfer, known: dict[str, BreakRow]) -> bool:
    """Whether there is an open break about this Transfer in no row's name: it has been judged."""
    raised = known.get(key_of(one))
    if raised is None or raised["status"] != "open":
        return False
    if raised.get("block_hash") != one.block_hash:
        breaks.change(raised, discrepancies.place_of(one))
    return True


def key_of(one: ChainTransfer) -> str:
    """Its name."""
    return log_key(one.tx_hash, one.log_index)


def _key(row: BreakRow) -> str:
    return log_key(row.get("tx_hash", ""), row.get("log_index", -1))


def _is_genesis(one: ChainTransfer, sides: tuple[str, str]) -> bool:
    """Whether this is the mint that migration 0001 has booked: the first of its kind, and no other."""
    if sides != (ISSUANCE, TREASURY) or one.amount != GENESIS_SUPPLY:
        return False
    known = controls.read_all().get(progress.NAME, {}).get("genesis")
    mine = {**discrepancies.settlement_of(one), **discrepancies.place_of(one)}
    if known is not None and (known["tx_hash"], known["log_index"]) != (one.tx_hash, one.log_index):
        return False
    progress.note({"genesis": mine})
    return True


def _look_for_rows(first: int, last: int, served: set[str]) -> None:
    """Rows that are said to stand in these blocks; the last is undone first, so that what it took is there again."""
    absent = [row for row in onchain.find_in_blocks(first, last) if row["_id"] not in served]
    for row in sorted(absent, key=lambda one: -one.get("block_number", 0)):
        if row["status"] == "confirmed":
            look_for(row)


def look_for(row: TransactionRow) -> None:
    """Where the Transfer of a confirmed row is now: elsewhere, nowhere because of a reorganisation, or nowhere."""
    wanted = expected(row)
    receipt = chain.receipt(row["tx_hash"]) if "tx_hash" in row else None
    own = [one for one in receipt.transfers if one[:4] == tuple(wanted)] if receipt and receipt.is_success else []
    index = row.get("settlement", {}).get("log_index")
    own = [one for one in own if one.log_index == index] or own
    if receipt is not None and own:
        settlement = {"tx_hash": row["tx_hash"], "log_index": own[0].log_index}
        place = {"block_number": receipt.block_number, "block_hash": receipt.block_hash}
        onchain.annotate(row, {**place, "settlement": settlement})
        if onward.pass_on([row]) and "is_unwitnessed" in row:
            _witnessed(row["_id"])
        return
    number = row.get("block_number")
    there = chain.blocks([number]).get(number) if number is not None else None
    was_reorganised = "block_hash" in row and there is not None and there.hash != row["block_hash"]
    if receipt is None and was_reorganised:
        discrepancies.vanished(row, wanted, was_reorganised=True)
    else:
        discrepancies.vanished(row, wanted, was_reorganised=False)
        onchain.annotate(row, {}, ("is_unwitnessed",))


def _witnessed(transaction_id: str) -> None:
    """Its place is known, and all is done about it: only now nobody looks for it any more."""
    row = transactions.find(transaction_id, None)
    if row is not None and row.get("settlement", {}).get("log_index") is not None:
        onchain.annotate(row, {}, ("is_unwitnessed",))


def _look_for_breaks(transfers: Sequence[ChainTransfer], first: int, last: int) -> None:
    """Breaks about Transfers that a reorganisation took away are undone with them."""
    there = {log_key(one.tx_hash, one.log_index) for one in transfers}
    for row in breaks.find_in_blocks(first, last):
        if row["type"] in _ABOUT_A_LOG and _key(row) not in there:
            _look_for_break(row)


def look_for_displaced(opened: Sequence[BreakRow]) -> None:
    """Breaks about Transfers of blocks that were reorganised away, and raised by somebody who slept through that."""
    about = [row for row in opened if row["type"] in _ABOUT_A_LOG and "block_hash" in row]
    hashes = progress.remembered() if about else {}
    for row in about:
        if hashes.get(row["block_number"], row["block_hash"]) != row["block_hash"]:
            _look_for_break(row)


def are_there(rows: Sequence[BreakRow]) -> list[BreakRow]:
    """Those of the breaks whose Transfers are still on the chain, up to 50; one that is not is closed for that.

    A reorganisation of a while ago is followed for open breaks only. A block that the node does not have tells nothing.
    """
    blocks = chain.blocks(sorted({row["block_number"] for row in rows})) if rows else {}
    there = []
    for row in rows:
        block = blocks.get(row["block_number"])
        current = row if block is None or block.hash == row.get("block_hash") else _elsewhere(row)
        if current is not None:
            there.append(current)
        elif is_its_own(row):
            correct.fall(row, TAKEN_BACK)
    return there


def _look_for_break(row: BreakRow) -> None:
    """Where the Transfer of an open break is now: elsewhere, or gone, and the break with it."""
    if _elsewhere(row) is None:
        log.event("break.reorganised", break_id=row["_id"])
        if correct.fall(row, TAKEN_BACK) is None:
            breaks.change(row, {"due": "fall"})


def _elsewhere(row: BreakRow) -> BreakRow | None:
    """The break with the block in which its very Transfer is now, or None."""
    receipt = chain.receipt(row["tx_hash"])
    if receipt is None or not any(_is_of(row, one) for one in receipt.transfers):
        return None
    return breaks.change(row, {"block_number": receipt.block_number, "block_hash": receipt.block_hash}) or row


def _is_of(row: BreakRow, one: TransferLog) -> bool:
    """Whether a break is about this one; mined again, a transaction may have another in its place."""
    is_ours = one.contract == config.read(config.TokenSettings).contract_address.lower()
    return is_ours and one.log_index == row["log_index"] and sides_of(one) == row["found"]


def as_transfer(row: SightingRow) -> ChainTransfer:
    """A Transfer that is kept to be looked at again."""
    return ChainTransfer(
        row["tx_hash"],
        row["log_index"],
        row["block_number"],
        row["block_hash"],
        row["sender"],
        row["recipient"],
        int(row["amount"]),
    )


def rivals_for(one: ChainTransfer, sides: tuple[str, str]) -> list[TransactionRow]:
    """The open rows that have to cause a Transfer like this."""
    rows = onchain.find_open_between(*sides, one.amount)
    return [row for row in rows if matching.fits(one, expected(row))]
