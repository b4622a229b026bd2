"""GET /tokens/transactions - the client's transactions, newest first."""

from getsmart.front import KEY, function

main = function(__file__, GET=KEY)
