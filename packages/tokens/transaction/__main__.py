"""GET, POST /tokens/transaction - one transaction and how it came to its state; or cancel it before it is sent."""

from getsmart.front import KEY, KEY_AND_JSON, function

main = function(__file__, GET=KEY, POST=KEY_AND_JSON)
