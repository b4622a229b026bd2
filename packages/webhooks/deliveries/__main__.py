"""GET, POST /webhooks/deliveries - what your endpoints were told, attempt by attempt; or tell it again."""

from getsmart.front import KEY, KEY_AND_JSON, function

main = function(__file__, GET=KEY, POST=KEY_AND_JSON)
