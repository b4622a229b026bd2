"""GET /wallets/statement - every entry of a wallet's account with the balance after it, the oldest first."""

from getsmart.front import KEY, function

main = function(__file__, GET=KEY)
