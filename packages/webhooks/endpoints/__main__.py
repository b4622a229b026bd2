"""GET, POST, PATCH, DELETE /webhooks/endpoints - who is told of your events: list, make, change, test, remove."""

from getsmart.front import KEY, KEY_AND_JSON, function

main = function(__file__, GET=KEY, POST=KEY_AND_JSON, PATCH=KEY_AND_JSON, DELETE=KEY)
