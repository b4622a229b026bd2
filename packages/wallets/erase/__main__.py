"""POST /wallets/erase - take a person's data out of a wallet, for all clients; the books stay."""

from getsmart.front import KEY_AND_JSON, function

main = function(__file__, POST=KEY_AND_JSON)
