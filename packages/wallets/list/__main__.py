"""GET /wallets/list - the wallets that the client is linked to, newest first."""

from getsmart.front import KEY, function

main = function(__file__, GET=KEY)
