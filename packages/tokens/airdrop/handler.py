"""POST /tokens/airdrop - mint GETS into up to 10,000 wallets, accepted whole or not at all."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from getsmart import rows
from getsmart.fields import BadgeText, BaseUnits, Body, WalletId, described
from getsmart.front import Request
from getsmart.idempotency import answer, claim_of
from getsmart.replies import Reply
from getsmart.services import airdrops
from getsmart.web import endpoint

_ROW = {"wallet_id": "wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV", "amount": "1000"}


class AirdropRow(Body):
    """Whom to pay, and how much."""

    wallet_id: WalletId
    amount: BaseUnits


class AirdropBody(Body):
    """A name for this airdrop that stands for its rows for ever, and the rows; each is checked by the handler."""

    reference: BadgeText
    rows: Annotated[list[Any], Field(min_length=1, max_length=10_000), described([_ROW])]


def _checked(given: Sequence[Any], payable: Callable[[Sequence[str]], set[str]]) -> Sequence[tuple[str, int]]:
    """The rows, or InvalidRequest with everything that is wrong with any of them."""
    good, problems = rows.check(AirdropRow, given)
    linked = payable([row.wallet_id for row in good if row])
    for number, row in enumerate(good):
        if row and row.wallet_id not in linked:
            problems.append({"field": f"rows[{number}].wallet_id", "problem": "is not a wallet of yours"})
    rows.refuse(problems)
    return [(row.wallet_id, row.amount) for row in good if row]


@endpoint("POST", scope="tokens:mint", takes=AirdropBody, reads=rows.read)
def main(request: Request[AirdropBody]) -> Reply:
    """202 with the batch; 400 every bad row; 409 other rows under this reference, supply, a limit; 422 key reused."""
    order = request.input
    accepted = airdrops.accept(claim_of(request), order.reference, lambda payable: _checked(order.rows, payable))
    return answer(accepted)
