"""POST /wallets/erase - take a person's data out of a wallet, for all clients; the books stay."""

from getsmart.fields import Body, WalletId
from getsmart.front import Request
from getsmart.replies import Reply, success
from getsmart.services import privacy
from getsmart.web import endpoint


class EraseBody(Body):
    """Whose data."""

    wallet_id: WalletId


@endpoint("POST", scope="wallets:write", takes=EraseBody)
def main(request: Request[EraseBody]) -> Reply:
    """200 with what is left of the wallet; 404 unknown or not linked; 409 while a transaction of it is not final."""
    return success(200, privacy.erase(request.caller, request.input.wallet_id), "erased")
