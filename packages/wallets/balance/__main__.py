"""GET /wallets/balance - what a wallet holds, what is on its way, what may be spent; now, or at a past moment."""

from getsmart.front import KEY, function

main = function(__file__, GET=KEY)
