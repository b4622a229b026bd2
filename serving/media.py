"""Which media types travel as text in an event or a result, and which as base64, as the platform decides it."""

_TEXT_APPLICATIONS = frozenset(
    {"application/javascript", "application/json", "application/x-www-form-urlencoded", "application/xml"}
)


def media_type(content_type: str) -> str:
    """The type without its parameters, in lower case: `application/json` of `Application/JSON; charset=utf-8`."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """`application/json` and everything `+json`."""
    kind = media_type(content_type)
    return kind == "application/json" or kind.endswith("+json")


def is_text(content_type: str) -> bool:
    """Types the platform treats as text; any it does not know (`application/x-ndjson`) is binary to it."""
    kind = media_type(content_type)
    return kind.startswith("text/") or kind in _TEXT_APPLICATIONS or kind.endswith(("+json", "+xml"))
