"""POST /tokens/mint - mint new GETS into a wallet: an amount, or the reward of a badge claim."""

from getsmart.front import KEY_AND_JSON, function

main = function(__file__, POST=KEY_AND_JSON)
