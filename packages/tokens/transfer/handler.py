"""POST /tokens/transfer - pay GETS to a wallet or address: from the treasury, or from a wallet whose owner approves."""

from functools import partial

from getsmart.fields import Address, BaseUnits, Body, Reason, WalletId, exactly_one
from getsmart.front import Request
from getsmart.idempotency import answer, claim_of
from getsmart.replies import Reply
from getsmart.services import tokens
from getsmart.web import endpoint


class TransferBody(Body):
    """From whom (by default the treasury), to whom and how much."""

    from_wallet_id: WalletId | None = None
    to_wallet_id: WalletId | None = None
    to_address: Address | None = None
    amount: BaseUnits
    reason: Reason | None = None

    _one_target = exactly_one("to_wallet_id", "to_address")


@endpoint("POST", scope="treasury:transfer", also=("tokens:transfer",), takes=TransferBody)
def main(request: Request[TransferBody]) -> Reply:
    """202 with the transaction; 403 scope of its source; 404 wallet; 409 balance or twin running; 422 key reused."""
    order, source = request.input, request.input.from_wallet_id
    request.require("tokens:transfer" if source else "treasury:transfer")
    pay = partial(tokens.transfer_from_wallet, from_wallet_id=source) if source else tokens.transfer_from_treasury
    accepted = pay(
        claim_of(request),
        to_wallet_id=order.to_wallet_id,
        to_address=order.to_address,
        amount=order.amount,
        reason=order.reason,
    )
    return answer(accepted)
