"""GET /wallets/get - one wallet, by wallet_id, email or address."""

from typing import Self

from pydantic import model_validator

from getsmart.fields import Address, Email, Query, WalletId, problem
from getsmart.replies import Reply, success
from getsmart.services import views
from getsmart.web import Request, endpoint


class WalletQuery(Query):
    """Exactly one way to name the wallet."""

    wallet_id: WalletId | None = None
    email: Email | None = None
    address: Address | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.wallet_id, self.email, self.address)) != 1:
            raise problem("one_of", "exactly one of wallet_id, email and address must be given", field="wallet_id")
        return self


@endpoint("GET", scope="wallets:read", takes=WalletQuery)
def main(request: Request[WalletQuery]) -> Reply:
    """200 with the wallet; 404 unknown, or not linked to this client."""
    by = request.input
    wallet = views.wallet(request.caller, wallet_id=by.wallet_id, email=by.email, address=by.address)
    return success(200, wallet, "wallet")
