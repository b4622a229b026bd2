"""GET /wallets/get - one wallet, by wallet_id, email or address."""

from getsmart.fields import Address, Email, Query, WalletId, exactly_one
from getsmart.front import Request
from getsmart.replies import Reply, success
from getsmart.services import views
from getsmart.web import endpoint


class WalletQuery(Query):
    """Exactly one way to name the wallet."""

    wallet_id: WalletId | None = None
    email: Email | None = None
    address: Address | None = None

    _one = exactly_one("wallet_id", "email", "address")


@endpoint("GET", scope="wallets:read", takes=WalletQuery)
def main(request: Request[WalletQuery]) -> Reply:
    """200 with the wallet; 404 unknown, or not linked to this client."""
    by = request.input
    wallet = views.wallet(request.caller, wallet_id=by.wallet_id, email=by.email, address=by.address)
    return success(200, wallet, "wallet")
