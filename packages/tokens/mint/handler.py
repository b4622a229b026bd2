"""POST /tokens/mint - mint new GETS into a wallet: an amount, or the reward of a badge claim."""

from getsmart.fields import BadgeText, BaseUnits, Body, Reason, WalletId, exactly_one
from getsmart.front import Request
from getsmart.idempotency import answer, claim_of
from getsmart.replies import Reply
from getsmart.services import tokens
from getsmart.web import endpoint


class BadgeClaim(Body):
    """Which badge, and who earned it; compared exactly, rewarded once."""

    badge_id: BadgeText
    claimant: BadgeText


class MintBody(Body):
    """To whom, and either how much or for which badge."""

    wallet_id: WalletId
    amount: BaseUnits = 0  # 0 stands for absent: no caller can write it
    badge_claim: BadgeClaim | None = None
    reason: Reason | None = None

    _one = exactly_one("amount", "badge_claim")


@endpoint("POST", scope="tokens:mint", takes=MintBody)
def main(request: Request[MintBody]) -> Reply:
    """202 with the transaction; 404 wallet; 409 supply, badge claimed or twin running; 422 key reused."""
    claim, order = claim_of(request), request.input
    if order.badge_claim is not None:
        badge = order.badge_claim
        return answer(
            tokens.mint_for_badge(
                claim,
                wallet_id=order.wallet_id,
                badge_id=badge.badge_id,
                claimant=badge.claimant,
                reason=order.reason,
            )
        )
    return answer(tokens.mint(claim, wallet_id=order.wallet_id, amount=order.amount, reason=order.reason))
