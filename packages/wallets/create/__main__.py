"""POST /wallets/create - the wallet of a person, made on first use and linked to the calling client."""

from getsmart.front import KEY_AND_JSON, function

main = function(__file__, POST=KEY_AND_JSON)
