"""Reading the chain against the books: window by window, in block order, behind the confirmation depth.

Where it stands is kept with the hash of the last block and those of the blocks before it: when the chain has another
one there, reconciliation goes back to where both agree and reads on from there. Reading a block again changes nothing.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from pymongo.client_session import ClientSession

from getsmart import chain, clock, config, log
from getsmart.breaks import Place
from getsmart.chain import ChainTransfer
from getsmart.ids import new_id
from getsmart.machine import compare, revisit
from getsmart.mongo import transact
from getsmart.stores import breaks, controls, progress

LEASE = "reconcile"
WINDOW = 1_000  # blocks in one question to the node
_LEASE_SECONDS = 60.0
_REMEMBER = progress.KEPT // 2
_BATCH = 50  # blocks in one batch of questions

Tell = Callable[[int, int], None]


class Done(NamedTuple):
    """What one run did: blocks that were read, Transfers among them, and whether it has reached the depth."""

    blocks: int
    transfers: int
    is_at_head: bool


NOTHING = Done(0, 0, is_at_head=False)


def _silent(_block: int, _target: int) -> None:
    pass


def go_back(first: int) -> bool:
    """Have the chain read again from this block on; False while somebody else reads it. Raises ChainUnavailable."""
    holder = new_id("req")
    if not controls.take_lease(LEASE, holder, _LEASE_SECONDS):
        return False
    try:
        place = progress.read()
        if place is None or first > place.block_number:
            return True
        before = chain.blocks([first - 1]).get(first - 1) if first > 0 else None
        return progress.advance(place, first - 1, before.hash if before else "", {}) is not None
    finally:
        controls.drop_lease(LEASE, holder)


def run(seconds: float, *, tell: Tell = _silent, last: int | None = None) -> Done:
    """Read on for so long, one window at least; then look again at what was undecided. One runs at a time.

    At the depth a recovery ends; `last` ends the reading before. `tell` is given the block that was reached and the
    one to be reached. Raises ChainUnavailable when the node is silent; what was reconciled before stands.
    """
    holder = new_id("req")
    if not chain.is_configured() or not controls.take_lease(LEASE, holder, _LEASE_SECONDS):
        return NOTHING
    try:
        return _run(clock.monotonic() + seconds, holder, tell, last)
    finally:
        controls.drop_lease(LEASE, holder)


def _run(end: float, holder: str, tell: Tell, last: int | None) -> Done:
    recovery = controls.read_recovery()
    head = chain.head()
    depth_block = head - config.read(config.ChainSettings).confirmation_depth
    target = depth_block if last is None else min(last, depth_block)
    place = _standing()
    begun, transfers = place, 0
    while _next(place) <= target:
        moved = _window(place, min(_next(place) + WINDOW - 1, target), target)
        if moved is None:
            break  # the chain, or somebody else, moved in this moment: the next run looks again
        place, seen = moved
        transfers += seen
        tell(place.block_number, target)
        if clock.monotonic() > end or not controls.take_lease(LEASE, holder, _LEASE_SECONDS):
            break
    is_at_head = _next(place) > target
    is_all_read = _next(place) > depth_block
    progress.note({"head": head, "at": clock.now()} if is_all_read else {"head": head})
    revisit.look(recovery, is_all_read=is_all_read)
    is_whole = recovery.get("is_recovering") and not recovery.get("is_being_restored")
    is_to_end = is_all_read and is_whole and _has_seen(recovery["restored_at"], depth_block, head)
    if is_to_end and revisit.decide(recovery, end):
        _recovered(recovery, place)
    revisit.welcome()  # last: whatever keeps it from going on keeps nobody else
    return Done(_next(place) - _next(begun), transfers, is_at_head)


def _has_seen(restored_at: datetime, depth_block: int, head: int) -> bool:
    """Whether the depth has come past a moment: at the head itself there is nothing newer, however old its block."""
    return depth_block == head or chain.block_time(max(depth_block, 0)) > restored_at


def _next(place: Place | None) -> int:
    """The block to be read next."""
    return config.read(config.ReconciliationSettings).first_block if place is None else place.block_number + 1


def _standing() -> Place | None:
    """Where reconciliation stands, after going back behind a reorganisation."""
    place = progress.read()
    if (
        place is None
        or not place.block_hash
        or chain.blocks([place.block_number]).get(place.block_number, ("", ""))[1] == place.block_hash
    ):
        return place
    remembered = progress.remembered()
    current = read_blocks(sorted(remembered))
    agreed = [number for number, hash_ in remembered.items() if number in current and current[number].hash == hash_]
    first = config.read(config.ReconciliationSettings).first_block
    fork, fork_hash = (max(agreed), remembered[max(agreed)]) if agreed else (first - 1, "")
    log.event("chain.reorganised", level="warning", from_block=place.block_number, to_block=fork)
    return transact(partial(_go_back_to, place, fork, fork_hash)) or progress.read()


def _go_back_to(place: Place, fork: int, fork_hash: str, session: ClientSession) -> Place | None:
    """Stand where both chains agree and forget what was seen above; nothing at all where somebody else has moved on.

    One transaction: who slept through the going back of another would take away what the other has seen since.
    """
    moved = progress.advance(place, fork, fork_hash, {}, session=session)
    if moved is not None:
        breaks.lose_sight_after(fork, session=session)
        progress.forget_after(fork, session=session)
    return moved


def read_blocks(numbers: Sequence[int]) -> dict[int, chain.Block]:
    """The blocks of these numbers, a batch at a time."""
    found: dict[int, chain.Block] = {}
    for start in range(0, len(numbers), _BATCH):
        found |= chain.blocks(numbers[start : start + _BATCH])
    return found


def _window(place: Place | None, last: int, target: int) -> tuple[Place, int] | None:
    """Reconcile the blocks behind `place` up to `last`; None when the chain changed while it was read."""
    first = _next(place)
    bounds = [last] if place is None or not place.block_hash else [place.block_number, last]
    before = chain.blocks(bounds)
    if place is not None and place.block_hash and _hash(before, place.block_number) != place.block_hash:
        return None
    contract = config.read(config.TokenSettings).contract_address.lower()
    transfers: list[ChainTransfer] = chain.read_transfers(contract, first, last)
    after = read_blocks(sorted({*bounds, *range(max(first, target - _REMEMBER), last + 1)}))
    if any(_hash(before, number) != _hash(after, number) or not _hash(after, number) for number in bounds):
        return None
    compare.window(transfers, first, last)
    progress.remember([(number, after[number].hash) for number in sorted(after) if number >= first])
    moved = progress.advance(place, last, after[last].hash, {})
    return None if moved is None else (moved, len(transfers))


def _hash(found: dict[int, chain.Block], number: int) -> str:
    return found[number].hash if number in found else ""


def _recovered(recovery: dict[str, Any], place: Place | None) -> None:
    """The books have caught up with the chain: money moves again."""
    if controls.end_recovery(recovery["at"], {}):
        log.event("recovery.ended", to_block=place.block_number if place else None)
