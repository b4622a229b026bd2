"""POST /tokens/airdrop - mint GETS into up to 10,000 wallets, accepted whole or not at all."""

from getsmart.front import KEY, function

main = function(__file__, POST=KEY)
