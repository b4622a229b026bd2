"""GET /wallets/get - one wallet, by wallet_id, email or address."""

from getsmart.front import KEY, function

main = function(__file__, GET=KEY)
