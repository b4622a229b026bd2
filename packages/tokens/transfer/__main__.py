"""POST /tokens/transfer - pay GETS from the treasury to a wallet or to a chain address."""

from typing import Self

from pydantic import model_validator

from getsmart.fields import Address, BaseUnits, Body, Reason, WalletId, problem
from getsmart.idempotency import answer, claim_of
from getsmart.replies import Reply
from getsmart.services import tokens
from getsmart.web import Request, endpoint


class TransferBody(Body):
    """To whom and how much."""

    to_wallet_id: WalletId | None = None
    to_address: Address | None = None
    amount: BaseUnits
    reason: Reason | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.to_wallet_id is None) == (self.to_address is None):
            raise problem("one_of", "exactly one of to_wallet_id and to_address must be given", field="to_wallet_id")
        return self


@endpoint("POST", scope="treasury:transfer", takes=TransferBody)
def main(request: Request[TransferBody]) -> Reply:
    """202 with the transaction; 404 wallet; 409 treasury too small or twin running; 422 key reused."""
    order = request.input
    accepted = tokens.transfer_from_treasury(
        claim_of(request),
        to_wallet_id=order.to_wallet_id,
        to_address=order.to_address,
        amount=order.amount,
        reason=order.reason,
    )
    return answer(accepted)
