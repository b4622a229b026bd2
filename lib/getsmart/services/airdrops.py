"""An airdrop: who is to be paid, and whether all of them can be."""

from collections.abc import Callable, Sequence

from getsmart.machine import airdrop
from getsmart.machine.airdrop import Payment
from getsmart.models import Accepted, Claim
from getsmart.stores import wallets

Problem = dict[str, str]


def accept(
    claim: Claim, reference: str, rows: Callable[[Callable[[Sequence[str]], set[str]]], Sequence[tuple[str, int]]]
) -> Accepted:
    """Accept an airdrop of (wallet id, base units) rows as a batch, all or nothing; see `machine.airdrop.accept`.

    `rows` is asked only when rows have to be written; it gets a function that says which wallet ids the client may pay,
    and raises what is wrong with its rows.
    """

    def payments() -> Sequence[Payment]:
        return [Payment(*row) for row in rows(lambda ids: _payable(claim, ids))]

    return airdrop.accept(claim, reference, payments)


def _payable(claim: Claim, wallet_ids: Sequence[str]) -> set[str]:
    """Those of the ids that are wallets linked to the client, whose owners have not been erased."""
    found = wallets.find_many(sorted(set(wallet_ids)), claim.caller.view)
    return {wallet_id for wallet_id, row in found.items() if "email" in row}
