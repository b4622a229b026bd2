"""What the tests of lists share: walking a list page by page, and what a cursor must not be."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from tests.edge import Case, Door
from tests.support import Client

BAD_LIMITS = ("", "0", "201", "-1", "1.5", "ten", "01", "1e1", "%201", "\u0661", "99999")
BAD_TIMES = (
    *("", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00%2B00:00", "2026-01-01 00:00:00Z"),
    *("2026-02-30T00:00:00Z", "2026-01-01T24:00:01Z", "2026-01-01T00:00:60Z", "0000-01-01T00:00:00Z"),
    *("2026-01-01t00:00:00z", "2026-01-01T00:00:00.1234567Z", "1767225600", "10000-01-01T00:00:00Z"),
)


def walk(client: Client, path: str, query: str = "", limit: int = 2) -> Iterator[dict[str, Any]]:
    """The pages of a list, one after another, to its end."""
    cursor = ""
    while True:
        page = client.get(path, "&".join(filter(None, [query, f"limit={limit}", cursor]))).data
        assert len(page["items"]) <= limit
        yield page
        if page["next_cursor"] is None:
            return
        cursor = f"cursor={page['next_cursor']}"


def items(client: Client, path: str, query: str = "", limit: int = 2) -> list[dict[str, Any]]:
    """Everything that a list holds."""
    return [item for page in walk(client, path, query, limit) for item in page["items"]]


def bad_pages(door: Door, token: str | None, base: str = "") -> Iterator[Case]:
    """Limits and cursors that are none, each refused by name."""
    more = f"{base}&" if base else ""
    for limit in BAD_LIMITS:
        yield Case(f"limit {limit}", door.event(token, query=f"{more}limit={quote(limit, safe='%')}"), *_NAMED, "limit")
    for cursor in ("", "x", "AAAA", "%00", "%C3%A4", "a" * 201, "e30", "bm9uZS4wMDAw"):
        yield Case(f"cursor {cursor[:20]}", door.event(token, query=f"{more}cursor={cursor}"), *_NAMED, "cursor")


def bad_times(door: Door, token: str | None, names: tuple[str, ...], base: str = "") -> Iterator[Case]:
    """Times that are none, in each of the fields."""
    more = f"{base}&" if base else ""
    for name in names:
        for time in BAD_TIMES:
            yield Case(
                f"{name} {time}", door.event(token, query=f"{more}{name}={time.replace(' ', '%20')}"), *_NAMED, name
            )


_NAMED = (400, "invalid_request")
