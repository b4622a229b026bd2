"""GET /ops/openapi - the description of this API: OpenAPI 3.1 as JSON, or for a browser a page to read and try."""

from getsmart.front import NOTHING, function

main = function(__file__, GET=NOTHING)
