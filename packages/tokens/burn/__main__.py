"""POST /tokens/burn - destroy GETS that a wallet holds; burning does not free the supply."""

from getsmart.front import KEY_AND_JSON, function

main = function(__file__, POST=KEY_AND_JSON)
