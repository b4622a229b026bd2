"""POST /tokens/consent - tell which MetaKeep transaction a user's approval became; checked before it counts."""

from getsmart.front import KEY_AND_JSON, function

main = function(__file__, POST=KEY_AND_JSON)
