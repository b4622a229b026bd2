"""POST /tokens/burn - destroy GETS that a wallet holds; burning does not free the supply."""

from getsmart.fields import BaseUnits, Body, Reason, WalletId
from getsmart.front import Request
from getsmart.idempotency import answer, claim_of
from getsmart.replies import Reply
from getsmart.services import tokens
from getsmart.web import endpoint


class BurnBody(Body):
    """Whose, how much, and why: MetaKeep asks for no consent, so the reason is required."""

    wallet_id: WalletId
    amount: BaseUnits
    reason: Reason


@endpoint("POST", scope="tokens:burn", takes=BurnBody)
def main(request: Request[BurnBody]) -> Reply:
    """202 with the transaction; 404 wallet; 409 balance too small or twin running; 422 key reused."""
    order = request.input
    claim = claim_of(request)
    return answer(tokens.burn(claim, wallet_id=order.wallet_id, amount=order.amount, reason=order.reason))
