"""GET /wallets/export - all personal data of a wallet that the client sees: wallet, balance, its own transactions."""

from getsmart.front import KEY, function

main = function(__file__, GET=KEY)
