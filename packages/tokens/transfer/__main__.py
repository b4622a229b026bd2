"""POST /tokens/transfer - pay GETS to a wallet or address: from the treasury, or from a wallet whose owner approves."""

from getsmart.front import KEY_AND_JSON, function

main = function(__file__, POST=KEY_AND_JSON)
