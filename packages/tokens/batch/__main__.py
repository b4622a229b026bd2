"""GET /tokens/batch - how an airdrop stands; with rows=true also its rows."""

from getsmart.front import KEY, function

main = function(__file__, GET=KEY)
