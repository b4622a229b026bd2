"""GET /webhooks/events - your events by number, without a gap: read on from the last one you know."""

from getsmart.front import KEY, function

main = function(__file__, GET=KEY)
