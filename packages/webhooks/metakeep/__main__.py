"""POST /webhooks/metakeep - a signed hint that a transaction moved; state follows only what MetaKeep then tells us."""

from getsmart.front import NOTHING, function

main = function(__file__, POST=NOTHING)
