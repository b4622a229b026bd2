"""GET /wallets/balance - what a wallet holds, what is on its way, what may be spent; now, or at a past moment."""

from typing import Literal, Self

from pydantic import model_validator

from getsmart.fields import Moment, Query, WalletId, problem
from getsmart.front import Request
from getsmart.replies import Reply, success
from getsmart.services import views
from getsmart.web import endpoint


class BalanceQuery(Query):
    """Whose balance, of when, and whether the chain is to be read too."""

    wallet_id: WalletId
    at: Moment | None = None
    source: Literal["ledger", "chain"] = "ledger"

    @model_validator(mode="after")
    def _chain_is_now(self) -> Self:
        if self.at is not None and self.source == "chain":
            raise problem("source", "the chain is read as of now; give at or source=chain", field="source")
        return self


@endpoint("GET", scope="wallets:read", takes=BalanceQuery)
def main(request: Request[BalanceQuery]) -> Reply:
    """200 with the balance; 400 for a future `at`; 404 unknown, or not linked; 503 the chain's node is away."""
    query = request.input
    if query.at is not None:
        return success(200, views.balance_at(request.caller, query.wallet_id, query.at), "balance")
    if query.source == "chain":
        return success(200, views.balance_with_chain(request.caller, query.wallet_id), "balance")
    return success(200, views.balance(request.caller, query.wallet_id), "balance")
