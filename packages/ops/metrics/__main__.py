"""GET /ops/metrics - what an operator watches, in Prometheus's text format."""

from getsmart.front import KEY, function

main = function(__file__, GET=KEY)
