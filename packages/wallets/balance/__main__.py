"""GET /wallets/balance - what a wallet holds, what is on its way, what may be spent."""

from getsmart.fields import Query, WalletId
from getsmart.replies import Reply, success
from getsmart.services import views
from getsmart.web import Request, endpoint


class BalanceQuery(Query):
    """Whose balance."""

    wallet_id: WalletId


@endpoint("GET", scope="wallets:read", takes=BalanceQuery)
def main(request: Request[BalanceQuery]) -> Reply:
    """200 with the balance as of now; 404 unknown, or not linked to this client."""
    return success(200, views.balance(request.caller, request.input.wallet_id), "balance")
