"""GET /tokens/info - the token: contract, supply, what was minted, reserved and burned, the treasury."""

from getsmart.front import KEY, function

main = function(__file__, GET=KEY)
