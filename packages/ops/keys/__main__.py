"""GET, POST, DELETE /ops/keys - API keys: list them, make one (its secret is shown once), revoke one."""

from getsmart.front import KEY, KEY_AND_JSON, function

main = function(__file__, GET=KEY, POST=KEY_AND_JSON, DELETE=KEY)
