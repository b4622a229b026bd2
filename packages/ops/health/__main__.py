"""GET /ops/health - is the service well, check by check; no key needed, nothing secret in it."""

from getsmart.front import NOTHING, function

main = function(__file__, GET=NOTHING)
